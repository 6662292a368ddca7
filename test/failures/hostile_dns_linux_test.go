package failures

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/bakingclouds/rollcall/test/harness"
)

// TestHostileDNS sends the DNS server what no resolver sends. Well-behaved clients must still get correct answers in
// time, over UDP and TCP, and the server's memory and open files must not grow.
func TestHostileDNS(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--runtime", "none", "--upstream", "127.0.0.1:"+harness.ClosedPort(t))
	cart := s.CreateCloudMapService(s.CreateNamespace("shop"), "cart", 1)
	harness.Must(s.CloudMap().RegisterInstance(t.Context(), harness.Registration(*cart.Id, "one", "10.0.0.1")))(t)
	before := processUsage(s)
	stop := startWellBehavedClients(s,
		func() error { return s.CheckQueryA("cart.shop", "10.0.0.1") },
		func() error { // over TCP, with a new connection for each query
			client := dns.Client{Net: "tcp", Timeout: 20 * time.Second}
			reply, _, err := client.Exchange(new(dns.Msg).SetQuestion("cart.shop.", dns.TypeA), s.Info.DNS[0])
			if err == nil && len(reply.Answer) != 1 {
				err = fmt.Errorf("the answer is %v, want one record", reply)
			}
			return err
		},
	)
	at := harness.Must(netip.ParseAddrPort(s.Info.DNS[0]))(t)
	for batch := range slices.Chunk(hostileMessages(rand.New(rand.NewPCG(1, 2))), 50) {
		sendDatagrams(s, at, batch)
	}
	sendGarbageOverTCP(s, at)
	sendSlowlyOverTCP(s, at)
	stop()
	checkGrowth(s, before, 100<<20)
}

// hostileMessages returns datagrams that are not valid queries, or queries that no resolver sends.
func hostileMessages(rnd *rand.Rand) [][]byte {
	header := func(flags, questions, answers, authorities, additionals uint16) []byte {
		b := binary.BigEndian.AppendUint16(nil, 0xbeef)
		for _, n := range []uint16{flags, questions, answers, authorities, additionals} {
			b = binary.BigEndian.AppendUint16(b, n)
		}
		return b
	}
	const query = 0x0100 // recursion desired
	in := []byte{0, 1, 0, 1}
	all := [][]byte{
		{}, {0}, header(query, 1, 0, 0, 0)[:11],
		header(query, 1, 0, 0, 0), header(query, 0, 0, 0, 0), header(query, 0xffff, 0xffff, 0xffff, 0xffff),
		header(0x8180, 1, 1, 0, 0),                                           // a response
		append(append(header(query, 1, 0, 0, 0), 0xc0, 12), in...),           // a name that points at itself
		append(append(header(query, 1, 0, 0, 0), 0xc0, 14, 0xc0, 12), in...), // two names that point at each other
		// a pointer past the end of the message
		append(append(header(query, 1, 0, 0, 0), 0xff, 0xff), in...),
		append(append(header(query, 1, 0, 0, 0), 63, 'x'), in...), // a label longer than the message
		// a label of a type that does not exist
		append(append(header(query, 1, 0, 0, 0), 0x80, 'x', 0), in...),
		append(append(header(query, 1, 0, 0, 0), make([]byte, 3000)...), 0, 0, 0), // zeros
	}
	long := header(query, 1, 0, 0, 0)
	for range 100 {
		long = append(append(long, 40), make([]byte, 40)...) // a name of 4 KB
	}
	all = append(all, append(append(long, 0), in...))
	for range 5000 {
		msg := make([]byte, rnd.IntN(600))
		for i := range msg {
			msg[i] = byte(rnd.Uint32())
		}
		all = append(all, msg)
	}
	// A valid query with a few bytes changed passes more of the server's checks than random bytes.
	good := new(dns.Msg).SetQuestion("cart.shop.", dns.TypeA)
	good.SetEdns0(1232, true)
	packed, err := good.Pack()
	if err != nil {
		panic(err)
	}
	for range 5000 {
		msg := slices.Clone(packed)
		for range 1 + rnd.IntN(4) {
			msg[rnd.IntN(len(msg))] = byte(rnd.Uint32())
		}
		all = append(all, msg[:rnd.IntN(len(msg)+1)])
	}
	return all
}

// sendDatagrams sends datagrams and then a query, and waits for its answer. Their content is what the test is about,
// not their number: a socket buffer that overflows would lose the queries of the well-behaved clients.
func sendDatagrams(s *harness.Server, at netip.AddrPort, messages [][]byte) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(at))
	if err != nil {
		s.T.Fatal(err)
	}
	defer conn.Close()
	for _, msg := range messages {
		if _, err := conn.Write(msg); err != nil {
			s.T.Fatal(err)
		}
	}
	if err := s.CheckQueryA("cart.shop", "10.0.0.1"); err != nil {
		s.T.Errorf("after %x: %v", messages, err)
	}
}

// stranger is a client address that no well-behaved client of the test uses.
var stranger = netip.MustParseAddr("127.0.0.9")

// dialTCP opens a TCP connection from the address stranger.
func dialTCP(s *harness.Server, at netip.AddrPort) *net.TCPConn {
	s.T.Helper()
	conn, err := net.DialTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(stranger, 0)),
		net.TCPAddrFromAddrPort(at))
	if err != nil {
		s.T.Fatal(err)
	}
	return conn
}

// sendGarbageOverTCP sends 64 KiB of random bytes, and message lengths without a message.
func sendGarbageOverTCP(s *harness.Server, at netip.AddrPort) {
	noise := make([]byte, 64<<10)
	rnd := rand.New(rand.NewPCG(3, 4))
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	for _, msg := range [][]byte{noise, {0xff, 0xff}, {0, 0}, {0, 1, 0}, append([]byte{0xff, 0xff}, noise...)} {
		conn := dialTCP(s, at)
		conn.Write(msg) // fails if the server has already closed the connection
		conn.CloseWrite()
		watch := harness.StartStopwatch()
		conn.SetReadDeadline(time.Now().Add(150 * time.Second))
		if io.Copy(io.Discard, conn); watch.Unstalled() > 15*time.Second {
			s.T.Errorf("a connection with %d random bytes is still open after 15 s", len(msg))
		}
		conn.Close()
	}
}

// sendSlowlyOverTCP opens more connections than one client may have, sends half a query on each, and waits. The server
// must close them all.
func sendSlowlyOverTCP(s *harness.Server, at netip.AddrPort) {
	var waiting sync.WaitGroup
	for range 300 {
		conn := dialTCP(s, at)
		conn.Write([]byte{0, 30, 1})
		waiting.Go(func() {
			defer conn.Close()
			watch := harness.StartStopwatch()
			conn.SetReadDeadline(time.Now().Add(200 * time.Second))
			_, err := conn.Read(make([]byte, 1))
			if err == nil || watch.Unstalled() > 20*time.Second {
				s.T.Errorf("half a query: the server sent a byte or kept the connection for %v, %v", watch.Elapsed(),
					err)
			}
		})
	}
	waiting.Wait()
}
