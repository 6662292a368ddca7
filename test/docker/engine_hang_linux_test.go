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

// gate is a socket in front of the engine's that can stop answering: it takes connections and bytes, and passes none on.
type gate struct {
	host string

	mu     sync.Mutex
	opened *sync.Cond
	shut   bool
}

// newGate stands in front of the machine's engine.
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
	g.opened = sync.NewCond(&g.mu)
	t.Cleanup(func() {
		listener.Close()
		g.shutTo(false)
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
			go g.pass(conn, to)
			go g.pass(to, conn)
		}
	}()
	return g
}

// shutTo lets nothing through any more, or all again.
func (g *gate) shutTo(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
	g.opened.Broadcast()
}

func (g *gate) pass(from, to net.Conn) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		g.mu.Lock()
		for g.shut {
			g.opened.Wait()
		}
		g.mu.Unlock()
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			if half, ok := to.(*net.UnixConn); ok && err == io.EOF {
				half.CloseWrite()
				return
			}
			return
		}
	}
}

// TestEngineHangs: while the engine takes requests and answers none, DNS goes on from what was last known, but for what
// ends meanwhile; what is to be started or stopped waits, and nobody is killed. Then it all goes on.
func TestEngineHangs(t *testing.T) {
	t.Parallel()
	harness.RequireEngine(t)
	g := newGate(t)
	s := (&engine{harness.Engine{Host: g.host}}).workers(t, 3)
	before := s.running("worker")
	dead, stopped := before[0], before[1]

	g.shutTo(true)
	defer g.shutTo(false)
	hung := time.Now()
	s.SetDesiredCount("worker", 4)
	harness.Must(s.ECS().StopTask(t.Context(), &ecs.StopTaskInput{Task: stopped.TaskArn}))(t)
	shared.MustCommand(t, "kill", id(dead, "main")) // by another way
	s.without("worker.corp", address(dead), 30*time.Second)
	s.without("worker.corp", address(stopped), 30*time.Second)
	left := []netip.Addr{address(before[2])}
	for time.Since(hung) < 40*time.Second { // through its time-outs
		if !s.answers("worker.corp", left...) {
			t.Fatalf("%v after the engine began to hang DNS answers %v, not %v", time.Since(hung), s.Lookup("worker.corp"), left)
		}
		time.Sleep(200 * time.Millisecond)
	}
	if state := shared.MustCommand(t, "inspect", "-f", "{{.State.Status}}", id(before[2], "main")); state != "running" {
		t.Errorf("a task that had nothing to do with it is %s", state)
	}

	g.shutTo(false)
	harness.Eventually(t, time.Minute, "all four tasks run, in DNS too", func() bool {
		var want []netip.Addr
		for _, task := range s.running("worker") {
			if aws.ToString(task.LastStatus) == "RUNNING" {
				want = append(want, address(task))
			}
		}
		return len(want) == 4 && s.answers("worker.corp", want...)
	})
	s.stopped(dead)
	s.stopped(stopped)
	s.same([]ecstypes.Task{before[2]}, s.running("worker"))
}
