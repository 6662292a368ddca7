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

// Etcd is an etcd of one member that listens on a loopback address, behind a gate that stays when it goes.
type Etcd struct {
	t    testing.TB
	dir  string
	Gate *Gate
	etcd *embed.Etcd
}

func StartEtcd(t testing.TB) *Etcd {
	t.Helper()
	c := &Etcd{t: t, dir: filepath.Join(t.TempDir(), "etcd"), Gate: newGate(t)}
	c.Start()
	t.Cleanup(c.Stop)
	return c
}

func (c *Etcd) Endpoint() string { return "http://" + c.Gate.listener.Addr().String() }

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

func (c *Etcd) Stop() {
	c.Gate.Redirect("")
	if c.etcd != nil {
		c.etcd.Close()
		c.etcd = nil
	}
}

// Gate passes on TCP connections, refuses them, or swallows what comes.
type Gate struct {
	listener net.Listener
	passing  sync.WaitGroup

	mu      sync.Mutex
	target  string // "" refuses
	stalled bool   // swallows
	change  *sync.Cond
	conns   map[net.Conn]bool
}

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

// Redirect ends the connections there are and sends new ones to an address; "" refuses them.
func (g *Gate) Redirect(target string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.target = target
	for c := range g.conns {
		c.Close()
	}
}

func (g *Gate) Stall() { g.setStalled(true) }

func (g *Gate) Resume() { g.setStalled(false) }

func (g *Gate) setStalled(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stalled = shut
	g.change.Broadcast()
}

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

// copy passes bytes on while the gate is open. What comes while it is shut is lost, and with it the connection, which
// ends when the gate opens: so what a test sent into the void stays there.
func (g *Gate) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		g.mu.Lock()
		swallowed := g.stalled
		for g.stalled {
			g.change.Wait()
		}
		g.mu.Unlock()
		if swallowed {
			return
		}
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}
