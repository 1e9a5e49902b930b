// The peers of the benches in Go, and redmux in Go beside them. go-mpx is added by `build`, in a copy, where it can be had.
module redmux-bench-peers

go 1.23.0

require (
	github.com/gomodule/redigo v1.9.3
	github.com/redis/go-redis/v9 v9.18.0
	github.com/redis/rueidis v1.0.69
	github.com/redmux/redmux/bindings/go v0.0.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/dgryski/go-rendezvous v0.0.0-20200823014737-9f7001d12a5f // indirect
	go.uber.org/atomic v1.11.0 // indirect
	golang.org/x/sys v0.31.0 // indirect
)

replace github.com/redmux/redmux/bindings/go => ../../bindings/go
