# Every command a person runs; each is one line that calls cargo.

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
    cargo fmt --all && cargo fmt --all --manifest-path guests/Cargo.toml && cargo fmt --all --manifest-path tests/guests/Cargo.toml && cargo fmt --manifest-path sdk/rust/Cargo.toml

# Nanoseconds per record through one function guest.
bench NAME="hop":
    cargo xtask bench {{NAME}}

# Kill the runtime at random moments, and prove that nothing is lost.
crash *ARGS:
    cargo xtask crash {{ARGS}}

# Build the scaffold and a guest with cargo-component; register and run what it built.
interop:
    cargo xtask interop

# Run the commands of the tutorial, and compare what they print with what it shows.
tutorial:
    cargo xtask tutorial

# Everything that CI runs.
ci:
    bash .ci/run
