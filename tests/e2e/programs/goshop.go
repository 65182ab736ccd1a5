// Go's net/http. Without arguments: a server. With PORT and COUNT: asks that server one after the other, then COUNT
// requests at once, and ends. With a third argument it asks once before, and waits for a line.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
)

func answer(w http.ResponseWriter, r *http.Request) {
	length, _ := io.Copy(io.Discard, r.Body)
	kind, number, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	n, _ := strconv.Atoi(number)
	switch kind {
	case "status":
		w.WriteHeader(n)
	case "bytes":
		w.Header().Set("Content-Length", strconv.Itoa(n))
		io.WriteString(w, strings.Repeat("b", n))
	case "chunks":
		w.Header().Set("Trailer", "X-Sum")
		for part := 10_000; n > 0; n -= part {
			if n < part {
				part = n
			}
			io.WriteString(w, strings.Repeat("c", part))
			w.(http.Flusher).Flush()
		}
		w.Header().Set("X-Sum", "1")
	case "panic":
		panic(http.ErrAbortHandler)
	default:
		fmt.Fprintln(w, length)
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func ask(method, url, body string) {
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	must(err)
	response, err := http.DefaultClient.Do(request)
	must(err)
	_, err = io.Copy(io.Discard, response.Body)
	must(err)
	must(response.Body.Close())
}

func main() {
	if len(os.Args) < 3 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		must(err)
		fmt.Println("PORT", listener.Addr().(*net.TCPAddr).Port)
		must(http.Serve(listener, http.HandlerFunc(answer)))
	}
	base := "http://127.0.0.1:" + os.Args[1]
	count, err := strconv.Atoi(os.Args[2])
	must(err)
	if len(os.Args) > 3 {
		ask("GET", base+"/hello", "")
		_, err := os.Stdin.Read(make([]byte, 1))
		must(err)
	}
	for n := 0; n < count; n++ {
		ask("GET", fmt.Sprint(base, "/bytes/", n, "?by=go"), "")
	}
	ask("POST", base+"/post", strings.Repeat("x", 100_000))
	ask("GET", base+"/chunks/100000", "")
	ask("GET", base+"/status/500", "")
	var all sync.WaitGroup
	for n := 0; n < count; n++ {
		all.Add(1)
		go func(n int) {
			defer all.Done()
			ask("PUT", fmt.Sprint(base, "/at-once/", n), "z")
		}(n)
	}
	all.Wait()
}
