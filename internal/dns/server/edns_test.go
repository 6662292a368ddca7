package server

import (
	"encoding/hex"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestCookieVectors checks the examples of RFC 9018, appendix A.
func TestCookieVectors(t *testing.T) {
	for _, tc := range []struct{ name, secret, source, received, at, want string }{
		{"A.1 new cookie", "e5e973e5a6b2a43f48e7dc849e37bfcf", "198.51.100.100",
			"2464c4abcf10c957", "2019-06-05T10:53:05Z", "2464c4abcf10c957010000005cf79f111f8130c3eee29480"},
		{"A.2 renewed after 40 minutes", "e5e973e5a6b2a43f48e7dc849e37bfcf", "198.51.100.100",
			"2464c4abcf10c957010000005cf79f111f8130c3eee29480", "2019-06-05T11:33:05Z",
			"2464c4abcf10c957010000005cf7a871d4a564a1442aca77"},
		{"unchanged after 20 minutes", "e5e973e5a6b2a43f48e7dc849e37bfcf", "198.51.100.100",
			"2464c4abcf10c957010000005cf79f111f8130c3eee29480", "2019-06-05T11:13:05Z",
			"2464c4abcf10c957010000005cf79f111f8130c3eee29480"},
		{"A.4 IPv6", "445536bcd2513298075a5d379663c962", "2001:db8:220:1:59de:d0f4:8769:82b8",
			"22681ab97d52c298", "2019-06-05T13:39:21Z", "22681ab97d52c298010000005cf7c609a6bb79d16625507a"},
	} {
		var c cookies
		copy(c.secret[:], unhex(t, tc.secret))
		at, err := time.Parse(time.RFC3339, tc.at)
		if err != nil {
			t.Fatal(err)
		}
		cookie := c.renew(unhex(t, tc.received), netip.MustParseAddr(tc.source), at)
		if got := hex.EncodeToString(cookie); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
		}
	}
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// otherDigit returns a different hex digit.
func otherDigit(digit byte) string {
	if digit == '0' {
		return "1"
	}
	return "0"
}

func TestCookies(t *testing.T) {
	_, addr := start(t, zone, Config{})
	send := func(cookie string) string {
		q := query("worker.corp.", dns.TypeA)
		withCookie(q, cookie)
		r := ask(t, "udp", addr, q)
		if r.Rcode != dns.RcodeSuccess || len(r.Answer) != 2 {
			t.Errorf("with cookie %s: %s", cookie, summary(r))
		}
		return r.IsEdns0().Option[0].(*dns.EDNS0_COOKIE).Cookie
	}
	const client = "0102030405060708"
	cookie := send(client)
	if len(cookie) != 48 || cookie[:16] != client {
		t.Fatalf("cookie %s, want the client cookie and 16 octets", cookie)
	}
	if again := send(cookie); again != cookie {
		t.Errorf("valid cookie %s was replaced by %s", cookie, again)
	}
	for name, forged := range map[string]string{
		"of another client":  "0102030405060709" + cookie[16:],
		"altered":            cookie[:47] + otherDigit(cookie[47]),
		"of another version": client + "0102030405060708090a",
	} {
		if got := send(forged); got == forged || got[:16] != forged[:16] {
			t.Errorf("cookie %s: sent %s, the reply has %s, want a new server cookie", name, forged, got)
		}
	}
}
