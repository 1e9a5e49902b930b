// Package measure has what every peer in Go needs: the arguments, the CPU time of this process, and the line at the end.
package measure

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Name is the channel that the server's messages are on, Name(0) alone or with others.
func Name(n int) string { return fmt.Sprintf("bench:%010d", n) }

// Die says what is wrong and ends the program: a figure that could be wrong is never printed.
func Die(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", arguments...)
	os.Exit(1)
}

// Must ends the program unless err is nil.
func Must(what string, err error) {
	if err != nil {
		Die("%s: %v", what, err)
	}
}

// Number is the argument at index, or what stands for it.
func Number(index, otherwise int) int {
	if len(os.Args) <= index {
		return otherwise
	}
	n, err := strconv.Atoi(os.Args[index])
	Must("argument", err)
	return n
}

// Address is what the first argument names: a path is a unix socket, a number a port of this machine.
func Address() (network, address string) {
	if len(os.Args) < 2 {
		Die("no address was given")
	}
	if strings.HasPrefix(os.Args[1], "/") {
		return "unix", os.Args[1]
	}
	return "tcp", "127.0.0.1:" + os.Args[1]
}

// Moment is when it is, and what this process has used of its CPUs until now.
type Moment struct {
	wall time.Time
	cpu  int64
}

// Now is this moment.
func Now() Moment {
	var used syscall.Rusage
	Must("getrusage", syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return Moment{time.Now(), used.Utime.Nano() + used.Stime.Nano()}
}

// Resident is how many bytes of this process are in memory.
func Resident() int64 {
	statm, err := os.ReadFile("/proc/self/statm")
	Must("statm", err)
	pages, err := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
	Must("statm", err)
	return pages * int64(os.Getpagesize())
}

// Ready says that the messages may come.
func Ready() { fmt.Println("ready") }

// Count counts messages and the bytes of their names and payloads.
type Count struct {
	Messages, Lengths int
	First             Moment
}

// Add counts one message.
func (c *Count) Add(name, payload int) {
	if c.Messages == 0 {
		c.First = Now()
	}
	c.Messages++
	c.Lengths += name + payload
}

// Report prints the line at the end.
func (c *Count) Report(last Moment) {
	fmt.Printf("{\"messages\": %d, \"lengths\": %d, \"cpu_ns\": %d, \"wall_ns\": %d, \"rss\": %d}\n", c.Messages, c.Lengths,
		last.cpu-c.First.cpu, last.wall.Sub(c.First.wall).Nanoseconds(), Resident())
}

// Wall is the time between two moments in nanoseconds.
func Wall(from, to Moment) int64 { return to.wall.Sub(from.wall).Nanoseconds() }

// CPU is what was used between two moments in nanoseconds.
func CPU(from, to Moment) int64 { return to.cpu - from.cpu }
