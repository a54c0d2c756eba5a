// Connects once by one of three ways: socket|nio|http HOST PORT TIMEOUT_SECONDS.
// Prints ok, refused, timeout or another error's name.
import java.net.ConnectException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpTimeoutException;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.time.Duration;

public class Probe {
    static void socket(InetSocketAddress peer, int patience) throws Exception {
        try (Socket socket = new Socket()) {
            socket.connect(peer, patience);
        }
    }

    static void nio(InetSocketAddress peer, int patience) throws Exception {
        try (Selector selector = Selector.open(); SocketChannel channel = SocketChannel.open()) {
            channel.configureBlocking(false);
            if (channel.connect(peer))
                return;
            channel.register(selector, SelectionKey.OP_CONNECT);
            if (selector.select(patience) == 0)
                throw new SocketTimeoutException();
            channel.finishConnect();
        }
    }

    static void http(InetSocketAddress peer, int patience) throws Exception {
        Duration time = Duration.ofMillis(patience);
        HttpClient client = HttpClient.newBuilder().connectTimeout(time).build();
        URI address = URI.create("http://" + peer.getHostString() + ":" + peer.getPort() + "/");
        client.send(HttpRequest.newBuilder(address).timeout(time).build(), HttpResponse.BodyHandlers.discarding());
    }

    static String outcome(String way, InetSocketAddress peer, int patience) {
        try {
            switch (way) {
                case "socket" -> socket(peer, patience);
                case "nio" -> nio(peer, patience);
                case "http" -> http(peer, patience);
                default -> throw new IllegalArgumentException(way);
            }
            return "ok";
        } catch (SocketTimeoutException | HttpTimeoutException error) {
            return "timeout";
        } catch (ConnectException error) {
            return refused(error) ? "refused" : error.toString();
        } catch (Exception error) {
            return error.toString();
        }
    }

    // HttpClient wraps what its channel threw, and says ClosedChannelException beside it on some versions.
    static boolean refused(Throwable error) {
        for (Throwable cause = error; cause != null; cause = cause.getCause())
            if (cause instanceof ConnectException
                    && (cause.getMessage() == null || cause.getMessage().contains("refused")))
                return true;
        return false;
    }

    public static void main(String[] arguments) {
        InetSocketAddress peer = new InetSocketAddress(arguments[1], Integer.parseInt(arguments[2]));
        int patience = (int) (Double.parseDouble(arguments[3]) * 1000);
        System.out.println(outcome(arguments[0], peer, patience));
        System.exit(0);
    }
}
