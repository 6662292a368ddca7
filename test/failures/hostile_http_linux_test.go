package failures

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/miekg/dns"

	"github.com/bakingclouds/rollcall/test/harness"
)

// usage is the memory and the open files of a process.
type usage struct {
	resident int64 // bytes
	files    int   // including connections
}

// processUsage returns the usage of the server's process (proc_pid_status(5)).
func processUsage(s *harness.Server) usage {
	s.T.Helper()
	pid := s.Cmd.Process.Pid
	b := harness.Must(os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)))(s.T)
	var f usage
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kilobytes := harness.Must(strconv.ParseInt(strings.Fields(value)[0], 10, 64))(s.T)
			f.resident = kilobytes << 10
		}
	}
	open := harness.Must(filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid)))(s.T)
	f.files = len(open)
	return f
}

// checkGrowth checks that the server's memory has grown by at most the given bytes, and that it closes the connections
// that it had opened.
func checkGrowth(s *harness.Server, before usage, bytes int64) {
	s.T.Helper()
	if now := processUsage(s); now.resident-before.resident > bytes {
		s.T.Errorf("the server grew from %d MiB to %d MiB", before.resident>>20, now.resident>>20)
	}
	harness.Eventually(s.T, 20*time.Second, "the server has closed its connections",
		func() bool { return processUsage(s).files <= before.files+20 })
}

// startWellBehavedClients starts a client for each function, which calls it again and again until stop is called. Each
// call must succeed within a second.
func startWellBehavedClients(s *harness.Server, calls ...func() error) (stop func()) {
	ctx, cancel := context.WithCancel(s.T.Context())
	var clients sync.WaitGroup
	for n, call := range calls {
		clients.Go(func() {
			made := 0
			for ; ctx.Err() == nil; made++ {
				watch := harness.StartStopwatch()
				err := call()
				if took := watch.Unstalled(); err == nil && took > time.Second {
					err = fmt.Errorf("it took %v", took)
				}
				if err != nil {
					s.T.Errorf("well-behaved client %d, call %d: %v", n+1, made+1, err)
					return
				}
			}
			if made < 10 {
				s.T.Errorf("well-behaved client %d made only %d calls", n+1, made)
			}
		})
	}
	return func() {
		cancel()
		clients.Wait()
	}
}

// TestHostileHTTP sends the API what no client sends. The API must reject each request, and a well-behaved client must
// not be disturbed.
func TestHostileHTTP(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--runtime", "none")
	cart := s.CreateCloudMapService(s.CreateNamespace("shop"), "cart", 1)
	harness.Must(s.CloudMap().RegisterInstance(t.Context(), harness.Registration(*cart.Id, "one", "10.0.0.1")))(t)
	before := processUsage(s)
	stop := startWellBehavedClients(s, func() error {
		_, err := s.CloudMapWithoutRetries().GetInstance(context.Background(),
			&sd.GetInstanceInput{ServiceId: cart.Id, InstanceId: aws.String("one")})
		return err
	})

	var slow sync.WaitGroup
	for range 100 {
		slow.Go(func() { sendSlowHeaders(s) })
	}
	nested := strings.Repeat("[", 200_000)
	for _, tc := range []struct {
		name, code string
		status     int
		do         harness.Call
	}{
		{"a body of 10 MiB", "RequestEntityTooLargeException", http.StatusRequestEntityTooLarge,
			harness.Call{Body: `{"Name":"` + strings.Repeat("x", 10<<20) + `"}`}},
		{"10 MiB in chunks", "RequestEntityTooLargeException", http.StatusRequestEntityTooLarge,
			harness.Call{Body: strings.Repeat(" ", 10<<20), Tamper: func(r *http.Request) { r.ContentLength = -1 }}},
		{"an unsigned body of 10 MiB", "MissingAuthenticationTokenException", http.StatusBadRequest,
			harness.Call{Unsigned: true, Body: strings.Repeat("x", 10<<20)}},
		{"not JSON", "SerializationException", http.StatusBadRequest, harness.Call{Body: "\x00\xff garbage"}},
		{"incomplete JSON", "SerializationException", http.StatusBadRequest, harness.Call{Body: `{"Name":"sh`}},
		{"a member of the wrong type", "SerializationException", http.StatusBadRequest,
			harness.Call{Body: `{"Name":{"a":[1]}}`}},
		{"a list", "SerializationException", http.StatusBadRequest, harness.Call{Body: `[]`}},
		{"deeply nested lists, not closed", "SerializationException", http.StatusBadRequest,
			harness.Call{Body: nested}},
		{"deeply nested lists", "SerializationException", http.StatusBadRequest,
			harness.Call{Body: `{"Tags":` + nested + strings.Repeat("]", 200_000) + `}`}},
		{"deeply nested objects", "SerializationException", http.StatusBadRequest,
			harness.Call{Body: strings.Repeat(`{"Name":`, 100_000)}},
		{"an unknown operation", "UnknownOperationException", http.StatusBadRequest,
			harness.Call{Operation: "DropAllTables", Body: `{}`}},
	} {
		if tc.do.Operation == "" {
			tc.do.Operation = "CreateHttpNamespace"
		}
		got, err := s.Send(tc.do)
		// A server that does not read a large body may close the connection before the client has read the answer.
		closed := err != nil && len(tc.do.Body) > 1<<20
		if !closed && (err != nil || got.Status != tc.status || got.Code != tc.code) {
			t.Errorf("%s: %+v, %v; want %d, %s", tc.name, got, err, tc.status, tc.code)
		}
	}
	sendLargeHeaders(s)
	slow.Wait()
	stop()
	checkGrowth(s, before, 100<<20)
}

// sendLargeHeaders sends 1 MiB of headers. The HTTP server must reject them before it has read them all. Its answer
// does not have the form of an API, so harness.Send cannot read it.
func sendLargeHeaders(s *harness.Server) {
	s.T.Helper()
	req := harness.Must(http.NewRequestWithContext(s.T.Context(), http.MethodPost, s.Info.API, nil))(s.T)
	req.Header.Set("X-Large", strings.Repeat("x", 1<<20))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return // the server closed the connection before the client had sent all headers
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		s.T.Errorf("1 MiB of headers: %s", resp.Status)
	}
}

// sendSlowHeaders sends the headers of a request one byte at a time, until the server closes the connection.
func sendSlowHeaders(s *harness.Server) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.Info.API, "http://"))
	if err != nil {
		s.T.Error(err)
		return
	}
	defer conn.Close()
	watch := harness.StartStopwatch()
	closed := make(chan struct{})
	go func() {
		io.Copy(io.Discard, conn)
		close(closed)
	}()
	io.WriteString(conn, "POST / HTTP/1.1\r\nHost: slow\r\n")
	drip := time.NewTicker(100 * time.Millisecond)
	defer drip.Stop()
	for {
		select {
		case <-closed:
			return
		case <-drip.C:
			io.WriteString(conn, "x")
		}
		if watch.Unstalled() > 20*time.Second {
			s.T.Error("the server has kept a connection with unfinished headers for 20 s")
			return
		}
	}
}

// TestManyConnections opens more connections to the API than it accepts. DNS must work meanwhile, and when the
// connections end the API must accept new ones.
func TestManyConnections(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--runtime", "none")
	s.CreateNamespace("shop")
	const limit = 4096 // the limit in package app
	before := processUsage(s)
	var conns []net.Conn
	for range limit + 500 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.Info.API, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	harness.Eventually(t, 5*time.Second, "the server has opened as many connections as it accepts",
		func() bool { return processUsage(s).files >= limit })
	if now := processUsage(s); now.files > before.files+limit {
		t.Errorf("%d open files, %d before the connections", now.files, before.files)
	}
	if got := responseCode(s, "cart.shop"); got != dns.RcodeNameError {
		t.Errorf("DNS answers %s while the API accepts no connection", dns.RcodeToString[got])
	}
	for _, conn := range conns {
		conn.Close()
	}
	if got, err := s.Send(harness.Call{Operation: "ListNamespaces", Body: `{}`}); got.Status != http.StatusOK {
		t.Errorf("a call after the connections have ended: %+v, %v", got, err)
	}
	checkGrowth(s, before, 500<<20) // about 100 MiB, and several times as much with the race detector
}

// responseCode sends one query and returns the code of the answer.
func responseCode(s *harness.Server, name string) int {
	s.T.Helper()
	return harness.Must(s.QueryDNS(name, dns.TypeA))(s.T).Rcode
}
