// The service of threads.py with net/http: a goroutine for each connection, and pooled connections to the leaf.
//
//	kept     one call after another                      gather   a goroutine for each call
//	new      the same, a connection for each call        late     by a goroutine, after the answer
//	raw      by the handler itself, on a connection that it keeps, without net/http's client
//	few      as gather, on two connections
//	worker   by a goroutine that was there before and takes work from a channel
//	lazy     by goroutines that a pool starts when work comes, and keeps; a call, a pause, and one more for each
//	channel  as worker,
//	pool     as lazy,
//	group    as gather, at most four at once and all ended at the first error (errgroup),
//	detached as late: these four with a context that was made from the request's
//
// Arguments: PORT of the leaf or PORT,PORT of two, which are called by turns, and perhaps `poll` (calls for nobody) or `loop` (one goroutine reads from all connections
// and starts another for each request).
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

var (
	leaves = strings.Split(os.Args[1], ",")
	calls  atomic.Uint32
)

func leaf() string {
	return "127.0.0.1:" + leaves[int(calls.Add(1))%len(leaves)]
}

var (
	kept = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	// Few connections and many callers: whoever dials is seldom who uses the connection.
	few    = &http.Client{Transport: &http.Transport{MaxConnsPerHost: 2}}
	single = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
)

func call(client *http.Client, name string) {
	answer, err := client.Get("http://" + leaf() + "/leaf?from=" + name)
	if err == nil {
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
	}
}

// The same with a context, from which more are made on the way, as in layers of a program.
func callWith(ctx context.Context, name string) {
	ctx = context.WithValue(ctx, &jobs, name)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	ctx = context.WithValue(ctx, &lazy, name)
	request, err := http.NewRequestWithContext(ctx, "GET", "http://"+leaf()+"/leaf?from="+name, nil)
	if err != nil {
		return
	}
	answer, err := kept.Do(request)
	if err == nil {
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
	}
}

func raw(name string) {
	conn, err := net.Dial("tcp", leaf())
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
	ctx  context.Context
}

func (job job) do() {
	if job.ctx != nil {
		callWith(job.ctx, job.name)
	} else {
		call(kept, job.name)
	}
	job.done.Done()
}

var jobs = make(chan job)

func work() {
	for job := range jobs {
		job.do()
	}
}

// A pool whose workers are started when there is none to spare, and end when they had nothing to do for a while.
type pool struct {
	queue   chan job
	workers chan struct{}
}

var lazy = pool{make(chan job, 1024), make(chan struct{}, 6)}

func (pool pool) submit(work job) {
	pool.queue <- work
	select {
	case pool.workers <- struct{}{}:
		go pool.work()
	default:
	}
}

func (pool pool) work() {
	for {
		select {
		case job := <-pool.queue:
			job.do()
		case <-time.After(20 * time.Millisecond):
			<-pool.workers
			return
		}
	}
}

// Runs all, four at once, and ends the others at the first error.
func group(ctx context.Context, name string, calls int) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var done sync.WaitGroup
	room := make(chan struct{}, 4)
	for index := 0; index < calls; index++ {
		room <- struct{}{}
		done.Add(1)
		go func() {
			defer done.Done()
			callWith(ctx, name)
			<-room
		}()
	}
	done.Wait()
}

func serve(answer http.ResponseWriter, request *http.Request) {
	asked := request.URL.Query()
	name, mode := asked.Get("id"), asked.Get("mode")
	count, _ := strconv.Atoi(asked.Get("calls"))
	var done sync.WaitGroup
	if mode == "group" {
		group(request.Context(), name, count)
		count = 0
	}
	for index := 0; index < count; index++ {
		switch mode {
		case "gather", "few":
			client := map[string]*http.Client{"gather": kept, "few": few}[mode]
			done.Add(1)
			go func() {
				defer done.Done()
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
		case "worker", "channel", "lazy", "pool":
			done.Add(1)
			work := job{name, &done, nil}
			if mode == "channel" || mode == "pool" {
				work.ctx = request.Context()
			}
			if mode == "worker" || mode == "channel" {
				jobs <- work
			} else {
				lazy.submit(work)
				time.Sleep(time.Duration(rand.Intn(4000)) * time.Microsecond)
			}
		case "detached":
			ctx := detached(request.Context())
			go func() {
				time.Sleep(time.Duration(rand.Intn(12)) * time.Millisecond)
				callWith(ctx, name)
			}()
		default:
			time.Sleep(time.Duration(rand.Intn(2000)) * time.Microsecond)
			call(kept, name)
		}
	}
	done.Wait()
	io.WriteString(answer, "ok")
}

func main() {
	for index := 0; index < 4; index++ {
		go work()
	}
	if len(os.Args) > 2 && os.Args[2] == "poll" {
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
	if len(os.Args) > 2 && os.Args[2] == "loop" {
		loop(listener.(*net.TCPListener))
	}
	panic(http.Serve(listener, http.HandlerFunc(serve)))
}

// The answer of a request that [loop] has read.
type plain struct{ net.Conn }

func (plain) Header() http.Header { return http.Header{} }
func (plain) WriteHeader(int)     {}
func (answer plain) Write(body []byte) (int, error) {
	return fmt.Fprintf(answer.Conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// Serves all connections as a program with an event loop does: one goroutine waits for all of them.
func loop(listener *net.TCPListener) {
	var open []net.Conn
	buffer := make([]byte, 4096)
	for {
		listener.SetDeadline(time.Now().Add(100 * time.Microsecond))
		if conn, err := listener.Accept(); err == nil {
			open = append(open, conn)
		}
		for _, conn := range open {
			conn.SetReadDeadline(time.Now().Add(20 * time.Microsecond))
			if count, err := conn.Read(buffer); err == nil {
				head := bufio.NewReader(strings.NewReader(string(buffer[:count])))
				if request, err := http.ReadRequest(head); err == nil {
					go serve(plain{conn}, request)
				}
			}
		}
	}
}
