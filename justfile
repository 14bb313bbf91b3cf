# Every command a person runs; each calls cargo, and most `cargo xtask`, which needs no just.

# List the commands.
default:
    @just --list

# Set up, build, and run the demo: live measurements through sandboxed connectors.
demo *ARGS:
    cargo xtask demo {{ARGS}}

# Set up and run every test.
test *FILTER:
    cargo xtask test {{FILTER}}

# Build all guests; only what changed.
guests:
    cargo xtask guests

# Formatting, clippy, rustdoc, arrows, licences and bans.
lint:
    cargo xtask lint

# Format everything.
fmt:
    cargo fmt --all
    cargo fmt --all --manifest-path guests/Cargo.toml
    cargo fmt --all --manifest-path tests/guests/Cargo.toml
    cargo fmt --all --manifest-path tests/bench/guests/Cargo.toml
    cargo fmt --manifest-path sdk/rust/Cargo.toml

# Nanoseconds per record through one function guest.
bench NAME="hop":
    cargo xtask bench {{NAME}}

# Kill the runtime at random moments, and prove that nothing is lost.
crash *ARGS:
    cargo xtask crash {{ARGS}}

# Make a project of each kind; lint, build (with cargo-component), test and run it, and one guest.
interop:
    cargo xtask interop

# Run the commands of the tutorial, the README and samples/hello, and compare what they print with what is shown.
tutorial:
    cargo xtask tutorial

# Everything that CI runs.
ci:
    bash .ci/run
