// gRPC by grpc-java on Netty: serves shop.Cart, or makes one call of each kind to PORT and then COUNT at once.
import io.grpc.*;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.netty.shaded.io.grpc.netty.*;
import io.grpc.stub.*;
import java.io.*;
import java.net.InetSocketAddress;
import java.util.*;
import java.util.concurrent.*;

public class Cart {
    static final MethodDescriptor.Marshaller<byte[]> PLAIN = new MethodDescriptor.Marshaller<>() {
        public InputStream stream(byte[] message) { return new ByteArrayInputStream(message); }

        public byte[] parse(InputStream stream) {
            try {
                return stream.readAllBytes();
            } catch (IOException wrong) {
                throw new UncheckedIOException(wrong);
            }
        }
    };
    static final byte[] PART = "abc".getBytes();

    static MethodDescriptor<byte[], byte[]> method(String name) {
        MethodType type = switch (name) {
            case "Collect" -> MethodType.CLIENT_STREAMING;
            case "List" -> MethodType.SERVER_STREAMING;
            case "Chat", "Early" -> MethodType.BIDI_STREAMING;
            default -> MethodType.UNARY;
        };
        return MethodDescriptor.newBuilder(PLAIN, PLAIN).setType(type).setFullMethodName("shop.Cart/" + name).build();
    }

    static ServerCallHandler<byte[], byte[]> unary(ServerCalls.UnaryMethod<byte[], byte[]> work) {
        return ServerCalls.asyncUnaryCall(work);
    }

    static StreamObserver<byte[]> chat(StreamObserver<byte[]> out) {
        return new StreamObserver<>() {
            public void onNext(byte[] part) { out.onNext(part); }
            public void onError(Throwable wrong) { }
            public void onCompleted() { out.onCompleted(); }
        };
    }

    static StreamObserver<byte[]> collect(StreamObserver<byte[]> out) {
        return new StreamObserver<>() {
            int size;

            public void onNext(byte[] part) { size += part.length; }
            public void onError(Throwable wrong) { }

            public void onCompleted() {
                out.onNext(new byte[size]);
                out.onCompleted();
            }
        };
    }

    static void serve() throws Exception {
        var service = ServerServiceDefinition.builder("shop.Cart");
        for (String name : List.of("Unary", "Large", "Empty")) {
            service.addMethod(method(name), unary((request, out) -> {
                out.onNext(request);
                out.onCompleted();
            }));
        }
        for (Status status : List.of(Status.NOT_FOUND.withDescription("none: \u00fc %"), Status.INTERNAL)) {
            String name = status.getCode() == Status.Code.INTERNAL ? "Broken" : "Missing";
            service.addMethod(method(name), unary((request, out) -> out.onError(status.asException())));
        }
        service.addMethod(method("Never"), unary((request, out) -> { }));
        service.addMethod(method("Cancel"), unary((request, out) -> { }));
        service.addMethod(method("Collect"), ServerCalls.asyncClientStreamingCall(Cart::collect));
        service.addMethod(method("List"), ServerCalls.asyncServerStreamingCall((byte[] request, StreamObserver<byte[]> out) -> {
            for (int n = 0; n < 5; n++) {
                out.onNext(request);
            }
            out.onCompleted();
        }));
        service.addMethod(method("Chat"), ServerCalls.asyncBidiStreamingCall(Cart::chat));
        service.addMethod(method("Early"), ServerCalls.asyncBidiStreamingCall(Cart::chat));
        Server server = NettyServerBuilder.forAddress(new InetSocketAddress("127.0.0.1", 0))
            .maxInboundMessageSize(1 << 24).addService(service.build()).build().start();
        System.out.println("PORT " + server.getPort());
        server.awaitTermination();
    }

    final ManagedChannel channel;

    Cart(int port) {
        channel = NettyChannelBuilder.forAddress("127.0.0.1", port).usePlaintext().maxInboundMessageSize(1 << 24).build();
    }

    void call(String name, int size, CallOptions how) {
        try {
            ClientCalls.blockingUnaryCall(channel, method(name), how, new byte[size]);
        } catch (StatusRuntimeException expected) {
            // It is the status that is looked at.
        }
    }

    void stream(String name) throws InterruptedException {
        CountDownLatch over = new CountDownLatch(1);
        var call = channel.newCall(method(name), CallOptions.DEFAULT);
        StreamObserver<byte[]> in = new StreamObserver<>() {
            public void onNext(byte[] part) {
                if (name.equals("Early")) {
                    call.cancel("enough", null);
                }
            }

            public void onError(Throwable wrong) { over.countDown(); }
            public void onCompleted() { over.countDown(); }
        };
        var out = name.equals("Collect") ? ClientCalls.asyncClientStreamingCall(call, in) : ClientCalls.asyncBidiStreamingCall(call, in);
        for (int n = 0; n < (name.equals("Early") ? 1 : 5); n++) {
            out.onNext(PART);
        }
        if (!name.equals("Early")) {
            out.onCompleted();
        }
        over.await();
    }

    void ask(int count) throws Exception {
        CallOptions usual = CallOptions.DEFAULT;
        call("Unary", 10, usual);
        call("Large", 1_000_000, usual);
        call("Empty", 0, usual);
        stream("Collect");
        ClientCalls.blockingServerStreamingCall(channel, method("List"), usual, PART).forEachRemaining(part -> { });
        stream("Chat");
        call("Missing", 0, usual);
        call("Broken", 0, usual);
        call("Gone", 0, usual);
        call("Never", 0, usual.withDeadlineAfter(100, TimeUnit.MILLISECONDS));
        var cancelled = ClientCalls.futureUnaryCall(channel.newCall(method("Cancel"), usual), PART);
        Thread.sleep(50);
        cancelled.cancel(true);
        stream("Early");
        List<Future<byte[]>> calls = new ArrayList<>();
        for (int n = 0; n < count; n++) {
            calls.add(ClientCalls.futureUnaryCall(channel.newCall(method("Unary"), usual), new byte[n]));
        }
        for (var call : calls) {
            call.get();
        }
        channel.shutdown().awaitTermination(5, TimeUnit.SECONDS);
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length == 0) {
            serve();
        }
        new Cart(Integer.parseInt(arguments[0])).ask(Integer.parseInt(arguments[1]));
    }
}
