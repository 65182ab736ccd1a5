// The shop's stock: knows how many of an article are left, is slow for one and fails for another.
package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"
)

func main() {
	http.HandleFunc("/stock/", func(w http.ResponseWriter, r *http.Request) {
		switch strings.TrimPrefix(r.URL.Path, "/stock/") {
		case "tea":
			time.Sleep(180 * time.Millisecond)
		case "gone":
			http.Error(w, "no such article", http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, 4)
	})
	if err := http.ListenAndServe("127.0.0.1:"+os.Args[1], nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
