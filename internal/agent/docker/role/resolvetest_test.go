package role

import (
	"net"
	"strings"
	"testing"
)

// TestResolveTest checks that any answer counts, also a refusal, and that a server that does not answer fails the test.
func TestResolveTest(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	var out strings.Builder
	status := resolveTest(silent.LocalAddr().String(), &out)
	if status != 1 || !strings.Contains(out.String(), "over udp: ") || !strings.Contains(out.String(), "over tcp: ") {
		t.Errorf("a silent server: status %d, output %q; want 1 and an error for each protocol", status, &out)
	}
	refuses, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer refuses.Close()
	go func() {
		for buf := make([]byte, 512); ; {
			n, from, err := refuses.ReadFrom(buf)
			if err != nil {
				return
			}
			buf[2], buf[3] = buf[2]|0x80, buf[3]&0xf0|5 // QR, REFUSED (RFC 1035, section 4.1.1)
			if _, err := refuses.WriteTo(buf[:n], from); err != nil {
				return
			}
		}
	}()
	if err := query(t.Context(), "udp", refuses.LocalAddr().String()); err != nil {
		t.Errorf("a server that refuses: %v, want no error", err)
	}
}
