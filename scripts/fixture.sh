# Sourced: a private Redis for programs that are not written in Rust, from the tests' own fixture.
#
#   fixture_build    compiles it; exports REDMUX_FIXTURE, the program itself, which tests may start with flags of their own
#   fixture_start    starts one; sets fixture_url
#   fixture_stop     ends it, and its server with it

fixture_build() {
    local log
    log=$(cargo build --quiet --features tool --example fixture 2>&1) || { echo "$log" >&2; return 1; }
    export REDMUX_FIXTURE=$target/debug/examples/fixture
}

fixture_start() {
    local first
    coproc FIXTURE { exec "$REDMUX_FIXTURE" 2>/dev/null; }
    fixture_pid=$FIXTURE_PID
    # It ends when its stdin closes, so that descriptor must be ours to close.
    exec {fixture_out}<&"${FIXTURE[0]}" {fixture_in}>&"${FIXTURE[1]}"
    eval "exec ${FIXTURE[0]}<&- ${FIXTURE[1]}>&-"
    read -r -t 20 -u "$fixture_out" first || return 1
    fixture_url=$(sed -n 's/.*"url":"\([^"]*\)".*/\1/p' <<<"$first")
    [ -n "$fixture_url" ]
}

fixture_stop() {
    exec {fixture_in}>&- {fixture_out}<&-
    wait "$fixture_pid" 2>/dev/null || true
}
