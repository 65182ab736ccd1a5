// Connect and gRPC-Web over HTTP/1.1 by connect-go: serves shop.Cart, or makes one call of each kind by each protocol to PORT.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"

	"connectrpc.com/connect"
)

type message struct{ bytes []byte }

// plain takes messages as they are.
type plain struct{}

func (plain) Name() string                  { return "plain" }
func (plain) Marshal(v any) ([]byte, error) { return v.(*message).bytes, nil }
func (plain) Unmarshal(data []byte, v any) error {
	v.(*message).bytes = append([]byte(nil), data...)
	return nil
}

var codec = connect.WithCodec(plain{})

func unary(mux *http.ServeMux, name string, code connect.Code) {
	path := "/route/shop.Cart/" + name
	mux.Handle(path, connect.NewUnaryHandler(path,
		func(_ context.Context, request *connect.Request[message]) (*connect.Response[message], error) {
			if code != 0 {
				return nil, connect.NewError(code, errors.New(name))
			}
			return connect.NewResponse(request.Msg), nil
		}, codec))
}

func serve() {
	mux := http.NewServeMux()
	unary(mux, "Unary", 0)
	unary(mux, "Missing", connect.CodeNotFound)
	unary(mux, "Broken", connect.CodeInternal)
	mux.Handle("/route/shop.Cart/List", connect.NewServerStreamHandler("/route/shop.Cart/List",
		func(_ context.Context, request *connect.Request[message], stream *connect.ServerStream[message]) error {
			for range 5 {
				if err := stream.Send(request.Msg); err != nil {
					return err
				}
			}
			return nil
		}, codec))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("PORT", listener.Addr().(*net.TCPAddr).Port)
	panic(http.Serve(listener, mux))
}

func ask(port string) {
	for _, options := range [][]connect.ClientOption{{codec}, {codec, connect.WithGRPCWeb()}} {
		client := func(name string) *connect.Client[message, message] {
			url := "http://127.0.0.1:" + port + "/route/shop.Cart/" + name
			return connect.NewClient[message, message](http.DefaultClient, url, options...)
		}
		request := func() *connect.Request[message] { return connect.NewRequest(&message{[]byte("abc")}) }
		for _, name := range []string{"Unary", "Missing", "Broken", "Gone"} {
			_, err := client(name).CallUnary(context.Background(), request())
			fmt.Println(name, err)
		}
		stream, err := client("List").CallServerStream(context.Background(), request())
		if err != nil {
			panic(err)
		}
		for stream.Receive() {
		}
		stream.Close()
	}
}

func main() {
	if len(os.Args) < 2 {
		serve()
	}
	ask(os.Args[1])
}
