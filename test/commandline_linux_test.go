package test

import (
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
)

// TestCannotServe starts servers that cannot be. Each ends with status 1 and one line that says what is in the way.
func TestCannotServe(t *testing.T) {
	t.Parallel()
	first := serve(t, "--runtime", "none")
	first.Namespace("shop")
	tcp := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	t.Cleanup(func() { tcp.Close() })
	udp := must[net.PacketConn](t)(net.ListenPacket("udp", "127.0.0.1:0"))
	t.Cleanup(func() { udp.Close() })
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name     string
		dir      string // empty: one of its own
		flags    []string
		mentions []string
	}{
		{"the data folder of another server", first.Dir, nil, []string{first.Dir}},
		{"a data folder that is a file", file, nil, []string{file, "--data"}},
		{"a port in use for the API", "", []string{"--api", tcp.Addr().String()}, []string{tcp.Addr().String(), "--api"}},
		{"the API of another server", "", []string{"--api", strings.TrimPrefix(first.Info.API, "http://")}, []string{"--api"}},
		{"a port in use for DNS over TCP", "", []string{"--dns", tcp.Addr().String()}, []string{tcp.Addr().String(), "--dns"}},
		{"a port in use for DNS over UDP", "", []string{"--dns", udp.LocalAddr().String()}, []string{udp.LocalAddr().String(), "--dns"}},
		{"the DNS of another server", "", []string{"--dns", first.Info.DNS[0]}, []string{"--dns"}},
		{"an address of no interface", "", []string{"--api", "192.0.2.77:7070", "--runtime", "none"}, []string{"192.0.2.77:7070", "--api"}},
		{"an etcd that is not there", "", []string{"--etcd", "127.0.0.1:" + closedPort()}, []string{"etcd", "127.0.0.1:"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := tc.dir
			if dir == "" {
				dir = t.TempDir()
				t.Cleanup(func() { endTasks(t, dir) })
			}
			began := time.Now()
			status, said := runToEnd(t, dir, tc.flags...)
			if took := time.Since(began); status != 1 || took > 15*time.Second {
				t.Errorf("status %d after %v", status, took)
			}
			var last string
			for line := range strings.Lines(said) {
				if last = line; !strings.HasPrefix(line, "time=") && !strings.HasPrefix(line, "rollcall: ") {
					t.Errorf("a line that is neither of the log nor the error: %q", line)
				}
			}
			for _, part := range tc.mentions {
				if !strings.HasPrefix(last, "rollcall: ") || !strings.Contains(last, part) {
					t.Errorf("the last line is %q, which does not name %q", last, part)
				}
			}
		})
	}
	t.Cleanup(func() { // after the others have tried
		if err := first.seesOnly("shop"); err != nil {
			t.Error(err)
		}
	})
}

// runToEnd runs a server to its end and returns its status and what it said on standard error.
func runToEnd(t *testing.T, dir string, flags ...string) (status int, stderr string) {
	t.Helper()
	cmd := rollcall(t, append([]string{"serve", "--data", dir, "--api", "127.0.0.1:0", "--dns", "127.0.0.1:0", "--node", "test", "--runtime", "process"}, flags...)...)
	cmd.Env = append(cmd.Env, "XDG_RUNTIME_DIR="+t.TempDir())
	var said output
	cmd.Stderr = &said
	ended := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer ended.Stop()
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), said.String()
}

// TestServeEnvironment starts a server by environment variables alone; a flag wins over its variable.
func TestServeEnvironment(t *testing.T) {
	t.Parallel()
	keys := awsapi.Pair{AccessKeyID: "AKIAENVIRONMENT00001", Secret: strings.Repeat("s3cret/+", 5)}
	dir := filepath.Join(t.TempDir(), "data")
	s := prepare(t, dir, exec.Command(self(t), "serve", "--region", "eu-west-3"))
	s.Keys = keys
	s.Cmd.Env = append(os.Environ(), asRollcall+"=1", "XDG_RUNTIME_DIR="+t.TempDir(), "ROLLCALL_DATA="+dir, "ROLLCALL_API=127.0.0.1:0",
		"ROLLCALL_DNS=127.0.0.1:0", "ROLLCALL_RUNTIME=none", "ROLLCALL_ACCOUNT=123456789012", "ROLLCALL_REGION=eu-central-1",
		"ROLLCALL_LOG_FORMAT=json", "ROLLCALL_NODE=from-environment",
		"ROLLCALL_ACCESS_KEY_ID="+keys.AccessKeyID, "ROLLCALL_SECRET_ACCESS_KEY="+keys.Secret)
	if err := s.Launch(); err != nil {
		t.Fatal(err)
	}
	if s.Info.Account != "123456789012" || s.Info.Region != "eu-west-3" {
		t.Errorf("the server says %+v", s.Info)
	}
	got := must[*ecs.CreateClusterOutput](t)(s.ECS().CreateCluster(t.Context(), &ecs.CreateClusterInput{ClusterName: aws.String("one")}))
	if want := "arn:aws:ecs:us-east-1:123456789012:cluster/one"; *got.Cluster.ClusterArn != want {
		t.Errorf("ARN %s, want %s", *got.Cluster.ClusterArn, want)
	}
	eventually(t, 5*time.Second, "the log is JSON and names the node", func() bool { return strings.Contains(s.Out.String(), `"node":"from-environment"`) })
	if _, err := os.Stat(filepath.Join(dir, "credentials")); err == nil {
		t.Error("keys were made although the environment gives some")
	}
}

// TestStop ends servers by a signal. They end with status 0 and leave no pointer; tasks go on and are found again, or
// end with it when that was asked for.
func TestStop(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name      string
		signal    syscall.Signal
		stopTasks bool
	}{
		{"SIGTERM", syscall.SIGTERM, false},
		{"SIGINT", syscall.SIGINT, false},
		{"SIGTERM with --stop-tasks", syscall.SIGTERM, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var flags []string
			if tc.stopTasks {
				flags = append(flags, "--stop-tasks")
			}
			s := serve(t, flags...)
			starts := filepath.Join(t.TempDir(), "starts")
			s.Run("cart", s.Register(markedWorker(t, starts)), 2, s.Discovery(s.Namespace("shop"), "cart", 1))
			s.Stable("cart")
			before := s.processes("cart")

			if err := s.Cmd.Process.Signal(tc.signal); err != nil {
				t.Fatal(err)
			}
			select {
			case <-s.Done:
			case <-time.After(10 * time.Second):
				t.Fatal("not stopped after 10 s")
			}
			if status := s.Cmd.ProcessState.ExitCode(); status != 0 {
				t.Errorf("status %d", status)
			}
			for _, file := range must[[]string](t)(filepath.Glob(filepath.Join(s.Dir, "*.json"))) {
				if base := filepath.Base(file); base == "server.json" || strings.HasPrefix(base, "rollcall-") {
					t.Errorf("%s is left", file)
				}
			}
			if tc.stopTasks {
				if left := marked(t, starts); len(left) > 0 {
					t.Errorf("processes %v go on", left)
				}
			} else if left := marked(t, starts); len(left) != 2 {
				t.Errorf("processes %v go on, want those of 2 tasks", left)
			}

			s = serveOn(t, s.Dir)
			s.onlyTheseRun("cart", starts, 2)
			if now := s.processes("cart"); maps.Equal(now, before) == tc.stopTasks {
				t.Errorf("processes %v, before the stop %v", now, before)
			}
		})
	}
}
