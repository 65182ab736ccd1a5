// The service of threads.py with net/http: a goroutine for each connection, and pooled connections to the leaf.
//
//	kept     one call after another                      gather   a goroutine for each call
//	new      the same, a connection for each call        late     by a goroutine, after the answer
//	raw      by the handler itself, on a connection that it keeps, without net/http's client
//	few      as gather, on two connections
//	worker   by a goroutine that was there before and takes work from a channel
//
// Arguments: PORT of the leaf, and perhaps `poll`.
package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

var leaf = "127.0.0.1:" + os.Args[1]

var (
	kept = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	// Few connections and many callers: whoever dials is seldom who uses the connection.
	few    = &http.Client{Transport: &http.Transport{MaxConnsPerHost: 2}}
	single = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
)

func call(client *http.Client, name string) {
	answer, err := client.Get("http://" + leaf + "/leaf?from=" + name)
	if err == nil {
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
	}
}

func raw(name string) {
	conn, err := net.Dial("tcp", leaf)
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /leaf?from=%s HTTP/1.1\r\nHost: leaf\r\n\r\n", name)
	if answer, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
		io.Copy(io.Discard, answer.Body)
	}
}

type job struct {
	name string
	done *sync.WaitGroup
}

var jobs = make(chan job)

func work() {
	for job := range jobs {
		call(kept, job.name)
		job.done.Done()
	}
}

func serve(answer http.ResponseWriter, request *http.Request) {
	asked := request.URL.Query()
	name, mode := asked.Get("id"), asked.Get("mode")
	calls, _ := strconv.Atoi(asked.Get("calls"))
	var group sync.WaitGroup
	for index := 0; index < calls; index++ {
		switch mode {
		case "gather", "few":
			client := map[string]*http.Client{"gather": kept, "few": few}[mode]
			group.Add(1)
			go func() {
				defer group.Done()
				call(client, name)
			}()
		case "late":
			go func() {
				time.Sleep(12 * time.Millisecond)
				call(kept, name)
			}()
		case "new":
			call(single, name)
		case "raw":
			raw(name)
		case "worker":
			group.Add(1)
			jobs <- job{name, &group}
		default:
			time.Sleep(time.Duration(rand.Intn(2000)) * time.Microsecond)
			call(kept, name)
		}
	}
	group.Wait()
	io.WriteString(answer, "ok")
}

func main() {
	for index := 0; index < 4; index++ {
		go work()
	}
	if len(os.Args) > 2 {
		go func() {
			for {
				time.Sleep(3 * time.Millisecond)
				call(kept, "nobody")
			}
		}()
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("PORT %d\n", listener.Addr().(*net.TCPAddr).Port)
	panic(http.Serve(listener, http.HandlerFunc(serve)))
}
