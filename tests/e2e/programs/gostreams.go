// HTTP/2 without TLS by Go's own library: serves, or asks PORT for COUNT requests at once on one connection.
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

func main() {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	if len(os.Args) < 3 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(err)
		}
		fmt.Println("PORT", listener.Addr().(*net.TCPAddr).Port)
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, _ := io.Copy(io.Discard, r.Body)
			if r.URL.Path == "/missing" {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Trailer", "X-Done")
			io.WriteString(w, strings.Repeat("x", int(n)))
			w.Header().Set("X-Done", "yes")
		})
		server := http.Server{Handler: handler, Protocols: &protocols}
		panic(server.Serve(listener))
	}
	count, _ := strconv.Atoi(os.Args[2])
	client := http.Client{Transport: &http.Transport{Protocols: &protocols, MaxConnsPerHost: 1}}
	ask := func(path string, size int) {
		body := strings.NewReader(strings.Repeat("b", size))
		response, err := client.Post("http://127.0.0.1:"+os.Args[1]+path, "text/plain", body)
		if err != nil {
			panic(err)
		}
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
	}
	ask("/first", 0)
	var group sync.WaitGroup
	for n := range count {
		group.Add(1)
		go func() {
			defer group.Done()
			ask(fmt.Sprintf("/at-once/%d", n), n*1000)
		}()
	}
	group.Wait()
	ask("/missing", 10)
}
