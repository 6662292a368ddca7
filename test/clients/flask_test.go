package clients

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/test/harness"
	"github.com/bakingclouds/rollcall/test/harness/source"
)

// stubResolver is a Python module that is loaded before the standard library. It replaces the system's resolver, so
// that these tests send no query to a DNS server of this machine: worker.corp is this host, and other workers do not
// exist.
const stubResolver = `
import socket
system = socket.getaddrinfo
def getaddrinfo(host, *args, **kwargs):
    if host == "worker.corp":
        host = "127.0.0.1"
    elif str(host).startswith("worker."):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return system(host, *args, **kwargs)
socket.getaddrinfo = getaddrinfo
`

// python is a Python service that runs until the end of the test.
type python struct {
	cmd *exec.Cmd
	url string
}

// haveFlask reports whether the interpreter has Flask and Requests.
func haveFlask() bool {
	return exec.Command(interpreter, "-c", "import flask, requests").Run() == nil
}

// needFlask skips a test if the interpreter does not have Flask and Requests.
func needFlask(t *testing.T) {
	t.Helper()
	if !haveFlask() {
		harness.SkipMissing(t, "Flask or Requests of "+interpreter)
	}
}

// startPython runs a script of examples/flask on a free port of 127.0.0.1.
func startPython(t *testing.T, script string, env ...string) *python {
	t.Helper()
	needFlask(t)
	script = filepath.Join(source.Root(), "examples/flask", script)
	if _, err := os.Stat(script); err != nil { // go test's cache then notices a change of the script
		t.Fatal(err)
	}
	stub := t.TempDir()
	if err := os.WriteFile(filepath.Join(stub, "sitecustomize.py"), []byte(stubResolver), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), interpreter, script)
	cmd.Env = append([]string{
		"PATH=/usr/bin:/bin", "PYTHONPATH=" + stub, "PYTHONDONTWRITEBYTECODE=1", "HTTP_PROXY=http://127.0.0.1:1",
		"ROLLCALL_ADDRESS=127.0.0.1", "ROLLCALL_PORT_5000=0", "HOSTNAME=task-1",
	}, env...)
	cmd.Stderr = t.Output()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &python{cmd: cmd}
	t.Cleanup(func() { p.stop() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("%s ended before it listened: %v", script, err)
	}
	_, p.url, _ = strings.Cut(strings.TrimSpace(line), " listens on ")
	return p
}

// stop ends the service with SIGTERM and returns its exit status as an error.
func (p *python) stop() error {
	if p.cmd.ProcessState != nil {
		return nil
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	return p.cmd.Wait()
}

func (p *python) get(path string) (status int, body string) {
	client := http.Client{Timeout: 30 * time.Second}
	res, err := client.Get(p.url + path)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(b)
}

// TestFlaskPrograms runs the Python examples as programs, with a replaced resolver. TestFlaskTasks runs the same
// programs with a server and its DNS.
func TestFlaskPrograms(t *testing.T) {
	t.Parallel()
	worker := startPython(t, "worker.py")
	port := worker.url[strings.LastIndex(worker.url, ":")+1:]
	backend := startPython(t, "backend.py", "WORKER_PORT="+port)
	withoutWorker := startPython(t, "backend.py", "NAMESPACE=nowhere", "WORKER_PORT="+port)
	withClosedPort := startPython(t, "backend.py", "WORKER_PORT="+harness.ClosedPort(t))

	for _, tc := range []struct {
		name, path string
		of         *python
		status     int
		want       string // a prefix of the body
	}{
		{"worker", "/", worker, 200, `{"address":"127.0.0.1","message":"1229 primes below 10000","task":"task-1"}`},
		{"worker counts", "/work?n=100", worker, 200, `{"address":"127.0.0.1","message":"25 primes below 100"`},
		{"worker counts to zero", "/work?n=0", worker, 200, `{"address":"127.0.0.1","message":"0 primes below 0"`},
		{"worker rejects a large number", "/work?n=1000001", worker, 400, "n must be a whole number"},
		{"worker rejects a word", "/work?n=ten", worker, 400, "n must be a whole number"},
		{"worker is healthy", "/health", worker, 200, "ok"},
		{"backend", "/", backend, 200, "Worker Message: 1229 primes below 10000 From: 127.0.0.1\n"},
		{"backend is healthy", "/health", backend, 200, "ok"},
		{"worker name does not exist", "/", withoutWorker, 502, "resolve worker.nowhere: "},
		{"worker port is closed", "/", withClosedPort, 502, "request work from worker.corp at 127.0.0.1: "},
	} {
		status, body := tc.of.get(tc.path)
		if status != tc.status || !strings.HasPrefix(body, tc.want) {
			t.Errorf("%s: %d %q, want %d %q", tc.name, status, body, tc.status, tc.want)
		}
	}
	for name, p := range map[string]*python{"worker": worker, "backend": backend} {
		if err := p.stop(); err != nil {
			t.Errorf("%s after SIGTERM: %v, want exit status 0", name, err)
		}
	}
}

// TestFlaskTermination stops the backend during a request. It must finish that request and accept no new one.
func TestFlaskTermination(t *testing.T) {
	t.Parallel()
	started, finish := make(chan struct{}), make(chan struct{})
	worker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(started)
		<-finish
		io.WriteString(w, `{"message": "done slowly"}`)
	}))
	defer worker.Close()
	backend := startPython(t, "backend.py", "WORKER_PORT="+worker.URL[strings.LastIndex(worker.URL, ":")+1:])

	answer := make(chan string, 1)
	go func() {
		_, body := backend.get("/")
		answer <- body
	}()
	<-started
	if err := backend.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for t.Context().Err() == nil { // until the backend accepts no connection
		conn, err := net.Dial("tcp", strings.TrimPrefix(backend.url, "http://"))
		if err != nil {
			break
		}
		conn.Close()
	}
	close(finish)
	if got, want := <-answer, "Worker Message: done slowly From: 127.0.0.1\n"; got != want {
		t.Errorf("the request in flight got %q, want %q", got, want)
	}
	if err := backend.cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v, want exit status 0", err)
	}
}

// TestFlaskTasks runs the Python examples as tasks. They contain nothing about Rollcall: the backend finds the worker
// through the C library's resolver, as any program does.
func TestFlaskTasks(t *testing.T) {
	t.Parallel()
	needFlask(t)
	if err := harness.CheckTaskResolver(t); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("tasks cannot have a resolver: %v", err)
		}
		t.Skipf("tasks cannot have a resolver, which the Python examples need: %v", err)
	}
	dir := t.TempDir()
	t.Cleanup(func() { harness.EndTasks(t, dir) })
	s, err := harness.StartBinary(t, harness.BuiltBinary(t), dir) // the health checks run `rollcall`
	if err != nil {
		t.Fatal(err)
	}
	ns := s.CreateNamespace("corp")
	for service, count := range map[string]int32{"worker": 2, "backend": 1} {
		s.CreateECSService(service, s.RegisterDefinition(flaskDefinition(t, service)), count,
			s.CreateCloudMapService(ns, service, 1))
	}
	s.WaitStable("worker")
	s.WaitStable("backend")

	backend := s.Tasks("backend", ecstypes.DesiredStatusRunning)[0]
	seen := map[netip.Addr]bool{}
	harness.Eventually(t, 20*time.Second, "both workers have done work", func() bool {
		from := workerOf(t, harness.Address(backend))
		if workers := s.Lookup("worker.corp"); !workers[from] {
			t.Fatalf("the backend used the worker %s, want one of %v", from, workers)
		}
		seen[from] = true
		return len(seen) == 2
	})

	// Without workers the name does not resolve; with a new worker the backend uses that one.
	old := s.Lookup("worker.corp")
	s.SetDesiredCount("worker", 0)
	harness.Eventually(t, 20*time.Second, "the backend finds no worker", func() bool {
		status, body := getPage(t, harness.Address(backend))
		return status == http.StatusBadGateway && strings.HasPrefix(body, "resolve worker.corp: ")
	})
	s.SetDesiredCount("worker", 1)
	harness.Eventually(t, 20*time.Second, "the new worker is answered",
		func() bool { return len(s.Lookup("worker.corp")) == 1 })
	if from := workerOf(t, harness.Address(backend)); old[from] || !s.Lookup("worker.corp")[from] {
		t.Errorf("the backend used the worker %s; workers were %v and are %v", from, old, s.Lookup("worker.corp"))
	}
}

// flaskDefinition returns a task definition of examples/flask, with its placeholder filled in as
// examples/flask/README.md describes.
func flaskDefinition(t *testing.T, service string) *ecs.RegisterTaskDefinitionInput {
	t.Helper()
	folder, err := filepath.Abs(filepath.Join(source.Root(), "examples/flask"))
	if err != nil {
		t.Fatal(err)
	}
	text, _ := source.ReadText(t, "examples/flask/"+service+".json")
	var in ecs.RegisterTaskDefinitionInput
	if err := awsapi.LowerCamel.Decode([]byte(strings.ReplaceAll(text, "@FLASK@", folder)), &in); err != nil {
		t.Fatal(err)
	}
	return &in
}

// workerOf sends a request to a backend and returns the address of the worker that it used.
func workerOf(t *testing.T, backend string) netip.Addr {
	t.Helper()
	status, body := getPage(t, backend)
	work, from, found := strings.Cut(strings.TrimSpace(body), " From: ")
	if status != http.StatusOK || !found || work != "Worker Message: 1229 primes below 10000" {
		t.Fatalf("the backend returned %d: %s", status, body)
	}
	return harness.Must(netip.ParseAddr(from))(t)
}

// getPage reads the page / of a sample service.
func getPage(t *testing.T, address string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(harness.ShortContext(t), http.MethodGet,
		"http://"+net.JoinHostPort(address, "5000")+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}
