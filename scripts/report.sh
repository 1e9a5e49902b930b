# Sourced by the scripts that check things: one line a step, and a tally that parts and wholes share.
#
#   step NAME COMMAND...    runs it quietly; its output is shown if it fails (exit status 77 is a skip)
#   skip NAME REASON        says what could not be done, and how it can
#   summary                 prints the tally, alone on its line; fails if anything failed or nothing passed
#
# A script that is run by another writes into the other's tally ($REDMUX_TALLY) and leaves the summary to it.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit 1
. scripts/cargo.sh
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
mkdir -p "$target"
export TERM=dumb CARGO_TERM_COLOR=never

report_owner=no
if [ -z "${REDMUX_TALLY:-}" ]; then
    REDMUX_TALLY=$(mktemp)
    export REDMUX_TALLY
    report_owner=yes
    trap 'rm -f "$REDMUX_TALLY"' EXIT
fi

have() { command -v "$1" >/dev/null 2>&1; }

# tally PASSED FAILED SKIPPED
tally() { echo "$1 $2 $3" >>"$REDMUX_TALLY"; }

line() { printf '%-5s %s\n' "$1" "$2"; }

skip() {
    line skip "$1: $2"
    tally 0 0 1
}

passed() {
    line ok "$1"
    tally 1 0 0
}

# failed NAME [LOG]
failed() {
    line FAIL "$1"
    tally 0 1 0
    if [ -n "${2:-}" ]; then tail -n "${REDMUX_LOG_LINES:-60}" "$2" | sed 's/^/    /'; fi
}

step() {
    local name=$1 log status=0 began=$SECONDS
    shift
    log=$(mktemp)
    "$@" >"$log" 2>&1 </dev/null || status=$?
    case $status in
    0) passed "$name ($((SECONDS - began)) s)" ;;
    77) skip "$name" "$(tail -n 1 "$log")" ;;
    *) failed "$name ($*: exit status $status)" "$log" ;;
    esac
    rm -f "$log"
    [ "$status" -eq 0 ] || [ "$status" -eq 77 ]
}

# The three numbers of the tally.
counts() { awk '{ p += $1; f += $2; s += $3 } END { printf "%d %d %d\n", p, f, s }' "$REDMUX_TALLY"; }

summary() {
    [ "$report_owner" = yes ] || return 0
    local p f s
    read -r p f s < <(counts)
    echo "$p passed, $f failed, $s skipped"
    [ "$f" -eq 0 ] && [ "$p" -gt 0 ]
}
