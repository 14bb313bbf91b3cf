//! Imports an interface that no host has. The host must refuse to load it and name the import.

wit_bindgen::generate!({
    inline: "
        package vendor:secret@1.0.0;
        interface magic { wand: func() -> u32; }
        world unknown {
            import magic;
            include ferrule:connector/sink@0.1.0;
        }
    ",
    path: "../../../wit",
    world: "vendor:secret/unknown",
    generate_all,
    generate_unused_types: true,
});

use exports::ferrule::connector::{component, lifecycle, produce};

struct ImportsUnknown;

impl component::Guest for ImportsUnknown {
    fn describe() -> component::Description {
        panic!("{}", vendor::secret::magic::wand())
    }
    fn validate(_static_parameters: String, _config: String, _stream: String) -> Vec<component::Problem> {
        Vec::new()
    }
}

impl lifecycle::Guest for ImportsUnknown {
    fn open(_session: lifecycle::Session) -> Result<lifecycle::Opened, lifecycle::Error> {
        Err(lifecycle::Error::Failed(String::new()))
    }
    fn configure(_config: String) -> Result<lifecycle::Configured, lifecycle::Error> {
        Ok(lifecycle::Configured::Applied)
    }
    fn close() -> Result<(), lifecycle::Error> {
        Ok(())
    }
}

impl produce::Guest for ImportsUnknown {
    fn write(_records: produce::Batch) -> Result<produce::Outcomes, produce::Error> {
        Err(produce::Error::Failed(String::new()))
    }
    fn idle(_max_wait_ms: u32) -> Result<produce::Outcomes, produce::Error> {
        Err(produce::Error::Failed(String::new()))
    }
}

export!(ImportsUnknown);
