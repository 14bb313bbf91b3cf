//! The one macro that makes a component of a crate.

/// Exports a source, a sink, both, or a function as a component. Once a crate, in `lib.rs`:
///
/// ```text
/// ferrule_sdk::export!(source: MySource);
/// ferrule_sdk::export!(sink: MySink);
/// ferrule_sdk::export!(connector: MySource, MySink);
/// ferrule_sdk::export!(function: MyFunction);
/// ```
///
/// Name, version, summary and licence come from the crate's Cargo.toml. In a test build nothing is exported, so that the
/// tests are a program of their own.
#[macro_export]
macro_rules! export {
    (source: $source:ty $(,)?) => {
        $crate::__export!(SourceComponent, SOURCE, "source", [component, lifecycle, consume], [SourceHome: Source = $source, source]);
    };
    (sink: $sink:ty $(,)?) => {
        $crate::__export!(SinkComponent, SINK, "sink", [component, lifecycle, produce], [SinkHome: Sink = $sink, sink]);
    };
    (connector: $source:ty, $sink:ty $(,)?) => {
        $crate::__export!(
            ConnectorComponent,
            CONNECTOR,
            "connector",
            [component, lifecycle, consume, produce],
            [SourceHome: Source = $source, source],
            [SinkHome: Sink = $sink, sink]
        );
    };
    (function: $function:ty $(,)?) => {
        $crate::__export!(
            FunctionComponent,
            FUNCTION,
            "function",
            [component, lifecycle, transform],
            [FunctionHome: Function = $function, function]
        );
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    (
        $component:ident, $world:ident, $name:literal, [$($interface:ident),*],
        $([$home:ident: $trait:ident = $type:ty, $module:ident]),*
    ) => {
        const _: () = {
            struct Here;

            impl $crate::__private::Home for Here {
                const PACKAGE: $crate::__private::Package = $crate::__private::Package {
                    name: env!("CARGO_PKG_NAME"),
                    version: env!("CARGO_PKG_VERSION"),
                    description: env!("CARGO_PKG_DESCRIPTION"),
                    licence: env!("CARGO_PKG_LICENSE"),
                };
            }

            $(
                impl $crate::__private::$home for Here {
                    type $trait = $type;

                    fn cell() -> &'static $crate::__private::Cell<$crate::__private::$module::Running<$type>> {
                        thread_local! {
                            static CELL: ::std::cell::RefCell<::std::option::Option<$crate::__private::$module::Running<$type>>> =
                                const { ::std::cell::RefCell::new(None) };
                        }
                        &CELL
                    }
                }
            )*

            // Elsewhere this only checks that the types fit.
            #[allow(dead_code, reason = "used by the exports, which only a component has")]
            type Exported = $crate::__private::$component<Here>;

            #[cfg(all(target_family = "wasm", not(test)))]
            #[allow(unsafe_code, reason = "exports of a component are symbols with fixed names")]
            const _: () = {
                #[unsafe(link_section = concat!("component-type:ferrule:connector:0.1.0:", $name))]
                #[used]
                static WORLD: [u8; $crate::__private::world::$world.len()] =
                    *$crate::__private::world::bytes($crate::__private::world::$world);
                $($crate::__export_interface!($interface Exported);)*
            };
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_interface {
    (component $exported:ident) => {
        $crate::bindings::exports::ferrule::connector::component::__export_ferrule_connector_component_0_1_0_cabi!(
            $exported with_types_in $crate::bindings::exports::ferrule::connector::component
        );
    };
    (lifecycle $exported:ident) => {
        $crate::bindings::exports::ferrule::connector::lifecycle::__export_ferrule_connector_lifecycle_0_1_0_cabi!(
            $exported with_types_in $crate::bindings::exports::ferrule::connector::lifecycle
        );
    };
    (consume $exported:ident) => {
        $crate::bindings::exports::ferrule::connector::consume::__export_ferrule_connector_consume_0_1_0_cabi!(
            $exported with_types_in $crate::bindings::exports::ferrule::connector::consume
        );
    };
    (produce $exported:ident) => {
        $crate::bindings::exports::ferrule::connector::produce::__export_ferrule_connector_produce_0_1_0_cabi!(
            $exported with_types_in $crate::bindings::exports::ferrule::connector::produce
        );
    };
    (transform $exported:ident) => {
        $crate::bindings::exports::ferrule::connector::transform::__export_ferrule_connector_transform_0_1_0_cabi!(
            $exported with_types_in $crate::bindings::exports::ferrule::connector::transform
        );
    };
}
