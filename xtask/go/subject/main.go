// The program whose layouts are read: the smallest that has a server, a client, a child goroutine and a
// connection of each kind that the agent knows.
package main

import (
	"io"
	"net"
	"net/http"
	"os"
)

func main() {
	listener, err := net.Listen("unix", os.Args[1])
	if err != nil {
		os.Exit(1)
	}
	done := make(chan struct{})
	go func() {
		answer, err := http.Get("http://localhost/")
		if err == nil {
			io.Copy(io.Discard, answer.Body)
		}
		close(done)
	}()
	<-done
	http.Serve(listener, nil)
}
