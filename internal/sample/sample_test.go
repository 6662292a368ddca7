package sample

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// TestMain makes the test binary act as the rollcall binary, so that tests can send signals to a real process.
func TestMain(m *testing.M) {
	if role := os.Getenv("SAMPLE_TEST_ROLE"); role != "" {
		if err := Run(context.Background(), []string{role}, os.Getenv, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// env returns the getenv function of an environment with only these "NAME=value" pairs.
func env(pairs ...string) func(string) string {
	return func(name string) string {
		for _, pair := range pairs {
			if value, ok := strings.CutPrefix(pair, name+"="); ok {
				return value
			}
		}
		return ""
	}
}

func get(t *testing.T, h http.Handler, target string) (status int, body string) {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil))
	return rec.Code, rec.Body.String()
}

func TestWorker(t *testing.T) {
	worker := Worker(env("ROLLCALL_ADDRESS=127.64.0.7", "HOSTNAME=task-1"))
	for _, tc := range []struct {
		target string
		status int
		want   string // the message, or the start of an error
	}{
		{"/", 200, "1229 primes below 10000"},
		{"/work", 200, "1229 primes below 10000"},
		{"/work?n=0", 200, "0 primes below 0"},
		{"/work?n=2", 200, "0 primes below 2"},
		{"/work?n=3", 200, "1 primes below 3"},
		{"/work?n=1000000", 200, "78498 primes below 1000000"},
		{"/work?n=1000001", 400, "n must be"},
		{"/work?n=-1", 400, "n must be"},
		{"/work?n=ten", 400, "n must be"},
		{"/health", 200, "ok"},
		{"/nowhere", 404, "404"},
	} {
		status, body := get(t, worker, tc.target)
		got := body
		var work Work
		if json.Unmarshal([]byte(body), &work) == nil {
			got = work.Message
			if work.Address != "127.64.0.7" || work.Task != "task-1" {
				t.Errorf("%s: address %q, task %q; want those of the task", tc.target, work.Address, work.Task)
			}
		}
		if status != tc.status || !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s: %d %q, want %d %q", tc.target, status, got, tc.status, tc.want)
		}
	}
}

// zone is the data of a test DNS server: absolute names with their addresses.
type zone map[string][]string

// serveDNS answers A and AAAA queries from z on a loopback port until the test ends. Names that are not in z do
// not exist.
func serveDNS(t *testing.T, z zone) (hostport string) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, client, err := conn.ReadFrom(buf)
			if err != nil {
				return // the test has ended
			}
			var msg dnsmessage.Message
			if msg.Unpack(buf[:n]) != nil || len(msg.Questions) != 1 {
				continue
			}
			reply := z.reply(msg)
			if out, err := reply.Pack(); err == nil {
				conn.WriteTo(out, client)
			}
		}
	}()
	return conn.LocalAddr().String()
}

func (z zone) reply(msg dnsmessage.Message) dnsmessage.Message {
	q := msg.Questions[0]
	msg.Header = dnsmessage.Header{ID: msg.ID, Response: true, Authoritative: true}
	msg.Additionals = nil
	addrs, known := z[q.Name.String()]
	if !known {
		msg.RCode = dnsmessage.RCodeNameError
	}
	for _, a := range addrs {
		addr := netip.MustParseAddr(a)
		h := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 5}
		switch {
		case addr.Is4() && q.Type == dnsmessage.TypeA:
			msg.Answers = append(msg.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: addr.As4()}})
		case addr.Is6() && q.Type == dnsmessage.TypeAAAA:
			msg.Answers = append(msg.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}})
		}
	}
	return msg
}

// serveAt runs h on each of these addresses, all on one port, until the test ends.
func serveAt(t *testing.T, h http.Handler, addrs ...string) (port string) {
	t.Helper()
	for range 20 { // the port chosen for the first address may be in use on the second
		lns, err := listenAll(addrs)
		if err != nil {
			continue
		}
		for _, ln := range lns {
			srv := httptest.NewUnstartedServer(h)
			srv.Listener.Close()
			srv.Listener = ln
			srv.Start()
			t.Cleanup(srv.Close)
		}
		_, port, _ := net.SplitHostPort(lns[0].Addr().String())
		return port
	}
	t.Fatalf("no port is free on all of %v", addrs)
	return ""
}

func listenAll(addrs []string) (lns []net.Listener, err error) {
	port := "0"
	for _, addr := range addrs {
		ln, err := net.Listen("tcp", net.JoinHostPort(addr, port))
		if err != nil {
			for _, ln := range lns {
				ln.Close()
			}
			return nil, err
		}
		lns = append(lns, ln)
		_, port, _ = net.SplitHostPort(ln.Addr().String())
	}
	return lns, nil
}

func TestBackend(t *testing.T) {
	worker := serveAt(t, Worker(env()), "127.0.0.1")
	broken := serveAt(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "tired", http.StatusServiceUnavailable)
	}), "127.0.0.1")
	talker := serveAt(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "no JSON")
	}), "127.0.0.1")
	dns := serveDNS(t, zone{
		"worker.corp.":  {"127.0.0.1"},
		"worker.shop.":  {"127.0.0.1"},
		"worker.idle.":  {"127.0.0.2"},
		"worker.empty.": {},
	})
	for _, tc := range []struct {
		name, namespace, port string
		status                int
		want                  string
	}{
		{"default namespace", "", worker, 200, "Worker Message: 1229 primes below 10000 From: 127.0.0.1\n"},
		{"another namespace", "shop", worker, 200, "Worker Message: 1229 primes below 10000 From: 127.0.0.1\n"},
		{"name that does not exist", "gone", worker, 502, "resolve worker.gone. at " + dns + ": no such host"},
		{"name without addresses", "empty", worker, 502, "resolve worker.empty. at " + dns + ": no such host"},
		{"connection refused", "idle", worker, 502, "request work from worker.idle. at 127.0.0.2: "},
		{"worker fails", "corp", broken, 502, "request work from worker.corp. at 127.0.0.1: unexpected status 503"},
		{"not a worker", "corp", talker, 502, "request work from worker.corp. at 127.0.0.1: decode the response"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			backend, err := Backend(env("ROLLCALL_DNS="+dns, "NAMESPACE="+tc.namespace, "WORKER_PORT="+tc.port))
			if err != nil {
				t.Fatal(err)
			}
			status, body := get(t, backend, "/")
			if status != tc.status || !strings.HasPrefix(body, tc.want) {
				t.Errorf("%d %q, want %d %q", status, body, tc.status, tc.want)
			}
		})
	}
}

// TestBackendUsesEveryAddress fails if the backend caches an answer or a connection, or always uses the first address.
func TestBackendUsesEveryAddress(t *testing.T) {
	port := serveAt(t, Worker(env()), "127.0.0.1", "127.0.0.2")
	dns := serveDNS(t, zone{"worker.corp.": {"127.0.0.1", "127.0.0.2"}})
	backend, err := Backend(env("ROLLCALL_DNS="+dns, "WORKER_PORT="+port))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for range 64 { // the probability of using the same address 64 times is 2^-63
		status, body := get(t, backend, "/")
		_, from, _ := strings.Cut(body, " From: ")
		if status != 200 {
			t.Fatalf("%d %q", status, body)
		}
		seen[strings.TrimSpace(from)]++
	}
	if len(seen) != 2 {
		t.Errorf("responses came from %v, want both addresses", seen)
	}
}

func TestBackendWithIPv6(t *testing.T) {
	if ln, err := net.Listen("tcp", "[::1]:0"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("this host has no IPv6 loopback address: %v", err)
		}
		t.Skipf("this host has no IPv6 loopback address: %v", err)
	} else {
		ln.Close()
	}
	port := serveAt(t, Worker(env()), "::1")
	dns := serveDNS(t, zone{"worker.corp.": {"::1"}})
	backend, err := Backend(env("ROLLCALL_DNS="+dns, "WORKER_PORT="+port))
	if err != nil {
		t.Fatal(err)
	}
	if status, body := get(t, backend, "/"); status != 200 || !strings.HasSuffix(body, "From: ::1\n") {
		t.Errorf("%d %q, want 200 from ::1", status, body)
	}
}

func TestListenAddress(t *testing.T) {
	for _, tc := range []struct {
		env  []string
		want string // or the start of the error
	}{
		{nil, "127.0.0.1:5000"},
		{[]string{"ROLLCALL_ADDRESS=127.64.3.4"}, "127.64.3.4:5000"},
		{[]string{"ROLLCALL_ADDRESS=127.0.0.1", "ROLLCALL_PORT_5000=32768"}, "127.0.0.1:32768"},
		{[]string{"ROLLCALL_ADDRESS=fd00::1:4", "ROLLCALL_PORT_5000=5000"}, "[fd00::1:4]:5000"},
		{[]string{"ROLLCALL_ADDRESS=localhost"}, "ROLLCALL_ADDRESS must be an IP address"},
	} {
		got, err := listenAddress(env(tc.env...))
		if err != nil {
			got = err.Error()
		}
		if got != tc.want && (err == nil || !strings.HasPrefix(got, tc.want)) {
			t.Errorf("%v: %q, want %q", tc.env, got, tc.want)
		}
	}
}

func TestRunErrors(t *testing.T) {
	for _, tc := range []struct {
		args  string
		env   []string
		want  string
		usage bool
	}{
		{"", nil, "usage: rollcall sample", true},
		{"flask", nil, `unknown role "flask": usage: rollcall sample`, true},
		{"check", nil, `unknown role "check": usage: rollcall sample`, true},
		{"flask-backend", []string{"WORKER_PORT=http"}, "WORKER_PORT must be a port number", false},
		{"flask-worker", []string{"ROLLCALL_ADDRESS=here"}, "ROLLCALL_ADDRESS must be an IP address", false},
		{"flask-worker", []string{"ROLLCALL_ADDRESS=192.0.2.1"}, "flask-worker: listen tcp 192.0.2.1:5000", false},
	} {
		err := Run(t.Context(), strings.Fields(tc.args), env(tc.env...), io.Discard)
		if err == nil || !strings.HasPrefix(err.Error(), tc.want) || errors.Is(err, ErrUsage) != tc.usage {
			t.Errorf("%q %v: %v, want %q", tc.args, tc.env, err, tc.want)
		}
	}
}

func TestCheck(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/broken", http.StatusFound)
		case "/broken":
			w.WriteHeader(http.StatusInternalServerError)
		case "/hangs":
			<-r.Context().Done()
		}
	}))
	defer srv.Close()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	for _, tc := range []struct{ url, want string }{ // want: part of the error, or empty if healthy
		{srv.URL + "/", ""},
		{srv.URL + "/moved", ""},
		{srv.URL + "/broken", "/broken returned 500 Internal Server Error"},
		{srv.URL + "/hangs", "context deadline exceeded"},
		{closed.URL, "connection refused"},
		{"127.0.0.1:5000/health", "check: "},
	} {
		err := Check(t.Context(), tc.url)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("Check(%q) = %v, want %q", tc.url, err, tc.want)
		}
	}
}

// TestTermination sends SIGTERM during a request, as ECS does. The service must finish the request, accept no more
// connections, and exit with status 0.
func TestTermination(t *testing.T) {
	inWork, finish := make(chan struct{}), make(chan struct{})
	worker := serveAt(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(inWork)
		<-finish
		io.WriteString(w, `{"message": "done slowly"}`)
	}), "127.0.0.1")
	dns := serveDNS(t, zone{"worker.corp.": {"127.0.0.1"}})

	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "SAMPLE_TEST_ROLE=flask-backend", "ROLLCALL_ADDRESS=127.0.0.1",
		"ROLLCALL_PORT_5000=0", "ROLLCALL_DNS="+dns, "WORKER_PORT="+worker)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "flask-backend listens on ")
	if !ok {
		t.Fatalf("first line of output is %q, want the address", line)
	}

	answer := make(chan string, 1)
	go func() {
		res, err := http.Get(url)
		if err != nil {
			answer <- err.Error()
			return
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		answer <- string(body)
	}()
	<-inWork
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	awaitRefused(t, strings.TrimPrefix(url, "http://"))
	close(finish)
	if got, want := <-answer, "Worker Message: done slowly From: 127.0.0.1\n"; got != want {
		t.Errorf("the request in flight got %q, want %q", got, want)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v, want exit status 0", err)
	}
}

// awaitRefused waits until connections to hostport are refused.
func awaitRefused(t *testing.T, hostport string) {
	t.Helper()
	for t.Context().Err() == nil {
		conn, err := net.Dial("tcp", hostport)
		if err != nil {
			return
		}
		conn.Close()
	}
}
