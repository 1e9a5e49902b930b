# Sourced, behind report.sh: Go, where it is new enough, and the library where programs that are built here find it.
#
#   go_ready        whether there is Go 1.23 or newer
#   link_library    makes what -tags redmux_dev links findable

[ -x /usr/local/go/bin/go ] && PATH="$PATH:/usr/local/go/bin"
# Where the checkout belongs to somebody else, git tells root nothing of it, and Go would build no program without that.
export GOFLAGS="${GOFLAGS:+$GOFLAGS }-buildvcs=false"

go_ready() {
    local version
    version=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) || return 1
    [ "$(printf '%s\n' go1.23 "$version" | sort -V | head -n 1)" = go1.23 ]
}

link_library() {
    ln -sf libredmux.so "$target/release/$(objdump -p "$target/release/libredmux.so" | awk '/SONAME/ { print $2 }')"
    [ "$target" = "$root/target" ] || export CGO_LDFLAGS="-L$target/release -Wl,-rpath,$target/release"
}
