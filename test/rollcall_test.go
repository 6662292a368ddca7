package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/bakingclouds/rollcall/internal/agent/process"
	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/app"
	"github.com/bakingclouds/rollcall/internal/cli"
)

// asRollcall makes the test binary the command line.
const asRollcall = "ROLLCALL_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if status, ok := process.Main(os.Args[1:]); ok {
		os.Exit(status)
	}
	if os.Getenv(asRollcall) != "" || len(os.Args) > 1 && os.Args[1] == "sample" {
		os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr))
	}
	if len(os.Args) > 1 && os.Args[1] == insideRole {
		os.Exit(runInside())
	}
	status := m.Run()
	if builtDir != "" {
		os.RemoveAll(builtDir)
	}
	os.Exit(status)
}

// self is the test binary, which is also the rollcall binary.
func self(t testing.TB) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// rollcall prepares a run of the command line.
func rollcall(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(self(t), args...)
	cmd.Env = append(os.Environ(), asRollcall+"=1")
	return cmd
}

// server is a rollcall process.
type server struct {
	t    testing.TB
	dir  string
	cmd  *exec.Cmd
	out  *output
	info app.Info
	keys awsapi.Pair
	done chan struct{} // closed when the process has ended
}

// output keeps what a process prints.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// serve starts a server on ports of its own, with a new data folder, and waits until it is ready. Its tasks are
// processes unless the flags say otherwise, and end with the test.
func serve(t testing.TB, flags ...string) *server {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() { endTasks(t, dir) })
	return serveOn(t, dir, flags...)
}

// serveOn starts a server on a data folder.
func serveOn(t testing.TB, dir string, flags ...string) *server {
	t.Helper()
	s, err := start(t, dir, flags...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// start starts a server; an error says how it ended instead of getting ready.
func start(t testing.TB, dir string, flags ...string) (*server, error) {
	t.Helper()
	return startBinary(t, self(t), dir, flags...)
}

// startBinary is start, of a given binary.
func startBinary(t testing.TB, binary, dir string, flags ...string) (*server, error) {
	t.Helper()
	args := append([]string{"serve", "--data", dir, "--api", "127.0.0.1:0", "--dns", "127.0.0.1:0", "--node", "test", "--runtime", "process"}, flags...)
	s := &server{t: t, dir: dir, cmd: exec.Command(binary, args...), out: &output{}, done: make(chan struct{})}
	s.cmd.Env = append(os.Environ(), asRollcall+"=1")
	s.cmd.Env = append(s.cmd.Env, "XDG_RUNTIME_DIR="+dir) // its pointer is not the user's
	if err := s.launch(); err != nil {
		return nil, err
	}
	return s, nil
}

// launch starts the process and waits until it serves; an error says how it ended instead. The keys are those of the
// data folder unless they are known.
func (s *server) launch() error {
	t := s.t
	t.Helper()
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stderr = s.out
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	go s.read(stdout, ready)
	t.Cleanup(s.stop)
	select {
	case <-ready:
	case <-s.done:
		return fmt.Errorf("%w: %s", errors.New(s.cmd.ProcessState.String()), s.out)
	case <-time.After(time.Minute):
		return fmt.Errorf("not ready after a minute: %s", s.out)
	}
	if s.info, err = app.Find(s.dir); err != nil {
		t.Fatal(err)
	}
	if s.keys == (awsapi.Pair{}) {
		if s.keys, err = awsapi.Load(s.dir); err != nil {
			t.Fatal(err)
		}
	}
	return nil
}

// read follows the server's output until it ends.
func (s *server) read(stdout io.Reader, ready chan struct{}) {
	buf := make([]byte, 4096)
	said := false
	for {
		n, err := stdout.Read(buf)
		s.out.Write(buf[:n])
		if !said && strings.Contains("\n"+s.out.String(), "\nready") {
			said = true
			close(ready)
		}
		if err != nil {
			break
		}
	}
	s.cmd.Wait()
	close(s.done)
}

// stop ends the server as an operator would, and shows its log when the test failed.
func (s *server) stop() {
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(20 * time.Second):
		s.cmd.Process.Kill()
		<-s.done
		s.t.Errorf("the server did not stop within 20 s of SIGTERM")
	}
	if s.t.Failed() {
		s.t.Logf("the server's output:\n%s", s.out)
	}
}

// kill ends the server as a power cut would.
func (s *server) kill() {
	s.cmd.Process.Kill()
	<-s.done
}

// endTasks ends the tasks that a server left running, and their supervisor.
func endTasks(t testing.TB, dir string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := os.Stat(filepath.Join(dir, "tasks")); err != nil {
		return
	}
	rt, err := process.New(ctx, process.Config{Dir: dir})
	if err != nil {
		t.Errorf("end the tasks of %s: %v", dir, err)
		return
	}
	defer rt.Close()
	boxes, err := rt.Sandboxes(ctx)
	if err != nil {
		t.Error(err)
	}
	for _, box := range boxes {
		if err := rt.Remove(ctx, box.TaskID); err != nil {
			t.Error(err)
		}
	}
	if err := rt.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

// awsConfig is what a user of the Go SDK writes.
func (s *server) awsConfig() aws.Config {
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: &s.info.API,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: s.keys.AccessKeyID, SecretAccessKey: s.keys.Secret}, nil
		}),
	}
}

func (s *server) cloudMap() *servicediscovery.Client {
	return servicediscovery.NewFromConfig(s.awsConfig(), noHostPrefix)
}

func (s *server) ecs() *ecs.Client { return ecs.NewFromConfig(s.awsConfig()) }

func (s *server) sts() *sts.Client { return sts.NewFromConfig(s.awsConfig()) }

// resolver is Go's resolver, asking the server.
func (s *server) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, s.info.DNS[0])
	}}
}

// lookup is the set of addresses of a name; none for a name without addresses.
func (s *server) lookup(name string) map[netip.Addr]bool {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	ips, err := s.resolver().LookupNetIP(ctx, "ip4", name+".")
	var dnsErr *net.DNSError
	if err != nil && !(errors.As(err, &dnsErr) && dnsErr.IsNotFound) {
		s.t.Fatalf("look up %s: %v", name, err)
	}
	set := map[netip.Addr]bool{}
	for _, ip := range ips {
		set[ip.Unmap()] = true
	}
	return set
}

// eventually waits until what is so; it asks again at once after each answer that is not.
func eventually(t testing.TB, within time.Duration, what string, so func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
		<-tick.C
	}
}

// must unwraps a result that has no business failing.
func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func asJSON(v any) string {
	b, _ := json.MarshalIndent(v, "", "  ")
	return string(b)
}
