// gRPC by grpc-go: serves shop.Cart, or makes one call of each kind to PORT and then COUNT at once.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// plain takes messages as they are.
type plain struct{}

func (plain) Marshal(v any) ([]byte, error) { return *(v.(*[]byte)), nil }
func (plain) Unmarshal(data []byte, v any) error {
	*(v.(*[]byte)) = append([]byte(nil), data...)
	return nil
}
func (plain) Name() string { return "plain" }

func unary(name string, work func(context.Context, []byte) ([]byte, error)) grpc.MethodDesc {
	return grpc.MethodDesc{MethodName: name, Handler: func(_ any, ctx context.Context, read func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var request []byte
		if err := read(&request); err != nil {
			return nil, err
		}
		answer, err := work(ctx, request)
		return &answer, err
	}}
}

func echo(_ context.Context, request []byte) ([]byte, error) { return request, nil }

func never(ctx context.Context, _ []byte) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func fails(code codes.Code, text string) func(context.Context, []byte) ([]byte, error) {
	return func(context.Context, []byte) ([]byte, error) { return nil, status.Error(code, text) }
}

func collect(_ any, stream grpc.ServerStream) error {
	var all []byte
	for {
		var part []byte
		if err := stream.RecvMsg(&part); err == io.EOF {
			return stream.SendMsg(&all)
		} else if err != nil {
			return err
		}
		all = append(all, part...)
	}
}

func list(_ any, stream grpc.ServerStream) error {
	var request []byte
	if err := stream.RecvMsg(&request); err != nil {
		return err
	}
	for range 5 {
		if err := stream.SendMsg(&request); err != nil {
			return err
		}
	}
	return nil
}

func chat(_ any, stream grpc.ServerStream) error {
	for {
		var part []byte
		if err := stream.RecvMsg(&part); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := stream.SendMsg(&part); err != nil {
			return err
		}
	}
}

func serve() {
	service := grpc.ServiceDesc{
		ServiceName: "shop.Cart",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			unary("Unary", echo), unary("Large", echo), unary("Empty", echo),
			unary("Missing", fails(codes.NotFound, "none: \u00fc %")), unary("Broken", fails(codes.Internal, "broken")),
			unary("Never", never), unary("Cancel", never),
		},
		Streams: []grpc.StreamDesc{
			{StreamName: "Collect", ClientStreams: true, Handler: collect},
			{StreamName: "List", ServerStreams: true, Handler: list},
			{StreamName: "Chat", ServerStreams: true, ClientStreams: true, Handler: chat},
			{StreamName: "Early", ServerStreams: true, ClientStreams: true, Handler: chat},
		},
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodec(plain{}))
	server.RegisterService(&service, struct{}{})
	fmt.Println("PORT", listener.Addr().(*net.TCPAddr).Port)
	panic(server.Serve(listener))
}

func ask(port string, count int) {
	channel, err := grpc.NewClient("passthrough:///127.0.0.1:"+port,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodec(plain{})))
	if err != nil {
		panic(err)
	}
	always := context.Background()
	call := func(ctx context.Context, method string, size int) {
		request, answer := make([]byte, size), []byte(nil)
		channel.Invoke(ctx, "/shop.Cart/"+method, &request, &answer)
	}
	// Sends so many messages and waits for so many.
	stream := func(ctx context.Context, method string, sends, waits int) grpc.ClientStream {
		kind := grpc.StreamDesc{ClientStreams: sends != 1 || method == "Early", ServerStreams: waits != 1 || method == "Early"}
		stream, err := channel.NewStream(ctx, &kind, "/shop.Cart/"+method)
		if err != nil {
			panic(err)
		}
		part := []byte("abc")
		for range sends {
			stream.SendMsg(&part)
		}
		if method != "Early" {
			stream.CloseSend()
		}
		for range waits {
			if err := stream.RecvMsg(&part); err != nil {
				panic(err)
			}
		}
		return stream
	}
	call(always, "Unary", 10)
	call(always, "Large", 1_000_000)
	call(always, "Empty", 0)
	for _, stream := range []grpc.ClientStream{
		stream(always, "Collect", 5, 1), stream(always, "List", 1, 5), stream(always, "Chat", 5, 5),
	} {
		var none []byte
		stream.RecvMsg(&none)
	}
	call(always, "Missing", 0)
	call(always, "Broken", 0)
	call(always, "Gone", 0)
	short, cancel := context.WithTimeout(always, 100*time.Millisecond)
	call(short, "Never", 0)
	cancel()
	broken, cancel := context.WithCancel(always)
	time.AfterFunc(50*time.Millisecond, cancel)
	call(broken, "Cancel", 0)
	broken, cancel = context.WithCancel(always)
	stream(broken, "Early", 1, 1)
	cancel()
	var group sync.WaitGroup
	for n := range count {
		group.Add(1)
		go func() {
			defer group.Done()
			call(always, "Unary", n)
		}()
	}
	group.Wait()
	channel.Close()
}

func main() {
	if len(os.Args) < 3 {
		serve()
	}
	count, _ := strconv.Atoi(os.Args[2])
	ask(os.Args[1], count)
}
