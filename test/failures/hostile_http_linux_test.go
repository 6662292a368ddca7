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

// usage is what a process holds.
type usage struct {
	resident int64 // bytes
	files    int   // open ones, connections among them
}

// processUsage reads the server's footprint (proc_pid_status(5)).
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

// checkGrowth holds that the server has grown by no more than so many bytes, and has closed what it had opened.
func checkGrowth(s *harness.Server, before usage, bytes int64) {
	s.T.Helper()
	if now := processUsage(s); now.resident-before.resident > bytes {
		s.T.Errorf("the server grew from %d MiB to %d MiB", before.resident>>20, now.resident>>20)
	}
	harness.Eventually(s.T, 20*time.Second, "the server has closed its connections", func() bool { return processUsage(s).files <= before.files+20 })
}

// startWellBehavedClients lets a well-behaved client ask DNS over UDP and the API all the time, until what it returns is called.
// Each answer must be right and come within a second.
func startWellBehavedClients(s *harness.Server, ask ...func() error) (stop func()) {
	ctx, cancel := context.WithCancel(s.T.Context())
	var clients sync.WaitGroup
	for n, ask := range ask {
		clients.Go(func() {
			asked := 0
			for ; ctx.Err() == nil; asked++ {
				began := time.Now()
				err := ask()
				if took := time.Since(began); err == nil && took > time.Second {
					err = fmt.Errorf("it took %v", took)
				}
				if err != nil {
					s.T.Errorf("the well-behaved client %d, question %d: %v", n+1, asked+1, err)
					return
				}
			}
			if asked < 10 {
				s.T.Errorf("the well-behaved client %d asked only %d times", n+1, asked)
			}
		})
	}
	return func() {
		cancel()
		clients.Wait()
	}
}

// TestHostileHTTP throws at the API what no client sends. Each is refused, and a well-behaved client notices nothing.
func TestHostileHTTP(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--runtime", "none")
	cart := s.CreateCloudMapService(s.CreateNamespace("shop"), "cart", 1)
	harness.Must(s.CloudMap().RegisterInstance(t.Context(), harness.Registration(*cart.Id, "one", "10.0.0.1")))(t)
	before := processUsage(s)
	stop := startWellBehavedClients(s, func() error {
		_, err := s.CloudMapWithoutRetries().GetInstance(context.Background(), &sd.GetInstanceInput{ServiceId: cart.Id, InstanceId: aws.String("one")})
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
		{"a body of 10 MiB", "RequestEntityTooLargeException", http.StatusRequestEntityTooLarge, harness.Call{Body: `{"Name":"` + strings.Repeat("x", 10<<20) + `"}`}},
		{"10 MiB in chunks", "RequestEntityTooLargeException", http.StatusRequestEntityTooLarge, harness.Call{Body: strings.Repeat(" ", 10<<20), Tamper: func(r *http.Request) { r.ContentLength = -1 }}},
		{"an unsigned body of 10 MiB", "MissingAuthenticationTokenException", http.StatusBadRequest, harness.Call{Unsigned: true, Body: strings.Repeat("x", 10<<20)}},
		{"no JSON", "SerializationException", http.StatusBadRequest, harness.Call{Body: "\x00\xff garbage"}},
		{"half of some JSON", "SerializationException", http.StatusBadRequest, harness.Call{Body: `{"Name":"sh`}},
		{"another type", "SerializationException", http.StatusBadRequest, harness.Call{Body: `{"Name":{"a":[1]}}`}},
		{"a list", "SerializationException", http.StatusBadRequest, harness.Call{Body: `[]`}},
		{"deep lists", "SerializationException", http.StatusBadRequest, harness.Call{Body: nested}},
		{"deep lists, closed", "SerializationException", http.StatusBadRequest, harness.Call{Body: `{"Tags":` + nested + strings.Repeat("]", 200_000) + `}`}},
		{"deep objects", "SerializationException", http.StatusBadRequest, harness.Call{Body: strings.Repeat(`{"Name":`, 100_000)}},
		{"no such operation", "UnknownOperationException", http.StatusBadRequest, harness.Call{Operation: "DropAllTables", Body: `{}`}},
	} {
		if tc.do.Operation == "" {
			tc.do.Operation = "CreateHttpNamespace"
		}
		got, err := s.Send(tc.do)
		// A body that the server will not read may end the connection before the client has read the answer.
		gone := err != nil && len(tc.do.Body) > 1<<20
		if !gone && (err != nil || got.Status != tc.status || got.Code != tc.code) {
			t.Errorf("%s: %+v, %v; want %d, %s", tc.name, got, err, tc.status, tc.code)
		}
	}
	sendLargeHeaders(s)
	slow.Wait()
	stop()
	checkGrowth(s, before, 100<<20)
}

// sendLargeHeaders sends 1 MiB of headers, which is refused before they are read to the end. The answer is no API's, hence
// not read by send.
func sendLargeHeaders(s *harness.Server) {
	s.T.Helper()
	req := harness.Must(http.NewRequestWithContext(s.T.Context(), http.MethodPost, s.Info.API, nil))(s.T)
	req.Header.Set("X-Large", strings.Repeat("x", 1<<20))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return // the connection ended before the client had sent them all
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		s.T.Errorf("1 MiB of headers: %s", resp.Status)
	}
}

// sendSlowHeaders sends the headers of a request one byte at a time, until the server has had enough.
func sendSlowHeaders(s *harness.Server) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.Info.API, "http://"))
	if err != nil {
		s.T.Error(err)
		return
	}
	defer conn.Close()
	began := time.Now()
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
		if time.Since(began) > 20*time.Second {
			s.T.Error("a client that never finishes its headers has been borne for 20 s")
			return
		}
	}
}

// TestManyConnections opens more connections to the API than it takes. Those that it has taken go on, and when they
// end it takes others.
func TestManyConnections(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--runtime", "none")
	s.CreateNamespace("shop")
	const most = 4096 // of package app
	before := processUsage(s)
	var conns []net.Conn
	for range most + 500 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.Info.API, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	harness.Eventually(t, 5*time.Second, "as many connections as there may be are open", func() bool { return processUsage(s).files >= most })
	if now := processUsage(s); now.files > before.files+most {
		t.Errorf("%d files are open, before it were %d", now.files, before.files)
	}
	if got := responseCode(s, "cart.shop"); got != dns.RcodeNameError {
		t.Errorf("DNS answers %s while the API is full", dns.RcodeToString[got])
	}
	for _, conn := range conns {
		conn.Close()
	}
	if got, err := s.Send(harness.Call{Operation: "ListNamespaces", Body: `{}`}); got.Status != http.StatusOK {
		t.Errorf("afterwards: %+v, %v", got, err)
	}
	checkGrowth(s, before, 500<<20) // 100 MiB, and some times as much under the race detector
}

// responseCode is the code that one query is answered with.
func responseCode(s *harness.Server, name string) int {
	s.T.Helper()
	return harness.Must(s.QueryDNS(name, dns.TypeA))(s.T).Rcode
}
