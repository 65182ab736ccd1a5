import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.concurrent.Executors;

/** Payment: sets the goods aside before it takes the money. */
public class Payment {
    private static final String CART = System.getenv("CART");
    // By its default it offers HTTP/2 with each request, which its neighbour does not speak.
    private static final HttpClient CLIENT =
            HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();

    public static void main(String[] args) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.createContext("/pay", Payment::pay);
        server.setExecutor(Executors.newFixedThreadPool(4));
        server.start();
        System.out.println("ready " + server.getAddress().getPort());
    }

    private static void pay(HttpExchange exchange) throws IOException {
        int status = 500;
        try {
            status = reserve() == 200 ? 200 : 500;
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        } finally {
            byte[] body = ("{\"paid\": " + (status == 200) + "}").getBytes();
            exchange.sendResponseHeaders(status, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        }
    }

    private static int reserve() throws IOException, InterruptedException {
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(CART + "/reserve/jam"));
        request.POST(HttpRequest.BodyPublishers.noBody());
        return CLIENT.send(request.build(), HttpResponse.BodyHandlers.discarding()).statusCode();
    }
}
