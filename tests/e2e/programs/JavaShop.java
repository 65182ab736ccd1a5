import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.concurrent.Executors;

/** The JDK's server, and its client against it: with one argument, the number of requests of each kind. */
public class JavaShop {
    static void answer(HttpExchange exchange) throws IOException {
        int length = exchange.getRequestBody().readAllBytes().length;
        String[] path = exchange.getRequestURI().getPath().split("/");
        int number = path.length > 2 ? Integer.parseInt(path[2]) : 0;
        switch (path.length > 1 ? path[1] : "") {
            case "status" -> exchange.sendResponseHeaders(number, -1);
            case "chunks" -> {
                exchange.sendResponseHeaders(200, 0);
                exchange.getResponseBody().write(new byte[number]);
            }
            default -> {
                byte[] body = new byte[path.length > 1 && path[1].equals("bytes") ? number : 3];
                exchange.sendResponseHeaders(200, body.length == 0 ? -1 : body.length);
                if (body.length > 0) exchange.getResponseBody().write(body);
            }
        }
        exchange.close();
    }

    static HttpRequest ask(String method, String url, String body) {
        var publisher = body.isEmpty() ? BodyPublishers.noBody() : BodyPublishers.ofString(body);
        return HttpRequest.newBuilder(URI.create(url)).version(HttpClient.Version.HTTP_1_1).method(method, publisher).build();
    }

    public static void main(String[] args) throws Exception {
        var server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.createContext("/", JavaShop::answer);
        server.setExecutor(Executors.newFixedThreadPool(4));
        server.start();
        System.out.println("PORT " + server.getAddress().getPort());
        if (args.length == 0) return;
        String base = "http://127.0.0.1:" + server.getAddress().getPort();
        int count = Integer.parseInt(args[0]);
        var client = HttpClient.newHttpClient();
        var discard = HttpResponse.BodyHandlers.discarding();
        for (int n = 1; n <= count; n++) client.send(ask("GET", base + "/bytes/" + n + "?by=java", ""), discard);
        client.send(ask("POST", base + "/post", "x".repeat(100_000)), discard);
        client.send(ask("GET", base + "/chunks/100000", ""), discard);
        client.send(ask("GET", base + "/status/500", ""), discard);
        var all = new ArrayList<java.util.concurrent.CompletableFuture<?>>();
        for (int n = 0; n < count; n++) all.add(client.sendAsync(ask("PUT", base + "/at-once/" + n, "z"), discard));
        for (var one : all) one.get();
        System.out.println("DONE");
    }
}
