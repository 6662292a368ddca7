// Package harness starts whole servers and calls them as clients do, for the tests of the whole binary in test/clients,
// test/promises and test/failures, whose tasks are processes, and in test/docker.
//
// Start reading at [Serve], which starts a server with a new data folder and ends it, and its tasks, with the test. The
// methods of [Server] make the calls that tests make most often. They fail the test where a call fails; a method that
// returns an error may be called from any goroutine.
package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
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
	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/api/clienttest"
	"github.com/bakingclouds/rollcall/internal/app"
)

// RunAsCommand is the environment variable that makes the test binary run as the command line, rollcall.
const RunAsCommand = "ROLLCALL_TEST_AS_COMMAND"

// TestBinary returns the path of the test binary, which is also the rollcall binary.
func TestBinary(t testing.TB) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Command returns a run of the command line that has not been started.
func Command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(TestBinary(t), args...)
	cmd.Env = append(os.Environ(), RunAsCommand+"=1")
	return cmd
}

// Server is a rollcall process.
type Server struct {
	T    testing.TB
	Dir  string // the data folder
	Cmd  *exec.Cmd
	Out  *Output
	Info app.Info
	Keys awsapi.Pair
	Done chan struct{} // closed when the process has ended

	client *http.Client // used by clients that do not retry; none of its connections outlives the server
}

// Output keeps what a process prints.
type Output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write appends p to the output.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

// String returns the output so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// Serve starts a server with ports that the system chooses and a new data folder, and waits until it is ready. Its
// tasks are processes unless the flags choose another runtime, and end with the test.
func Serve(t testing.TB, flags ...string) *Server {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() { EndTasks(t, dir) })
	return ServeOn(t, dir, flags...)
}

// ServeOn starts a server on an existing data folder, as Serve does.
func ServeOn(t testing.TB, dir string, flags ...string) *Server {
	t.Helper()
	s, err := Start(t, dir, flags...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Start starts a server as ServeOn does. It returns an error, with the output, if the server ends instead of getting
// ready.
func Start(t testing.TB, dir string, flags ...string) (*Server, error) {
	t.Helper()
	return StartBinary(t, TestBinary(t), dir, flags...)
}

// StartBinary starts a server from a given binary, as Start does.
func StartBinary(t testing.TB, binary, dir string, flags ...string) (*Server, error) {
	t.Helper()
	args := append([]string{"serve", "--data", dir, "--api", "127.0.0.1:0", "--dns", "127.0.0.1:0", "--node", "test",
		"--runtime", "process"}, flags...)
	s := NewServer(t, dir, exec.Command(binary, args...))
	s.Cmd.Env = append(os.Environ(), RunAsCommand+"=1")
	s.Cmd.Env = append(s.Cmd.Env, "XDG_RUNTIME_DIR="+dir) // keeps the server's info file out of the user's folder
	if err := s.Launch(); err != nil {
		return nil, err
	}
	return s, nil
}

// NewServer returns a server that Launch will start.
func NewServer(t testing.TB, dir string, cmd *exec.Cmd) *Server {
	t.Helper()
	return &Server{T: t, Dir: dir, Cmd: cmd, Out: &Output{}, Done: make(chan struct{})}
}

// Launch starts the process and waits until it is ready. It returns an error, with the output, if the process ends
// instead. It reads the keys from the data folder unless Keys is already set.
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
	go s.readOutput(stdout, ready)
	t.Cleanup(s.Stop)
	select {
	case <-ready:
	case <-s.Done:
		return fmt.Errorf("%w: %s", errors.New(s.Cmd.ProcessState.String()), s.Out)
	case <-time.After(3 * time.Minute):
		return fmt.Errorf("not ready after 3 minutes: %s", s.Out)
	}
	if s.Info, err = app.Find(s.Dir); err != nil {
		t.Fatal(err)
	}
	s.client = clienttest.New(t, strings.TrimPrefix(s.Info.API, "http://"))
	if s.Keys == (awsapi.Pair{}) {
		if s.Keys, err = awsapi.Load(s.Dir); err != nil {
			t.Fatal(err)
		}
	}
	return nil
}

// readOutput reads the server's output until the process ends.
func (s *Server) readOutput(stdout io.Reader, ready chan struct{}) {
	buf := make([]byte, 4096)
	isReady := false
	for {
		n, err := stdout.Read(buf)
		s.Out.Write(buf[:n])
		if !isReady && strings.Contains("\n"+s.Out.String(), "\nready") {
			isReady = true
			close(ready)
		}
		if err != nil {
			break
		}
	}
	s.Cmd.Wait()
	close(s.Done)
}

// Stop ends the server with SIGTERM, and logs its output if the test has failed.
func (s *Server) Stop() {
	s.Cmd.Process.Signal(syscall.SIGTERM)
	watch := StartStopwatch()
	for stopped := false; !stopped; {
		select {
		case <-s.Done:
			stopped = true
		case <-time.After(time.Second):
			if watch.Unstalled() > 20*time.Second {
				s.Kill()
				s.T.Errorf("the server did not stop within 20 s of SIGTERM")
			}
		}
	}
	if s.T.Failed() {
		s.T.Logf("the server's output:\n%s", s.Out)
	}
}

// Kill ends the server with SIGKILL, as a power cut would.
func (s *Server) Kill() {
	s.Cmd.Process.Kill()
	<-s.Done
}

// EndTasks ends the tasks that a server left running, and their supervisor.
func EndTasks(t testing.TB, dir string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
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

// AWSConfig returns the configuration that a user of the Go SDK writes.
func (s *Server) AWSConfig() aws.Config {
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: &s.Info.API,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: s.Keys.AccessKeyID, SecretAccessKey: s.Keys.Secret}, nil
		}),
	}
}

// CloudMap returns a client of the Cloud Map API.
func (s *Server) CloudMap() *servicediscovery.Client {
	return servicediscovery.NewFromConfig(s.AWSConfig(), noHostPrefix)
}

// ECS returns a client of the ECS API.
func (s *Server) ECS() *ecs.Client { return ecs.NewFromConfig(s.AWSConfig()) }

// STS returns a client of the STS API.
func (s *Server) STS() *sts.Client { return sts.NewFromConfig(s.AWSConfig()) }

// Resolver returns Go's resolver, which asks this server.
func (s *Server) Resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, s.Info.DNS[0])
	}}
}

// Lookup returns the IPv4 addresses of a name. It returns an empty set if the name does not exist or has no address.
func (s *Server) Lookup(name string) map[netip.Addr]bool {
	s.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ips, err := s.Resolver().LookupNetIP(ctx, "ip4", name+".")
	var dnsErr *net.DNSError
	if err != nil && (!errors.As(err, &dnsErr) || !dnsErr.IsNotFound) {
		s.T.Fatalf("look up %s: %v", name, err)
	}
	set := map[netip.Addr]bool{}
	for _, ip := range ips {
		set[ip.Unmap()] = true
	}
	return set
}

// SkipMissing skips a test that needs something which is not installed. With CI=true it fails the test instead.
func SkipMissing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing; scripts/setup-test.sh installs it", what)
	}
	t.Skipf("%s is missing; scripts/setup-test.sh installs it", what)
}

// Must returns a function that returns the result of a call, and fails the test if the call failed:
//
//	out := Must(client.GetService(ctx, in))(t)
func Must[T any](v T, err error) func(t testing.TB) T { return apitest.Must(v, err) }

// AsJSON returns v as indented JSON, for messages of tests.
func AsJSON(v any) string {
	b, _ := json.MarshalIndent(v, "", "  ")
	return string(b)
}
