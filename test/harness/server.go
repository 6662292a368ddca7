// Package harness starts whole servers and speaks with them as clients do, for the tests of the whole binary: those in
// test, whose tasks are processes, and those in test/docker.
package harness

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
)

// AsRollcall makes the test binary the command line.
const AsRollcall = "ROLLCALL_TEST_AS_COMMAND"

// Self is the test binary, which is also the rollcall binary.
func Self(t testing.TB) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Rollcall prepares a run of the command line.
func Rollcall(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(Self(t), args...)
	cmd.Env = append(os.Environ(), AsRollcall+"=1")
	return cmd
}

// Server is a rollcall process.
type Server struct {
	T    testing.TB
	Dir  string // its data folder
	Cmd  *exec.Cmd
	Out  *Output
	Info app.Info
	Keys awsapi.Pair
	Done chan struct{} // closed when the process has ended
}

// Output keeps what a process prints.
type Output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write adds to it.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

// String is all of it so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// Serve starts a server on ports of its own, with a new data folder, and waits until it is ready. Its tasks are
// processes unless the flags say otherwise, and end with the test.
func Serve(t testing.TB, flags ...string) *Server {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() { EndTasks(t, dir) })
	return ServeOn(t, dir, flags...)
}

// ServeOn starts a server on a data folder.
func ServeOn(t testing.TB, dir string, flags ...string) *Server {
	t.Helper()
	s, err := Start(t, dir, flags...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Start starts a server; an error says how it ended instead of getting ready.
func Start(t testing.TB, dir string, flags ...string) (*Server, error) {
	t.Helper()
	return StartBinary(t, Self(t), dir, flags...)
}

// StartBinary is Start, of a given binary.
func StartBinary(t testing.TB, binary, dir string, flags ...string) (*Server, error) {
	t.Helper()
	args := append([]string{"serve", "--data", dir, "--api", "127.0.0.1:0", "--dns", "127.0.0.1:0", "--node", "test", "--runtime", "process"}, flags...)
	s := Prepare(t, dir, exec.Command(binary, args...))
	s.Cmd.Env = append(os.Environ(), AsRollcall+"=1")
	s.Cmd.Env = append(s.Cmd.Env, "XDG_RUNTIME_DIR="+dir) // its pointer is not the user's
	if err := s.Launch(); err != nil {
		return nil, err
	}
	return s, nil
}

// Prepare is a server that Launch will start.
func Prepare(t testing.TB, dir string, cmd *exec.Cmd) *Server {
	return &Server{T: t, Dir: dir, Cmd: cmd, Out: &Output{}, Done: make(chan struct{})}
}

// Launch starts the process and waits until it serves; an error says how it ended instead. The keys are those of the
// data folder unless they are known.
func (s *Server) Launch() error {
	t := s.T
	t.Helper()
	stdout, err := s.Cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.Cmd.Stderr = s.Out
	if err := s.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	go s.read(stdout, ready)
	t.Cleanup(s.Stop)
	select {
	case <-ready:
	case <-s.Done:
		return fmt.Errorf("%w: %s", errors.New(s.Cmd.ProcessState.String()), s.Out)
	case <-time.After(time.Minute):
		return fmt.Errorf("not ready after a minute: %s", s.Out)
	}
	if s.Info, err = app.Find(s.Dir); err != nil {
		t.Fatal(err)
	}
	if s.Keys == (awsapi.Pair{}) {
		if s.Keys, err = awsapi.Load(s.Dir); err != nil {
			t.Fatal(err)
		}
	}
	return nil
}

// read follows the server's output until it ends.
func (s *Server) read(stdout io.Reader, ready chan struct{}) {
	buf := make([]byte, 4096)
	said := false
	for {
		n, err := stdout.Read(buf)
		s.Out.Write(buf[:n])
		if !said && strings.Contains("\n"+s.Out.String(), "\nready") {
			said = true
			close(ready)
		}
		if err != nil {
			break
		}
	}
	s.Cmd.Wait()
	close(s.Done)
}

// Stop ends the server as an operator would, and shows its log when the test failed.
func (s *Server) Stop() {
	s.Cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.Done:
	case <-time.After(20 * time.Second):
		s.Cmd.Process.Kill()
		<-s.Done
		s.T.Errorf("the server did not stop within 20 s of SIGTERM")
	}
	if s.T.Failed() {
		s.T.Logf("the server's output:\n%s", s.Out)
	}
}

// Kill ends the server as a power cut would.
func (s *Server) Kill() {
	s.Cmd.Process.Kill()
	<-s.Done
}

// EndTasks ends the tasks that a server left running, and their supervisor.
func EndTasks(t testing.TB, dir string) {
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

// AWSConfig is what a user of the Go SDK writes.
func (s *Server) AWSConfig() aws.Config {
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: &s.Info.API,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: s.Keys.AccessKeyID, SecretAccessKey: s.Keys.Secret}, nil
		}),
	}
}

// CloudMap is a client, as are ECS and STS.
func (s *Server) CloudMap() *servicediscovery.Client {
	return servicediscovery.NewFromConfig(s.AWSConfig(), noHostPrefix)
}

func (s *Server) ECS() *ecs.Client { return ecs.NewFromConfig(s.AWSConfig()) }

func (s *Server) STS() *sts.Client { return sts.NewFromConfig(s.AWSConfig()) }

// Resolver is Go's resolver, asking the server.
func (s *Server) Resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, s.Info.DNS[0])
	}}
}

// Lookup is the set of addresses of a name; none for a name without addresses.
func (s *Server) Lookup(name string) map[netip.Addr]bool {
	s.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	ips, err := s.Resolver().LookupNetIP(ctx, "ip4", name+".")
	var dnsErr *net.DNSError
	if err != nil && !(errors.As(err, &dnsErr) && dnsErr.IsNotFound) {
		s.T.Fatalf("look up %s: %v", name, err)
	}
	set := map[netip.Addr]bool{}
	for _, ip := range ips {
		set[ip.Unmap()] = true
	}
	return set
}

// Eventually waits until what is so; it asks again at once after each answer that is not.
func Eventually(t testing.TB, within time.Duration, what string, so func() bool) {
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

// Missing ends a test that needs something which is not installed. Where CI=true everything must be there.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing; scripts/setup-test.sh installs it", what)
	}
	t.Skipf("%s is missing; scripts/setup-test.sh installs it", what)
}

// Must returns a function that returns the result of a call, and fails the test if the call failed:
// Must(client.GetService(ctx, in))(t).
func Must[T any](v T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// AsJSON shows a value to readers.
func AsJSON(v any) string {
	b, _ := json.MarshalIndent(v, "", "  ")
	return string(b)
}
