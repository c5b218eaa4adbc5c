import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.util.TreeSet;
import java.util.zip.CRC32C;

/**
 * Java's word on the character sets that are its arguments, one line each: name, CRC-32C of everything decoded, of
 * everything encoded, aliases. The test in src/convert/charset.rs does the same with ours. Made by:
 *
 * cut -d' ' -f1 tests/java/recorded/charsets.txt | xargs java tests/java/src/Charsets.java > new
 */
public class Charsets {
    public static void main(String[] names) {
        for (String name : names) {
            Charset set = Charset.forName(name);
            TreeSet<String> aliases = new TreeSet<>(set.aliases());
            aliases.removeIf(alias -> alias.equalsIgnoreCase(set.name()));
            System.out.printf("%s %08x %08x %s%n", set.name(), decoded(set), encoded(set), String.join(" ", aliases));
        }
    }

    static long decoded(Charset set) {
        CRC32C crc = new CRC32C();
        for (int first = 0; first < 256; first++) {
            add(crc, new byte[] {(byte) first}, set);
            for (int second = 0; second < 256; second++) {
                add(crc, new byte[] {(byte) first, (byte) second, 'A'}, set);
            }
        }
        return crc.getValue();
    }

    static void add(CRC32C crc, byte[] bytes, Charset set) {
        crc.update(new String(bytes, set).getBytes(StandardCharsets.UTF_8));
        crc.update('\n');
    }

    static long encoded(Charset set) {
        CRC32C crc = new CRC32C();
        for (int point = 0; point <= 0x10000; point++) {
            if (point < 0xD800 || point > 0xDFFF) {
                crc.update(Character.toString(point).getBytes(set));
                crc.update('\n');
            }
        }
        return crc.getValue();
    }
}
