//! Writes the type of each world as the section that makes a component of a module: `wit_bindgen::generate!` runs once, for
//! all worlds together, and its own section would promise all exports.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

use wit_component::StringEncoding;
use wit_parser::Resolve;

const WORLDS: [&str; 4] = ["source", "sink", "connector", "function"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=../../wit");
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path("../../wit")?;
    for name in WORLDS {
        let world = resolve.select_world(&[package], Some(name))?;
        let section = wit_component::metadata::encode(&resolve, world, StringEncoding::UTF8, None)?;
        fs::write(out.join(name), section)?;
    }
    Ok(())
}
