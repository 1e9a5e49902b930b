# Sourced by scripts/demo: the story of a fleet. Five instances, in four languages, hold some resources each; three of them answer over HTTP
# for all of them, whichever is asked.
#
#   fleet_start     starts them
#   fleet_tour      asks each over HTTP for what every one holds, and shows a table
#   fleet_census    asks everybody for one thing, and shows who had it, who had not, and the sum
#   fleet_losses    kills one instance in its work, and one link, and shows that the results say so

declare -a fleet=() fleet_http=() fleet_holds=()
declare -A slow_ones=()

# fleet_join NAME PROGRAM RESOURCE=VALUE...: one more instance; its first line says where it answers over HTTP, if it does.
fleet_join() {
    local name=$1 program=$2 line process=${1//-/_} # no variable has a dash in its name
    shift 2
    start "$process" "$program" "$name" "$@"
    expect "$process" '*'
    line=$(head -n 1 "$work/$process.out")
    fleet+=("$process")
    [[ "$line" != http://* ]] || fleet_http+=("$name ${line%/}/")
    fleet_holds+=("$name ${*%%=*}")
}

fleet_start() {
    fleet_join c-1 resource boat=red lamp=old
    fleet_join c-2 resource kite=green
    if [ -x "$python" ]; then
        fleet_program python_resource "PYTHONPATH=\"$root/bindings/python/src\" exec \"$python\" \"$root/bindings/python/examples/resource.py\""
        fleet_join python-1 python_resource tent=dry
    else
        echo "   no Python 3.11 with venv here: one more in C takes its place"
        fleet_join c-3 resource tent=dry
    fi
    if go_ready; then
        link_library
        (cd bindings/go && go build -tags redmux_dev -o "$work/go_resource" ./examples/resource)
        fleet_join go-1 go_resource sled=fast
    else
        echo "   no Go 1.23 here: one more in C takes its place"
        fleet_join c-4 resource sled=fast
    fi
    if dotnet_there; then
        dotnet_do build bindings/dotnet/examples >"$work/dotnet.log" 2>&1 || { tail -n 20 "$work/dotnet.log" >&2; fail "the examples for .NET do not compile"; }
        fleet_program dotnet_resource "REDMUX_LIBRARY=\"$target/release/libredmux.so\" exec dotnet \"$target/dotnet/bin/Examples/release/Examples.dll\" resource"
        fleet_join dotnet-1 dotnet_resource drum=loud
    else
        echo "   no .NET here: one more in C takes its place"
        fleet_join c-5 resource drum=loud
    fi
}

fleet_program() { # NAME COMMAND: a program in the work folder that hands its arguments on
    printf '#!/bin/sh\n%s "$@"\n' "$2" >"$work/$1"
    chmod +x "$work/$1"
}

# Every instance with HTTP is asked for one resource of every instance, and for one that nobody holds.
fleet_tour() {
    local asked url holder key rest reply status took body
    printf '   %-10s %-8s %-6s %8s  %s\n' asked for status took answer
    for asked in "${fleet_http[@]}"; do
        read -r asked url <<<"$asked"
        while read -r holder key rest; do
            reply=$(curl --silent --show-error --max-time 20 --write-out '\n%{http_code} %{time_total}' "$url$key") ||
                fail "$asked did not answer over HTTP"
            body=$(head -n 1 <<<"$reply")
            read -r status took < <(tail -n 1 <<<"$reply")
            printf '   %-10s %-8s %-6s %5s ms  %s\n' "$asked" "$key" "$status" "$(awk "BEGIN { printf \"%.1f\", $took * 1000 }")" "$body"
            if [ "$holder" = nobody ]; then
                [ "$status" = 404 ] || fail "nobody holds $key, and the status is $status"
            else
                [[ "$status" = 200 && "$body" == *"$holder"* ]] || fail "$key is held by $holder, and the answer is $body"
            fi
        done < <(printf '%s\n' "${fleet_holds[@]}" "nobody ghost")
    done
}

# fleet_ask STATUS TEXT...: asks everybody for the boat; it must end so, and say these texts.
fleet_ask() {
    local wanted=$1 status=0 text
    shift
    "$target/release/redmux" -u "$REDIS_URL" request resource boat --json >"$work/asked.out" 2>/dev/null || status=$?
    fleet_table
    [ "$status" -eq "$wanted" ] || fail "the request ended with status $status instead of $wanted"
    for text in "$@"; do
        grep -qF -- "$text" "$work/asked.out" || fail "the result does not say $text"
    done
}

# What the last request heard, an instance a line, and how it ended.
fleet_table() {
    local name end answer said after
    end=$(grep '"kind":"end"' "$work/asked.out") || fail "the request did not end"
    printf '   %-10s %-40s %s\n' instance said after
    for name in "${fleet_holds[@]%% *}" "${!slow_ones[@]}"; do
        answer=$(grep '"kind":"answer"' "$work/asked.out" | grep -F "\"name\":\"$name\"" || true)
        after=
        if [ -n "$answer" ]; then
            said=$(sed 's/.*"payload":"\(.*\)","seq".*/\1/; s/\\"/"/g' <<<"$answer")
            after="$(fleet_field ms "$answer") ms"
        elif [[ "$end" == *"\"name\":\"$name\""* ]]; then
            said="took it and did not finish"
        elif [[ "$end" == *'"reason":"all"'* ]]; then
            said="does not have it"
        else
            said="not heard before the end"
        fi
        printf '   %-10s %-40s %s\n' "$name" "$said" "$after" | sed 's/ *$//'
    done
    local key
    printf '   together:'
    for key in answers expected missing_count ms reason; do
        printf '  %s %s' "$key" "$(fleet_field "$key" "$end")"
    done
    echo
}

fleet_field() { # KEY LINE
    sed 's/.*"'"$1"'":"\{0,1\}\([^",}]*\).*/\1/' <<<"$2"
}

fleet_census() {
    fleet_ask 0 '"answers":1' '"missing_count":0' "\"expected\":${#fleet_holds[@]}" '"reason":"all"'
}

# fleet_slow NAME: an instance that takes a request and goes on with it for a minute. What works on it prints as it goes, so
# that it ends soon where nobody reads that any more.
fleet_slow() {
    "$target/release/redmux" -u "$REDIS_URL" serve resource --name "$1" -- \
        sh -c 'for turn in $(seq 300); do sleep 0.2; echo || exit; done' >"$work/$1.out" 2>&1 &
    pid[$1]=$!
    slow_ones[$1]=1
    disown "$!" # the shell says nothing of its end
    local tries
    for tries in {1..400}; do
        ! grep -q serving "$work/$1.out" || return 0
        sleep 0.05
    done
    fail "$1 does not serve"
}

# Waits until the request that is asked next has heard that an instance took it, and so many answers, and then does something; nothing if
# that does not come.
fleet_when_taken() { # NAME ANSWERS COMMAND...
    local name=$1 answers=$2 tries
    shift 2
    rm -f "$work/asked.out"
    (
        for tries in {1..400}; do
            if fleet_heard "$name" "$answers" 2>/dev/null; then
                "$@" >/dev/null 2>&1
                break
            fi
            sleep 0.05
        done
    ) &
    pid[taken]=$! # whatever ends the demo ends it too
}

fleet_has_acted() {
    wait "${pid[taken]}" || true
    unset "pid[taken]"
}

fleet_heard() { # NAME ANSWERS
    grep '"kind":"accepted"' "$work/asked.out" | grep -qF "\"name\":\"$1\"" &&
        [ "$(grep -c '"kind":"answer"' "$work/asked.out")" -ge "$2" ]
}

fleet_losses() {
    fleet_slow slow-1
    fleet_when_taken slow-1 0 kill -KILL "${pid[slow-1]}"
    fleet_ask 7 '"name":"slow-1"' '"missing_count":1' '"reason":"all"'
    fleet_has_acted
    unset "pid[slow-1]" "slow_ones[slow-1]"
    act "while another slow one works, Redis cuts every subscriber: the request says that it was interrupted, and keeps what came"
    fleet_slow slow-2
    fleet_when_taken slow-2 1 ask_redis CLIENT KILL TYPE pubsub
    fleet_ask 3 '"reason":"interrupted"' '"answers":1'
    fleet_has_acted
    end slow-2
}
