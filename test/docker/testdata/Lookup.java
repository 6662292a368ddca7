import java.net.InetAddress;
import java.net.UnknownHostException;

/** Looks names up as a JVM does. For each it prints "MILLISECONDS NAME ADDRESS…", or the error in the place of the addresses. */
public class Lookup {
    public static void main(String[] names) {
        for (String name : names) {
            StringBuilder found = new StringBuilder();
            long began = System.nanoTime();
            try {
                for (InetAddress address : InetAddress.getAllByName(name)) found.append(' ').append(address.getHostAddress());
            } catch (UnknownHostException e) {
                found.append(' ').append(e.getMessage());
            }
            System.out.println((System.nanoTime() - began) / 1000000 + " " + name + found);
        }
    }
}
