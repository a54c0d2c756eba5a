import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;

/** A server that prints who asks for what. */
public class Serve {
    public static void main(String[] arguments) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress(8080), 0);
        long pid = ProcessHandle.current().pid();
        server.createContext("/", exchange -> {
            int size = exchange.getRequestBody().readAllBytes().length;
            String host = exchange.getRemoteAddress().getAddress().getHostAddress();
            System.out.println(pid + " " + host + " " + exchange.getRequestMethod() + " "
                + exchange.getRequestURI() + " " + size);
            exchange.sendResponseHeaders(200, 0);
            exchange.close();
        });
        server.start();
    }
}
