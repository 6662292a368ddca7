package failures

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/test/harness"
)

// TestServeErrors starts servers that cannot serve. Each must end with status 1, and the last line of its output must
// name the cause and, where one helps, the flag.
func TestServeErrors(t *testing.T) {
	t.Parallel()
	first := harness.Serve(t, "--runtime", "none")
	first.CreateNamespace("shop")
	tcp := harness.Must(net.Listen("tcp", "127.0.0.1:0"))(t)
	t.Cleanup(func() { tcp.Close() })
	udp := harness.Must(net.ListenPacket("udp", "127.0.0.1:0"))(t)
	t.Cleanup(func() { udp.Close() })
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name     string
		dir      string // if empty, a new one
		flags    []string
		mentions []string
	}{
		{"the data folder of another server", first.Dir, nil, []string{first.Dir}},
		{"a data folder that is a file", file, nil, []string{file, "--data"}},
		{"a port in use for the API", "", []string{"--api", tcp.Addr().String()},
			[]string{tcp.Addr().String(), "--api"}},
		{"the API address of another server", "", []string{"--api", strings.TrimPrefix(first.Info.API, "http://")},
			[]string{"--api"}},
		{"a port in use for DNS over TCP", "", []string{"--dns", tcp.Addr().String()},
			[]string{tcp.Addr().String(), "--dns"}},
		{"a port in use for DNS over UDP", "", []string{"--dns", udp.LocalAddr().String()},
			[]string{udp.LocalAddr().String(), "--dns"}},
		{"the DNS address of another server", "", []string{"--dns", first.Info.DNS[0]}, []string{"--dns"}},
		{"an address of no interface", "", []string{"--api", "192.0.2.77:7070", "--runtime", "none"},
			[]string{"192.0.2.77:7070", "--api"}},
		{"an etcd that does not answer", "", []string{"--etcd", "127.0.0.1:" + harness.ClosedPort(t)},
			[]string{"etcd", "127.0.0.1:"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := tc.dir
			if dir == "" {
				dir = t.TempDir()
				t.Cleanup(func() { harness.EndTasks(t, dir) })
			}
			watch := harness.StartStopwatch()
			status, stderr := runServe(t, dir, tc.flags...)
			if took := watch.Unstalled(); status != 1 || took > 15*time.Second {
				t.Errorf("status %d after %v, want 1 within 15 s", status, took)
			}
			var last string
			for line := range strings.Lines(stderr) {
				if last = line; !strings.HasPrefix(line, "time=") && !strings.HasPrefix(line, "rollcall: ") {
					t.Errorf("a line that is neither a log line nor the error: %q", line)
				}
			}
			for _, part := range tc.mentions {
				if !strings.HasPrefix(last, "rollcall: ") || !strings.Contains(last, part) {
					t.Errorf("the last line is %q, want an error that contains %q", last, part)
				}
			}
		})
	}
	t.Cleanup(func() { // after the subtests: the first server still answers
		if err := first.CheckQueryA("shop"); err != nil {
			t.Error(err)
		}
	})
}

// runServe runs a server that is expected to end, and returns its status and its output on standard error.
func runServe(t *testing.T, dir string, flags ...string) (status int, stderr string) {
	t.Helper()
	cmd := harness.Command(t, append([]string{"serve", "--data", dir, "--api", "127.0.0.1:0", "--dns", "127.0.0.1:0",
		"--node", "test", "--runtime", "process"}, flags...)...)
	cmd.Env = append(cmd.Env, "XDG_RUNTIME_DIR="+t.TempDir())
	var output harness.Output
	cmd.Stderr = &output
	timeout := time.AfterFunc(3*time.Minute, func() { cmd.Process.Kill() })
	defer timeout.Stop()
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), output.String()
}
