//! What the suites share: the `ferrule` binary as a user starts it, a real Mosquitto broker, MQTT clients, and waiting for
//! conditions instead of sleeping.

pub mod ferrule;
pub mod mosquitto;
pub mod mqtt;
pub mod wait;

pub use ferrule::Ferrule;
pub use mosquitto::Mosquitto;
pub use wait::until;
