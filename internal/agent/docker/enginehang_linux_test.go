package docker

import (
	"io"
	"net"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent/docker/dockertest"

	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// gate stands before the engine's socket and can be shut: what is sent then waits.
type gate struct {
	listener net.Listener
	mu       sync.Mutex
	open     *sync.Cond
	shut     bool
}

func newGate(t *testing.T) *gate {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "docker.sock"))
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{listener: l}
	g.open = sync.NewCond(&g.mu)
	t.Cleanup(func() { g.set(false); l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go g.pass(c)
		}
	}()
	return g
}

func (g *gate) host() string { return "unix://" + g.listener.Addr().String() }

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
	g.open.Broadcast()
}

func (g *gate) wait() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.shut {
		g.open.Wait()
	}
}

func (g *gate) pass(c net.Conn) {
	defer c.Close()
	engine, err := net.Dial("unix", "/var/run/docker.sock")
	if err != nil {
		return
	}
	defer engine.Close()
	through := func(to, from net.Conn) {
		defer to.Close()
		buf := make([]byte, 32<<10)
		for {
			n, err := from.Read(buf)
			g.wait()
			if n > 0 {
				if _, err := to.Write(buf[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
	go through(engine, c)
	through(c, engine)
	io.Copy(io.Discard, c)
}

// TestEngineThatHangs: while the engine does not answer, what runs stays as it is, what dies is seen all the same, and what
// is asked can be asked again; afterwards all goes on.
func TestEngineThatHangs(t *testing.T) {
	t.Parallel()
	direct, dir, networks := fresh(t)
	letGo(t, direct)
	g := newGate(t)
	r := open(t, dir, g.host(), networks)
	stays, dies := task(agent.NetworkAWSVPC, one("web", "serve", ":80")), task(agent.NetworkAWSVPC, one("web", "serve", ":80"))
	launch(t, r, stays)
	launch(t, r, dies)
	id := await(t, r, dies.ID, "web", "running", running).RuntimeID
	seen, err := dockertest.Engine(t).ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	g.set(true)
	if err := syscall.Kill(seen.Container.State.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if s := await(t, r, dies.ID, "web", "ended", ended); s.Reason != reasonUnseen || s.ExitCode != nil {
		t.Errorf("what died is %+v", s)
	}
	t.Logf("seen after %v", time.Since(began))
	boxes, err := r.Sandboxes(t.Context())
	if err != nil || len(boxes) != 2 {
		t.Errorf("the tasks are %+v, %v", boxes, err)
	}
	dockertest.Eventually(t, "it says that the engine does not answer", func() bool { return len(r.Notes()) == 1 })
	// A step that is under way when the engine hangs ends, and can be made again.
	ended := make(chan error, 1)
	next := task(agent.NetworkNone, one("main", "exit", "0"))
	next.Options.Volumes = nil
	if _, err := r.Create(t.Context(), next); err != nil { // which asks the engine nothing
		t.Fatal(err)
	}
	go func() { ended <- r.StartContainer(t.Context(), next.ID, "main") }()
	g.set(false)
	if err := <-ended; err != nil && !fault.Is(err, fault.Unavailable) {
		t.Errorf("what was asked meanwhile: %v", err)
	}
	dockertest.Eventually(t, "what was asked meanwhile can be asked again", func() bool {
		return r.StartContainer(t.Context(), next.ID, "main") == nil
	})
	dockertest.Eventually(t, "it says so no more", func() bool { return len(r.Notes()) == 0 })
	if s := await(t, r, stays.ID, "web", "running", running); !s.Running() {
		t.Errorf("what ran is %+v", s)
	}
	letGo(t, r)
}
