package harness

import (
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"testing"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// Etcd is an etcd server with one member. It listens on a loopback address behind a gate, which stays when etcd stops.
type Etcd struct {
	t    testing.TB
	dir  string
	Gate *Gate
	etcd *embed.Etcd
}

// StartEtcd starts etcd, and stops it at the end of the test.
func StartEtcd(t testing.TB) *Etcd {
	t.Helper()
	c := &Etcd{t: t, dir: filepath.Join(t.TempDir(), "etcd"), Gate: newGate(t)}
	c.Start()
	t.Cleanup(c.Stop)
	return c
}

// Endpoint returns the URL of the gate.
func (c *Etcd) Endpoint() string { return "http://" + c.Gate.listener.Addr().String() }

// Start starts etcd, again after Stop.
func (c *Etcd) Start() {
	cfg := embed.NewConfig()
	cfg.Dir = c.dir
	cfg.ListenPeerUrls = nil
	cfg.ListenClientUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	cfg.AdvertiseClientUrls = cfg.ListenClientUrls
	cfg.TickMs, cfg.ElectionMs = 25, 125
	cfg.MaxTxnOps = 10_000
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	<-etcd.Server.ReadyNotify()
	c.etcd = etcd
	c.Gate.Redirect(etcd.Clients[0].Addr().String())
}

// Stop stops etcd. From then on the gate refuses connections.
func (c *Etcd) Stop() {
	c.Gate.Redirect("")
	if c.etcd != nil {
		c.etcd.Close()
		c.etcd = nil
	}
}

// Gate is a TCP proxy that forwards connections, refuses them, or stops forwarding what it receives.
type Gate struct {
	listener net.Listener
	passing  sync.WaitGroup

	mu      sync.Mutex
	target  string // if empty, the gate refuses connections
	stalled bool
	change  *sync.Cond
	conns   map[net.Conn]bool
}

// newGate returns a gate that refuses connections.
func newGate(t testing.TB) *Gate {
	t.Helper()
	g := &Gate{listener: Must(net.Listen("tcp", "127.0.0.1:0"))(t), conns: map[net.Conn]bool{}}
	g.change = sync.NewCond(&g.mu)
	g.passing.Go(func() {
		for {
			client, err := g.listener.Accept()
			if err != nil {
				return
			}
			g.passing.Go(func() { g.proxy(client) })
		}
	})
	t.Cleanup(func() {
		g.listener.Close()
		g.Resume()
		g.Redirect("")
		g.passing.Wait()
	})
	return g
}

// Redirect closes all connections and sends new ones to target. If target is empty, the gate refuses connections.
func (g *Gate) Redirect(target string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.target = target
	for c := range g.conns {
		c.Close()
	}
}

// Stall makes the gate accept connections and bytes without forwarding them.
func (g *Gate) Stall() { g.setStalled(true) }

// Resume ends Stall.
func (g *Gate) Resume() { g.setStalled(false) }

// setStalled stores whether the gate is stalled, and wakes what waits for a change.
func (g *Gate) setStalled(stalled bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stalled = stalled
	g.change.Broadcast()
}

// proxy connects a client to the target and forwards bytes in both directions until one side ends.
func (g *Gate) proxy(client net.Conn) {
	defer client.Close()
	g.mu.Lock()
	target := g.target
	g.mu.Unlock()
	if target == "" {
		return
	}
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	g.mu.Lock()
	g.conns[client], g.conns[server] = true, true
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.conns, client)
		delete(g.conns, server)
	}()
	var back sync.WaitGroup
	back.Go(func() { g.copy(client, server) })
	g.copy(server, client)
	back.Wait()
}

// copy forwards bytes while the gate is not stalled. It discards what arrives while the gate is stalled, and then
// closes the connection when the gate resumes, so that what was sent into a stalled gate never arrives.
func (g *Gate) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		g.mu.Lock()
		wasStalled := g.stalled
		for g.stalled {
			g.change.Wait()
		}
		g.mu.Unlock()
		if wasStalled {
			return
		}
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}
