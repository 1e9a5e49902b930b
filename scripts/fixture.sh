# Sourced: a private Redis for programs that are not written in Rust, from the tests' own fixture.
#
#   fixture_build           compiles it; sets $fixture
#   fixture_start [FLAG]... sets and exports REDMUX_TEST_URL, REDMUX_TEST_UNIX_URL and REDMUX_TEST_PROXY_URL (with --proxy);
#                           orders go to descriptor $REDMUX_TEST_ORDERS, answers come from $REDMUX_TEST_ANSWERS
#   fixture_stop            ends it, and its server with it
#
# REDMUX_TEST_FIXTURE is the program itself, for tests that want a server of their own with flags of their own.

fixture_build() {
    local log
    log=$(cargo build --quiet --example fixture 2>&1) || { echo "$log" >&2; return 1; }
    fixture=${CARGO_TARGET_DIR:-target}/debug/examples/fixture
    export REDMUX_TEST_FIXTURE=$fixture
}

fixture_field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" <<<"$2"; }

fixture_start() {
    local first
    coproc FIXTURE { exec "$fixture" "$@" 2>/dev/null; }
    # The shell closes its own two descriptors when it likes; children need copies that stay.
    exec {fixture_out}<&"${FIXTURE[0]}" {fixture_in}>&"${FIXTURE[1]}"
    eval "exec ${FIXTURE[0]}<&- ${FIXTURE[1]}>&-"
    read -r -t 20 -u "$fixture_out" first || return 1
    REDMUX_TEST_URL=$(fixture_field url "$first")
    REDMUX_TEST_UNIX_URL=$(fixture_field unix_url "$first")
    REDMUX_TEST_PROXY_URL=$(fixture_field proxy_url "$first")
    REDMUX_TEST_ORDERS=$fixture_in REDMUX_TEST_ANSWERS=$fixture_out
    export REDMUX_TEST_URL REDMUX_TEST_UNIX_URL REDMUX_TEST_PROXY_URL REDMUX_TEST_ORDERS REDMUX_TEST_ANSWERS
    [ -n "$REDMUX_TEST_URL" ]
}

fixture_stop() {
    exec {fixture_in}>&- {fixture_out}<&-
    wait "$FIXTURE_PID" 2>/dev/null || true
}
