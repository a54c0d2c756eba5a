import java.io.IOException;
import java.net.ConnectException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpConnectTimeoutException;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.time.Duration;

/** Connects in one of Java's three ways and prints how it ended. Arguments: HOST PORT TIMEOUT-IN-MS socket|nio|http. */
public class Connect {
    public static void main(String[] arguments) throws Exception {
        String host = arguments[0];
        int port = Integer.parseInt(arguments[1]);
        int timeout = Integer.parseInt(arguments[2]);
        System.out.println(outcome(host, port, timeout, arguments[3]) + ": 1");
        System.exit(0);
    }

    private static String outcome(String host, int port, int timeout, String way) throws Exception {
        try {
            switch (way) {
                case "socket": return socket(host, port, timeout);
                case "nio": return nio(host, port, timeout);
                default: return http(host, port, timeout);
            }
        } catch (SocketTimeoutException | HttpConnectTimeoutException expired) {
            return "timeout";
        } catch (ConnectException refused) {
            // HttpClient wraps the cause: its own message may be empty.
            String text = refused.getMessage() == null ? String.valueOf(refused.getCause()) : refused.getMessage();
            return text.contains("refused") || way.equals("http") && refused.getCause() == null
                ? "refused ECONNREFUSED" : rootCause(refused);
        }
    }

    private static String rootCause(Throwable error) {
        Throwable cause = error;
        while (cause.getCause() != null) {
            cause = cause.getCause();
        }
        String text = String.valueOf(cause.getMessage());
        // NIO's own exception inside HttpClient carries no text for ECONNREFUSED but its class is enough.
        return cause instanceof java.nio.channels.ClosedChannelException || text.contains("refused")
            ? "refused ECONNREFUSED" : "error " + cause;
    }

    private static String socket(String host, int port, int timeout) throws IOException {
        try (Socket socket = new Socket()) {
            socket.connect(new InetSocketAddress(host, port), timeout);
        }
        return "ok";
    }

    private static String nio(String host, int port, int timeout) throws IOException {
        try (Selector selector = Selector.open(); SocketChannel channel = SocketChannel.open()) {
            channel.configureBlocking(false);
            channel.connect(new InetSocketAddress(host, port));
            channel.register(selector, SelectionKey.OP_CONNECT);
            if (selector.select(timeout) == 0) {
                return "timeout";
            }
            return channel.finishConnect() ? "ok" : "error not finished";
        }
    }

    private static String http(String host, int port, int timeout) throws Exception {
        HttpClient client = HttpClient.newBuilder().connectTimeout(Duration.ofMillis(timeout)).build();
        URI address = URI.create("http://" + host + ":" + port + "/");
        client.send(HttpRequest.newBuilder(address).build(), HttpResponse.BodyHandlers.ofString());
        return "ok";
    }
}
