// The program whose layouts are read: the smallest that has a server, a client, a child goroutine and a
// connection and a context of each kind that the agent knows. Without an argument it prints the type hashes that the
// itabs of the latter two hold: what the compiler makes of a type's name.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
	"unsafe"
)

func hash(conn net.Conn) uint32 {
	itab := *(**[3]uint64)(unsafe.Pointer(&conn))
	return uint32(itab[2])
}

func kind(ctx context.Context) uint32 {
	itab := *(**[3]uint64)(unsafe.Pointer(&ctx))
	return uint32(itab[2])
}

func main() {
	if len(os.Args) < 2 {
		fmt.Printf("tcp_hash=%d unix_hash=%d ", hash((*net.TCPConn)(nil)), hash((*net.UnixConn)(nil)))
		cancel, stop := context.WithCancel(context.Background())
		timer, halt := context.WithTimeout(cancel, time.Hour)
		value := context.WithValue(timer, "key", "value")
		fmt.Printf("cancel_hash=%d timer_hash=%d value_hash=%d", kind(cancel), kind(timer), kind(value))
		if without := without(value); without != nil {
			fmt.Printf(" without_hash=%d", kind(without))
		}
		halt()
		stop()
		return
	}
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
