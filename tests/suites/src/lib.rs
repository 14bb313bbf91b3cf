//! What the suites share: the `ferrule` binary as a user starts it, a real Mosquitto broker, MQTT clients, a real
//! nats-server, a network that misbehaves, and waiting for conditions instead of sleeping.

pub mod certificates;
pub mod ferrule;
pub mod mosquitto;
pub mod mqtt;
pub mod nats;
pub mod proxy;
pub mod wait;

pub use ferrule::Ferrule;
pub use mosquitto::Mosquitto;
pub use nats::Nats;
pub use proxy::Proxy;
pub use wait::until;
