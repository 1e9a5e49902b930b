package measure

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Body is how many bytes a request and its answer have, as in C.
const Body = 16

// Ask asks COUNT times, IN_FLIGHT at once, each on a goroutine that asks again and again: the third and fourth argument. one asks, and
// returns the answer, which must be its body.
func Ask(one func(body []byte) ([]byte, error)) {
	count, window := Number(3, 1), Number(4, 1)
	inFlight(one, count/10+window, window) // connections are made
	Ready()
	line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	if line == "" {
		os.Exit(1)
	}
	first := Now()
	took := inFlight(one, count, window)
	last := Now()
	slices.Sort(took)
	fmt.Printf("{\"messages\": %d, \"p50\": %d, \"p99\": %d, \"cpu_ns\": %d, \"wall_ns\": %d}\n", count, took[count/2], took[count*99/100],
		CPU(first, last), Wall(first, last))
}

func inFlight(one func([]byte) ([]byte, error), count, window int) []time.Duration {
	took := make([]time.Duration, count)
	var next atomic.Int64
	var done sync.WaitGroup
	for range window {
		done.Add(1)
		go func() {
			defer done.Done()
			body := make([]byte, Body)
			for i := int(next.Add(1)) - 1; i < count; i = int(next.Add(1)) - 1 {
				binary.LittleEndian.PutUint64(body, uint64(i))
				began := time.Now()
				answer, err := one(body)
				Must("ask", err)
				took[i] = time.Since(began)
				if !bytes.Equal(answer, body) {
					Die("the answer to %x is %x", body, answer)
				}
			}
		}()
	}
	done.Wait()
	return took
}

// UntilStdinCloses says that it serves, and returns when nobody needs that any more.
func UntilStdinCloses() {
	Ready()
	_, _ = io.Copy(io.Discard, os.Stdin)
}
