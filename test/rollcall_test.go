package test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/bakingclouds/rollcall/internal/agent/process"
	"github.com/bakingclouds/rollcall/internal/cli"
	"github.com/bakingclouds/rollcall/test/harness"
)

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
	harness.Clean()
	os.Exit(status)
}

// server is a rollcall process, as the tests of this package see it.
type server struct{ *harness.Server }

// What these tests share with those of test/docker.
const asRollcall = harness.AsRollcall

var (
	missing      = harness.Missing
	self         = harness.Self
	rollcall     = harness.Rollcall
	built        = harness.Built
	userEnviron  = harness.UserEnviron
	endTasks     = harness.EndTasks
	eventually   = harness.Eventually
	asJSON       = harness.AsJSON
	short        = harness.Short
	worker       = harness.Worker
	program      = harness.Program
	awsvpc       = harness.AWSVPC
	taskID       = harness.TaskID
	address      = harness.Address
	noHostPrefix = harness.NoHostPrefix
)

type output = harness.Output

func must[T any](t testing.TB) func(T, error) T { return harness.Must[T](t) }

func serve(t testing.TB, flags ...string) *server {
	t.Helper()
	return &server{harness.Serve(t, flags...)}
}

func serveOn(t testing.TB, dir string, flags ...string) *server {
	t.Helper()
	return &server{harness.ServeOn(t, dir, flags...)}
}

func start(t testing.TB, dir string, flags ...string) (*server, error) {
	t.Helper()
	s, err := harness.Start(t, dir, flags...)
	return &server{s}, err
}

func startBinary(t testing.TB, binary, dir string, flags ...string) (*server, error) {
	t.Helper()
	s, err := harness.StartBinary(t, binary, dir, flags...)
	return &server{s}, err
}

func prepare(t testing.TB, dir string, cmd *exec.Cmd) *server {
	return &server{harness.Prepare(t, dir, cmd)}
}
