package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/process/protocol"
	"github.com/bakingclouds/rollcall/internal/agent/process/supervisor"
	"github.com/bakingclouds/rollcall/internal/containerlog"
)

func TestHealthCheck(t *testing.T) {
	t.Parallel()
	r := newRuntime(t)
	for _, tc := range []struct {
		name       string
		check      []string
		want       agent.Health
		wantOutput string
	}{
		{"passes", []string{"CMD-SHELL", `test "$FROM" = spec`}, agent.HealthHealthy, ""},
		{"fails", []string{"CMD-SHELL", "echo not well >&2; exit 2"}, agent.HealthUnhealthy, "not well"},
		{"no-command", []string{"CMD", "no-such-check"}, agent.HealthUnhealthy,
			`cannot run the program "no-such-check": it is not in PATH`},
		{"hangs", []string{"CMD-SHELL", "echo waiting; sleep 1000"}, agent.HealthUnhealthy,
			"Health check exceeded timeout (100ms). waiting"},
	} {
		spec := shellTask(tc.name, "exec sleep 1000")
		spec.Env = map[string]string{"FROM": "spec"}
		spec.Containers[0].HealthCheck = &agent.HealthCheck{
			Command: tc.check, Interval: 300 * time.Millisecond, Timeout: 100 * time.Millisecond, Retries: 1}
		if tc.name != "hangs" {
			spec.Containers[0].HealthCheck.Timeout = 10 * time.Second // the machine may be busy
		}
		start(t, r, spec)
		got := await(t, r, tc.name, string(tc.want),
			func(s agent.ContainerStatus) bool { return s.Health == tc.want })
		if !strings.Contains(got.HealthOutput, tc.wantOutput) {
			t.Errorf("%s: the output kept is %q, want %q", tc.name, got.HealthOutput, tc.wantOutput)
		}
		if !got.Running() {
			t.Errorf("%s: %+v; want it running, since the agent decides what follows from its health", tc.name, got)
		}
	}
}

func TestHangingHealthCheckLeavesNothing(t *testing.T) {
	t.Parallel()
	r := newRuntime(t)
	file := filepath.Join(t.TempDir(), "pid")
	spec := shellTask("hangs", "exec sleep 1000")
	spec.Containers[0].HealthCheck = &agent.HealthCheck{
		// One process hangs, and another leaves its session and holds the output open.
		Command: []string{"CMD-SHELL",
			fmt.Sprintf("echo $$ > %s.1; '%s' program session %s.2; exec sleep 1000", file, self()[0], file)},
		Interval: time.Minute, Timeout: 2 * time.Second, Retries: 1}
	start(t, r, spec)
	eventually(t, "the check runs", func() bool { _, err := os.Stat(file + ".2"); return err == nil })
	for _, name := range []string{".1", ".2"} {
		var pid int
		eventually(t, "a pid is written", func() bool {
			text, _ := os.ReadFile(file + name)
			var err error
			pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
			return err == nil
		})
		eventually(t, "a process of the check has ended", func() bool { return ended(pid) })
	}
	if got := statusOf(t, r, "hangs"); !got.Running() {
		t.Errorf("the container itself: %+v; want it running", got)
	}
}

func TestNextServerResumesHealth(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := runtimeIn(t, dir)
	spec := shellTask("well", "exec sleep 1000")
	spec.Containers[0].HealthCheck = &agent.HealthCheck{Command: []string{"CMD", "true"}}
	start(t, r, spec)
	await(t, r, "well", "healthy", func(s agent.ContainerStatus) bool { return s.Health == agent.HealthHealthy })
	r.Close()
	next := runtimeIn(t, dir)
	killSupervisor(t, next)
	if got := await(t, next, "well", "running", agent.ContainerStatus.Running); got.Health != agent.HealthHealthy {
		t.Errorf("the next server and supervisor begin with %+v; want a healthy container", got)
	}
}

func TestWildcardListener(t *testing.T) {
	t.Parallel()
	r := newRuntime(t)
	listen := func(id, network, address string) {
		spec := commandTask(id, self("listen", network, address)...)
		if id == "bridge" {
			spec.NetworkMode = agent.NetworkBridge
		}
		start(t, r, spec)
	}
	own := shellTask("own", fmt.Sprintf(`exec '%s' program listen tcp "$ROLLCALL_ADDRESS:5000"`, self()[0]))
	sandbox := start(t, r, own)
	awaitOutput(t, r, "own", "listening")
	listen("bridge", "tcp", "0.0.0.0:0")
	awaitOutput(t, r, "bridge", "listening")
	listen("client", "udp", "0.0.0.0:0") // like the socket of a resolver that waits for replies
	awaitOutput(t, r, "client", "listening")
	for _, tc := range []struct{ id, network, address, want string }{
		{"wide", "tcp4", "0.0.0.0:0", "listens on tcp 0.0.0.0:"},
		{"wide6", "tcp", "[::]:0", "listens on tcp [::]:"},
	} {
		listen(tc.id, tc.network, tc.address)
		got := awaitEnd(t, r, tc.id)
		if !strings.HasPrefix(got.Reason, startFailure) || !strings.Contains(got.Reason, tc.want) {
			t.Errorf("a container that listens on %s ends with reason %q; want …%s", tc.address, got.Reason, tc.want)
		}
	}
	for _, id := range []string{"own", "bridge", "client"} {
		if got := statusOf(t, r, id); !got.Running() {
			t.Errorf("%s: %+v; want it running", id, got)
		}
	}
	conn, err := net.Dial("tcp", net.JoinHostPort(sandbox.Address.String(), "5000"))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestGarbageOnTheSocket(t *testing.T) {
	t.Parallel()
	r := newRuntime(t)
	start(t, r, shellTask("calm", "exec sleep 1000"))
	pid := supervisorPID(t, r.config.Dir)
	for _, garbage := range []string{
		"\n", "\x00\xff\x00\n", "{\n", "[]\n", "null\n", `{"id":"x"}` + "\n",
		`{"id":1,"call":"start","args":7}` + "\n",
		`{"id":1,"call":"stop","args":{"Timeout":"soon"}}` + "\n",
		`{"id":1,"call":"no such call"}` + "\n",
		strings.Repeat("x", protocol.MaxRequest+1),
	} {
		conn, err := protocol.Dial(t.Context(), r.config.Dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		go conn.Write([]byte(garbage)) // the supervisor may close first
		w := protocol.NewConn(conn, protocol.MaxReply)
		for {
			f, err := w.Receive()
			if err == nil && f.Hello == nil && f.Update == nil && f.Error == nil {
				t.Errorf("the reply to %.40q is %+v", garbage, f)
			}
			if err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
				t.Errorf("%.40q: %v; want an error reply or a closed connection", garbage, err)
			}
			if err != nil || f.Error != nil {
				break
			}
		}
		conn.Close()
	}
	if got := statusOf(t, r, "calm"); !got.Running() || ended(pid) {
		t.Errorf("after garbage: %+v, supervisor ended: %v", got, ended(pid))
	}
}

func TestOtherVersion(t *testing.T) {
	dir := t.TempDir()
	listener, err := protocol.Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		text, _ := json.Marshal(protocol.Frame{Hello: &protocol.Hello{Version: protocol.Version + 1, PID: 4711}})
		conn.Write(append(text, '\n'))
	}()
	_, err = New(t.Context(), Config{Dir: dir})
	if want := "(pid 4711) has version 2 of the protocol, this rollcall has version 1"; err == nil ||
		!strings.Contains(err.Error(), want) {
		t.Errorf("New: %v; want …%s…", err, want)
	}
}

func TestOneSupervisor(t *testing.T) {
	t.Parallel()
	deep := filepath.Join(t.TempDir(), strings.Repeat("deep/", 40)) // longer than the path of a socket can be
	r := runtimeIn(t, deep)
	if err := supervisor.Run(r.config.Dir); !errors.Is(err, protocol.ErrRunning) {
		t.Errorf("a second supervisor: %v; want %v", err, protocol.ErrRunning)
	}
	info, err := os.Stat(filepath.Join(deep, protocol.SocketName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: mode %v, %v; want 0600", info.Mode(), err)
	}
}

// TestLogStaysWithinBounds checks that of an output of 60 MB only the newest part is kept, within the limit.
func TestLogStaysWithinBounds(t *testing.T) {
	t.Parallel()
	r := newRuntime(t)
	dir := filepath.Dir(LogFile(r.config.Dir, "chatty", "main"))
	const line = "0123456789012345678901234567890123456789012345678901234567890123"
	start(t, r, shellTask("chatty", fmt.Sprintf(
		"for i in 1 2 3 4 5 6; do yes %s | head -c %d; sleep 0.1; done; echo last words", line, containerlog.MaxFile)))
	awaitEnd(t, r, "chatty")
	var last string
	for pos := int64(0); ; {
		lines, next, err := containerlog.Read(dir, pos)
		if err != nil {
			t.Fatal(err)
		}
		if next == pos {
			break
		}
		pos, last = next, string(lines[len(lines)-1].Text)
	}
	if !strings.HasSuffix(last, "last words") {
		t.Errorf("the last line is %q", last)
	}
	_, _, size, _, err := containerlog.Span(dir)
	if most := int64(4 * containerlog.MaxFile); err != nil || size > most || size < containerlog.MaxFile {
		t.Errorf("%d bytes are kept, %v; want %d to %d", size, err, containerlog.MaxFile, most)
	}
}
