package docker

import (
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/test/harness"
)

// gate is a proxy in front of the engine's socket that can stop forwarding. It then still accepts connections and
// bytes.
type gate struct {
	host string

	mu      sync.Mutex
	resumed *sync.Cond
	stalled bool
}

// newGate returns a gate in front of the machine's engine.
func newGate(t *testing.T) *gate {
	t.Helper()
	behind := "/var/run/docker.sock"
	if _, err := os.Stat(behind); err != nil {
		harness.SkipMissing(t, "the engine's socket "+behind)
	}
	dir := harness.Must(os.MkdirTemp("", "gate"))(t)
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "docker.sock")
	listener := harness.Must(net.Listen("unix", path))(t)
	g := &gate{host: "unix://" + path}
	g.resumed = sync.NewCond(&g.mu)
	t.Cleanup(func() {
		listener.Close()
		g.setStalled(false)
	})
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("unix", behind)
			if err != nil {
				conn.Close()
				continue
			}
			go g.forward(conn, to)
			go g.forward(to, conn)
		}
	}()
	return g
}

// setStalled stops the gate from forwarding, or lets it forward again.
func (g *gate) setStalled(stalled bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stalled = stalled
	g.resumed.Broadcast()
}

// forward copies bytes from one connection to another.
func (g *gate) forward(from, to net.Conn) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		g.mu.Lock()
		for g.stalled {
			g.resumed.Wait()
		}
		g.mu.Unlock()
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			if half, ok := to.(*net.UnixConn); ok && err == io.EOF {
				half.CloseWrite()
			}
			return
		}
	}
}

// TestEngineHangs runs a server whose engine accepts requests and does not answer them. DNS must continue from the last
// known state, except for tasks that end meanwhile; starts and stops must wait; and no task may be killed. When the
// engine answers again, everything must continue.
func TestEngineHangs(t *testing.T) {
	t.Parallel()
	harness.RequireEngine(t)
	g := newGate(t)
	s := (&engine{harness.Engine{Host: g.host}}).serveWorkers(t, 3)
	before := s.running("worker")
	dead, stopped := before[0], before[1]

	g.setStalled(true)
	defer g.setStalled(false)
	hung := time.Now()
	s.SetDesiredCount("worker", 4)
	harness.Must(s.ECS().StopTask(t.Context(), &ecs.StopTaskInput{Task: stopped.TaskArn}))(t)
	shared.MustCommand(t, "kill", id(dead, "main")) // not through the gate
	s.waitWithout("worker.corp", address(dead), 30*time.Second)
	s.waitWithout("worker.corp", address(stopped), 30*time.Second)
	left := []netip.Addr{address(before[2])}
	for time.Since(hung) < 40*time.Second { // longer than the server's timeouts
		if !s.answers("worker.corp", left...) {
			t.Fatalf("%v after the engine began to hang DNS answers %v, want %v",
				time.Since(hung), s.Lookup("worker.corp"), left)
		}
		time.Sleep(200 * time.Millisecond)
	}
	if state := shared.MustCommand(t, "inspect", "-f", "{{.State.Status}}", id(before[2], "main")); state != "running" {
		t.Errorf("a task that was not stopped is %s, want running", state)
	}

	g.setStalled(false)
	harness.Eventually(t, time.Minute, "all four tasks run, also in DNS", func() bool {
		var want []netip.Addr
		for _, task := range s.running("worker") {
			if aws.ToString(task.LastStatus) == "RUNNING" {
				want = append(want, address(task))
			}
		}
		return len(want) == 4 && s.answers("worker.corp", want...)
	})
	s.waitStopped(dead)
	s.waitStopped(stopped)
	s.checkSame([]ecstypes.Task{before[2]}, s.running("worker"))
}
