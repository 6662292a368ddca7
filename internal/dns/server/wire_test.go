package server

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/bakingclouds/rollcall/internal/dns/answer"
	"github.com/bakingclouds/rollcall/internal/dns/dnstest"
)

// malformed contains messages in hex that are not valid queries, and the response code of the reply, "" for none.
var malformed = []struct{ name, message, want string }{
	{"empty", "", ""},
	{"one octet", "00", ""},
	{"truncated header", "1234 0100 0001 0000 0000 00", ""},
	{"response", "1234 8100 0001 0000 0000 0000 04636f727000 0001 0001", ""},
	{"header only", "1234 0100 0001 0000 0000 0000", "FORMERR"},
	{"no question", "1234 0100 0000 0000 0000 0000", "FORMERR"},
	{"truncated name", "1234 0100 0001 0000 0000 0000 04636f", "FORMERR"},
	{"without type and class", "1234 0100 0001 0000 0000 0000 04636f727000", "FORMERR"},
	{"pointer to itself", "1234 0100 0001 0000 0000 0000 c00c 0001 0001", "FORMERR"},
	{"two pointers to each other", "1234 0100 0002 0000 0000 0000 c012 0001 0001 c00c 0001 0001", "FORMERR"},
	{"pointer beyond the end", "1234 0100 0001 0000 0000 0000 c0ff 0001 0001", "FORMERR"},
	{"reserved label type", "1234 0100 0001 0000 0000 0000 80 0001 0001", "FORMERR"},
	{"more records than octets", "1234 0100 0001 0000 0000 ffff 04636f727000 0001 0001", "FORMERR"},
	{"option longer than its record",
		"1234 0100 0001 0000 0000 0001 04636f727000 0001 0001 00 0029 04d0 00000000 0004 000a 00ff", "FORMERR"},
	{"label and a pointer back to it", "1234 0100 0001 0000 0000 0000 0161 c00c 0001 0001", "FORMERR"},
	{"random octets", "9f3a 0123 4567 89ab cdef 0123 4567 89ab cdef", "FORMERR"},
	{"other opcode and random octets", "1234 7800 ffff ffff ffff ffff", "NOTIMP"},
}

func TestMalformedMessages(t *testing.T) {
	_, addr := start(t, zone, Config{})
	for _, tc := range malformed {
		msg := unhex(t, strings.ReplaceAll(tc.message, " ", ""))
		c, err := net.Dial("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		// The server handles datagrams in order, so a reply to the malformed message arrives before the reply to a
		// valid query that is sent after it.
		valid, err := query("worker.corp.", dns.TypeA).Pack()
		if err != nil {
			t.Fatal(err)
		}
		binary.BigEndian.PutUint16(valid, 0xbeef)
		for _, m := range [][]byte{msg, valid} {
			if _, err := c.Write(m); err != nil {
				t.Fatal(err)
			}
		}
		got, reply := "", make([]byte, 4096)
		for {
			n, err := c.Read(reply)
			if err != nil {
				t.Fatalf("%s: no reply to the valid query after it: %v", tc.name, err)
			}
			if binary.BigEndian.Uint16(reply) == 0xbeef {
				break
			}
			got = dns.RcodeToString[int(reply[3]&0xf)]
			if n < headerSize || !isResponse(reply) || !bytes.Equal(reply[:2], msg[:2]) ||
				opcode(reply) != opcode(msg) {
				t.Errorf("%s: reply %x to %x", tc.name, reply[:n], msg)
			}
		}
		if got != tc.want {
			t.Errorf("%s: reply %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestMalformedStreams(t *testing.T) {
	_, addr := start(t, zone, Config{})
	for name, octets := range map[string]string{
		"length 0":  "0000",
		"too short": "0003 010203",
		"too long":  "ffff",
		"response":  "0012 1234 8100 0001 0000 0000 0000 04636f727000 0001 0001",
	} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second)) // well before idleTimeout
		if _, err := c.Write(unhex(t, strings.ReplaceAll(octets, " ", ""))); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 1)); n != 0 || isTimeout(err) {
			t.Errorf("%s: the connection stays open (%d octets, %v)", name, n, err)
		}
	}
}

func isTimeout(err error) bool {
	n, ok := err.(net.Error)
	return ok && n.Timeout()
}

// TestPipelining sends many queries over one connection without waiting for replies, and then closes its sending side.
func TestPipelining(t *testing.T) {
	_, addr := start(t, zone, Config{})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	const n = 200
	var all []byte
	for id := range uint16(n) {
		q := query("worker.corp.", dns.TypeA)
		q.Id = id
		m, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		all = append(binary.BigEndian.AppendUint16(all, uint16(len(m))), m...)
	}
	go c.Write(all[:len(all)-1]) // the last octet is sent separately below
	seen := map[uint16]bool{}
	for len(seen) < n-1 {
		seen[readReply(t, c)] = true
	}
	if _, err := c.Write(all[len(all)-1:]); err != nil {
		t.Fatal(err)
	}
	c.(*net.TCPConn).CloseWrite()
	if seen[readReply(t, c)] = true; len(seen) != n {
		t.Errorf("%d different replies, want %d", len(seen), n)
	}
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the last reply: %v, want EOF", err)
	}
}

func readReply(t *testing.T, c net.Conn) (id uint16) {
	t.Helper()
	m, err := readMessage(c)
	if err != nil {
		t.Fatal(err)
	}
	return binary.BigEndian.Uint16(m)
}

func TestConnectionLimit(t *testing.T) {
	s, addr := start(t, zone, Config{})
	dial := func() *net.TCPConn {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(10 * time.Second))
		return c.(*net.TCPConn)
	}
	served := func(c *net.TCPConn) bool {
		m, err := query("worker.corp.", dns.TypeA).Pack()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(m))), m...)); err != nil {
			return false
		}
		_, err = readMessage(c)
		return err == nil
	}
	var open []*net.TCPConn
	for range maxConnsPerAddr {
		c := dial()
		if !served(c) {
			t.Fatalf("connection %d is not served", len(open)+1)
		}
		open = append(open, c)
	}
	if served(dial()) {
		t.Errorf("connection %d of one client is served", maxConnsPerAddr+1)
	}
	if n := s.Stats().Refused; n != 1 {
		t.Errorf("%d connections refused, want 1", n)
	}
	open[0].CloseWrite()
	io.Copy(io.Discard, open[0]) // returns when the server has closed the connection
	for deadline := time.Now().Add(5 * time.Second); !served(dial()); {
		if time.Now().After(deadline) {
			t.Fatal("no new connection is served after one has been closed")
		}
	}
}

// FuzzServe checks that no message makes the server panic, and that each reply is a well-formed response within the
// size that the client accepts.
func FuzzServe(f *testing.F) {
	for _, tc := range malformed {
		if m, err := hex.DecodeString(strings.ReplaceAll(tc.message, " ", "")); err == nil {
			f.Add(m)
		}
	}
	names := []string{
		"worker.corp.", "API.corp.", "many.corp.", "wide.corp.", "i-1.api.corp.", "unknown.corp.", "db.corp.",
		"corp.", ".",
	}
	for _, name := range names {
		for _, typ := range []uint16{dns.TypeA, dns.TypeSRV, dns.TypeANY, dns.TypeSOA, dns.TypeAXFR} {
			q := query(name, typ)
			withCookie(q, "0102030405060708")
			if m, err := q.Pack(); err == nil {
				f.Add(m)
			}
		}
	}
	s := New(Config{Authority: &answer.Authority{Directory: dnstest.Load(f, zone)}})
	f.Cleanup(s.Shutdown)
	from := origin{source: netip.MustParseAddr("127.0.0.1"), client: netip.MustParseAddr("127.0.0.1")}
	f.Fuzz(func(t *testing.T, msg []byte) {
		out := s.process(msg, from)
		if out.resolve != nil {
			t.Fatal("the question would be forwarded, but forwarding is disabled")
		}
		if out.reply != nil {
			checkReply(t, msg, out.reply)
		}
	})
}

// checkReply checks that a reply to a message is well-formed.
func checkReply(t *testing.T, msg, reply []byte) {
	t.Helper()
	var r dns.Msg
	if err := r.Unpack(reply); err != nil {
		t.Fatalf("reply %x does not decode: %v", reply, err)
	}
	if !r.Response || r.Id != binary.BigEndian.Uint16(msg) || len(reply) > udpSize {
		t.Fatalf("%d octets in reply to %x: %v", len(reply), msg, &r)
	}
	if r.Rcode == dns.RcodeSuccess && !r.Truncated && len(r.Question) == 1 && len(r.Answer)+len(r.Ns) == 0 {
		t.Fatalf("empty reply without TC to %x", msg)
	}
}

func BenchmarkProcess(b *testing.B) {
	s := New(Config{Authority: &answer.Authority{Directory: dnstest.Load(b, zone)}})
	b.Cleanup(s.Shutdown)
	from := origin{source: netip.MustParseAddr("127.0.0.1"), client: netip.MustParseAddr("127.0.0.1")}
	for _, name := range []string{"worker.corp.", "wide.corp."} {
		q := query(name, dns.TypeA)
		q.SetEdns0(1232, false)
		msg, err := q.Pack()
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.process(msg, from)
			}
		})
	}
}
