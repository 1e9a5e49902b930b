# Sourced: Rust from rustup is found also where no shell profile was read, and before an older one of the system.

export HOME="${HOME:-/root}"
[ ! -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ] || PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
