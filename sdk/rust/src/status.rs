//! The health of the session as the guest sees it, for the people who run it.

#[cfg(target_family = "wasm")]
use crate::bindings::ferrule::connector::status as host;

pub use crate::bindings::ferrule::connector::status::Severity;

macro_rules! tell {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*);)*) => {
        $(
            $(#[$doc])*
            #[cfg_attr(not(target_family = "wasm"), allow(unused_variables, reason = "natively there is no host"))]
            pub fn $name($($arg: $type),*) {
                #[cfg(target_family = "wasm")]
                host::$name($($arg),*);
            }
        )*
    };
}

tell! {
    /// The session works as it should. Raised alerts stay until cleared.
    healthy(message: &str);
    /// The session does not do its work now; `message` says why, and what is being done about it.
    unhealthy(message: &str);
    /// Raises the alert `name`, or renews it.
    raise(severity: Severity, name: &str, message: &str);
    /// Clears the alert `name`.
    clear(name: &str);
}
