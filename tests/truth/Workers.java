import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.HttpURLConnection;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.HashMap;
import java.util.concurrent.Executors;
import java.util.concurrent.ThreadLocalRandom;

/**
 * The service of threads.py by a pool of threads.
 *
 * <p>kept: by the blocking client, which keeps connections; client: by the newer one, which sends from threads of its
 * own; late: by another thread, after the answer. Argument: PORT of the leaf.
 */
public class Workers {
    static String leaf;
    static final HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();

    static void call(String name) throws IOException {
        var connection = (HttpURLConnection) URI.create(leaf + name).toURL().openConnection();
        try (var body = connection.getInputStream()) {
            body.readAllBytes();
        }
    }

    static void later(String name, int calls) {
        try {
            Thread.sleep(4);
            for (int n = 0; n < calls; n++) call(name);
        } catch (IOException | InterruptedException error) {
            throw new IllegalStateException(error);
        }
    }

    static void answer(HttpExchange exchange) throws IOException {
        var asked = new HashMap<String, String>();
        for (String pair : exchange.getRequestURI().getQuery().split("&")) {
            String[] parts = pair.split("=");
            asked.put(parts[0], parts[1]);
        }
        String name = asked.get("id");
        int calls = Integer.parseInt(asked.get("calls"));
        try {
            switch (asked.get("mode")) {
                case "late" -> new Thread(() -> later(name, calls)).start();
                case "client" -> {
                    var request = HttpRequest.newBuilder(URI.create(leaf + name)).build();
                    for (int n = 0; n < calls; n++) client.send(request, BodyHandlers.discarding());
                }
                default -> {
                    for (int n = 0; n < calls; n++) {
                        Thread.sleep(ThreadLocalRandom.current().nextInt(3));
                        call(name);
                    }
                }
            }
        } catch (InterruptedException error) {
            throw new IOException(error);
        }
        exchange.sendResponseHeaders(200, 2);
        exchange.getResponseBody().write("ok".getBytes());
        exchange.close();
    }

    public static void main(String[] args) throws Exception {
        leaf = "http://127.0.0.1:" + args[0] + "/leaf?from=";
        System.setProperty("http.maxConnections", "64");
        var server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 256);
        server.createContext("/", Workers::answer);
        server.setExecutor(Executors.newFixedThreadPool(64));
        server.start();
        System.out.println("PORT " + server.getAddress().getPort());
    }
}
