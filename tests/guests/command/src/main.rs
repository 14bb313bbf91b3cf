//! A program with `main`: no component of ours. The host must refuse to load it, and must run it as a test binary.

use std::net::TcpStream;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("panic") => panic!("as asked"),
        Some("exit") => std::process::exit(7),
        Some("socket") => match TcpStream::connect("127.0.0.1:9") {
            Ok(_) => println!("connected"),
            Err(error) => println!("{:?}", error.kind()),
        },
        _ => {
            println!("{arguments:?}");
            eprintln!("to standard error");
        }
    }
}
