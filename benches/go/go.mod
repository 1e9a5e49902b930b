// redigo and go-mpx as peers of the benches. go-mpx is added by `build`, in a copy, where it can be had.
module redmux-bench-peers

go 1.22

require github.com/gomodule/redigo v1.9.3
