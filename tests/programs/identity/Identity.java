// Prints what this program sees of its pod; of each file that is named, else of one, the first line.
import java.io.BufferedReader;
import java.io.InputStream;
import java.net.Inet4Address;
import java.net.InetAddress;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;

public class Identity {
    static final String HOST = "echo.default.svc.cluster.local";

    static String ipv4() throws Exception {
        for (InetAddress address : InetAddress.getAllByName(HOST))
            if (address instanceof Inet4Address)
                return address.getHostAddress();
        throw new IllegalStateException("no IPv4 address");
    }

    public static void main(String[] arguments) throws Exception {
        String[] files = arguments.length > 0 ? arguments : new String[] {"/app/config.yaml"};
        StringBuilder config = new StringBuilder();
        for (String file : files)
            try (BufferedReader reader = Files.newBufferedReader(Path.of(file))) {
                config.append("config=").append(reader.readLine()).append('\n');
            }
        byte[] body;
        try (InputStream stream = URI.create("http://" + HOST + "/bytes?n=16").toURL().openStream()) {
            body = stream.readAllBytes();
        }
        String greeting = System.getenv("GREETING");
        System.out.println("greeting=" + (greeting == null ? "" : greeting));
        System.out.println("hostname=" + InetAddress.getLocalHost().getHostName());
        System.out.print(config);
        System.out.println("echo=" + ipv4());
        System.out.println("answer=" + HexFormat.of().formatHex(body));
    }
}
