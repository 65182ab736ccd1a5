// Pricing says what things cost.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"path"
)

var prices = map[string]int{"tea": 4, "cup": 9}

func price(w http.ResponseWriter, r *http.Request) {
	price, known := prices[path.Base(r.URL.Path)]
	if !known {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]int{"price": price})
}

func main() {
	http.HandleFunc("/price/", price)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready", listener.Addr().(*net.TCPAddr).Port)
	log.Fatal(http.Serve(listener, nil))
}
