package docker

import (
	"io"
	"net"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/docker/dockertest"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// proxy forwards connections to the engine's socket. While it is paused, it forwards nothing, as an engine that hangs.
type proxy struct {
	listener net.Listener
	mu       sync.Mutex
	changed  *sync.Cond
	paused   bool
}

func newProxy(t *testing.T) *proxy {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "docker.sock"))
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l}
	p.changed = sync.NewCond(&p.mu)
	t.Cleanup(func() { p.setPaused(false); l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.forward(c)
		}
	}()
	return p
}

func (p *proxy) host() string { return "unix://" + p.listener.Addr().String() }

func (p *proxy) setPaused(paused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paused = paused
	p.changed.Broadcast()
}

func (p *proxy) waitWhilePaused() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.paused {
		p.changed.Wait()
	}
}

func (p *proxy) forward(c net.Conn) {
	defer c.Close()
	engine, err := net.Dial("unix", "/var/run/docker.sock")
	if err != nil {
		return
	}
	defer engine.Close()
	pipe := func(to, from net.Conn) {
		defer to.Close()
		buf := make([]byte, 32<<10)
		for {
			n, err := from.Read(buf)
			p.waitWhilePaused()
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
	go pipe(engine, c)
	pipe(c, engine)
	io.Copy(io.Discard, c)
}

// TestEngineHangs pauses the engine. What runs keeps running, an end is noticed nevertheless, and a call that fails can
// be repeated once the engine answers again.
func TestEngineHangs(t *testing.T) {
	t.Parallel()
	direct, dir, networks := newRuntime(t)
	closeRuntime(t, direct)
	p := newProxy(t)
	r := openRuntime(t, dir, p.host(), networks)
	runs := newTask(agent.NetworkAWSVPC, containerSpec("web", "serve", ":80"))
	ends := newTask(agent.NetworkAWSVPC, containerSpec("web", "serve", ":80"))
	run(t, r, runs)
	run(t, r, ends)
	id := awaitRunning(t, r, ends.ID, "web").RuntimeID
	seen, err := dockertest.Engine(t).ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.setPaused(true)
	if err := syscall.Kill(seen.Container.State.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if s := awaitEnd(t, r, ends.ID, "web"); s.Reason != reasonUnseen || s.ExitCode != nil {
		t.Errorf("the killed container is %+v, want the reason %q and no exit code", s, reasonUnseen)
	}
	t.Logf("the end was noticed after %v", time.Since(began))
	sandboxes, err := r.Sandboxes(t.Context())
	if err != nil || len(sandboxes) != 2 {
		t.Errorf("sandboxes are %+v, %v; want 2", sandboxes, err)
	}
	dockertest.Eventually(t, "Notes reports that the engine does not answer",
		func() bool { return len(r.Notes()) == 1 })

	next := newTask(agent.NetworkNone, containerSpec("main", "exit", "0"))
	next.Options.Volumes = nil
	if _, err := r.Create(t.Context(), next); err != nil { // makes no call to the engine
		t.Fatal(err)
	}
	started := make(chan error, 1)
	go func() { started <- r.StartContainer(t.Context(), next.ID, "main") }()
	p.setPaused(false)
	if err := <-started; err != nil && !fault.Is(err, fault.Unavailable) {
		t.Errorf("StartContainer while the engine hangs: %v, want none or fault.Unavailable", err)
	}
	dockertest.Eventually(t, "StartContainer succeeds when it is repeated", func() bool {
		return r.StartContainer(t.Context(), next.ID, "main") == nil
	})
	dockertest.Eventually(t, "Notes is empty", func() bool { return len(r.Notes()) == 0 })
	awaitRunning(t, r, runs.ID, "web")
	closeRuntime(t, r)
}
