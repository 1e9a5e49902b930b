// Resources over HTTP that only one instance holds each, whichever instance is asked:
//
//	go run ./examples/resource [redis://localhost] [node-1] [boat=red ...]
//	curl http://127.0.0.1:PORT/boat
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	redmux "github.com/redmux/redmux/bindings/go"
)

func main() {
	given := append(os.Args[1:], "", "")
	held := map[string]string{}
	for _, resource := range given[2:] {
		if name, value, is := strings.Cut(resource, "="); is {
			held[name] = value
		}
	}
	if err := run(context.Background(), given[0], given[1], held); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, url, name string, held map[string]string) error {
	client, err := redmux.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = client.Respond(ctx, "resource", func(_ context.Context, r *redmux.Request) ([]byte, error) {
		value, has := held[r.Text()]
		if !has {
			return nil, nil // no answer
		}
		return json.Marshal(map[string]string{r.Text(): value, "holder": name})
	})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: lookup(client)}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until standard input is closed
		_ = server.Close()
	}()
	fmt.Printf("http://%s/\n", listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// lookup asks all instances, this one too, and passes on what its holder says.
func lookup(client *redmux.Client) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		// Strict: that nobody has it is known when everybody who was asked has said so.
		answer, err := client.Request(r.Context(), "resource", []byte(strings.Trim(r.URL.Path, "/")), redmux.TimeLimit(5*time.Second), redmux.Strict())
		if err != nil {
			status := http.StatusServiceUnavailable
			if errors.Is(err, redmux.ErrNoResponders) { // nobody has it
				status = http.StatusNotFound
			}
			http.Error(w, err.Error(), status)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer.Data)
	}
}
