package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/miekg/dns"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// TestStoreFailure takes the store away in every way that it can go. Answers never get empty, writes fail fast with an
// error that SDKs repeat, tasks go on, and afterwards nothing is lost.
func TestStoreFailure(t *testing.T) {
	t.Parallel()
	t.Run("etcd is stopped", func(t *testing.T) {
		t.Parallel()
		e := startCluster(t)
		outage(t, serve(t, "--etcd", e.endpoint()), e.stop, e.start, staleAtOnce)
	})
	t.Run("the network swallows everything", func(t *testing.T) {
		t.Parallel()
		e := startCluster(t)
		outage(t, serve(t, "--etcd", e.endpoint()), e.gate.swallow, e.gate.open, staleInTime)
	})
}

// TestStopWithoutStore holds that a server which has lost its store still stops cleanly and soon, and starts again with
// all there was.
func TestStopWithoutStore(t *testing.T) {
	t.Parallel()
	e := startCluster(t)
	s := serve(t, "--etcd", e.endpoint())
	s.Namespace("shop")
	e.stop()
	began := time.Now()
	s.Stop()
	if took := time.Since(began); took > 15*time.Second || s.Cmd.ProcessState.ExitCode() != 0 {
		t.Errorf("%v, after %v", s.Cmd.ProcessState, took)
	}
	if _, err := start(t, s.Dir, "--etcd", e.endpoint()); err == nil || !strings.Contains(err.Error(), e.endpoint()) {
		t.Errorf("a start without etcd gives %v, want an error that names %s", err, e.endpoint())
	}
	e.start()
	s = serveOn(t, s.Dir, "--etcd", e.endpoint())
	if reply, err := s.ask("shop", dns.TypeSOA); err != nil || len(reply.Answer) != 1 {
		t.Errorf("the namespace is gone: %v, %v", reply, err)
	}
}

// TestFullDisk fills the disk of the embedded store.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir, here := smallDisk(t, 320<<20)
	if !here {
		return
	}
	t.Cleanup(func() { endTasks(t, dir) })
	s := serveOn(t, dir)
	var free func()
	fill := func() {
		free = fillDisk(t, dir)
		// What was reserved before is still written to, until the next look at the disk.
		eventually(t, 5*time.Second, "the full disk is noticed", func() bool {
			status, _ := s.get("/healthz")
			return status == http.StatusServiceUnavailable
		})
	}
	outage(t, s, fill, func() { free() }, writesOnly)
}

// How soon /healthz and the metrics tell that the store is gone.
type staleness int

const (
	staleAtOnce staleness = iota
	staleInTime           // when the connection is found to be dead, after some 15 s
	writesOnly            // nothing changes in a full store, so what is answered is not stale
)

// outage runs tasks and a service from outside, loses the store, and has it back.
func outage(t *testing.T, s *server, lose, back func(), tells staleness) {
	t.Helper()
	shop := s.Namespace("shop")
	s.Run("cart", s.Register(program(t, "sleeper", "/bin/sleep", "1000")), 2, s.Discovery(shop, "cart", 1))
	outside := s.Discovery(shop, "outside", 1)
	for n := range 3 {
		must[*sd.RegisterInstanceOutput](t)(s.CloudMap().RegisterInstance(t.Context(), registration(*outside.Id, strconv.Itoa(n), fmt.Sprintf("10.0.0.%d", n+1))))
	}
	s.Stable("cart")
	tasks, answered := s.processes("cart"), s.Lookup("cart.shop")
	stopWatching := s.watchAnswers("cart", "outside")

	lose()
	s.writesFail(shop, *outside.Id)
	s.tellsOfOutage(tells)
	if now := s.processes("cart"); !maps.Equal(now, tasks) {
		t.Errorf("processes of the tasks: %v, before: %v", now, tasks)
	}
	if now := s.Lookup("cart.shop"); !maps.Equal(now, answered) {
		t.Errorf("DNS answers %v, before: %v", now, answered)
	}
	victim, survivor := twoOf(tasks)
	pid := must[int](t)(strconv.Atoi(victim))
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil { // nobody can write it down now
		t.Fatal(err)
	}

	back()
	eventually(t, 20*time.Second, "writes succeed again", func() bool {
		_, err := s.cloudMapOnce().RegisterInstance(t.Context(), registration(*outside.Id, "after", "10.0.0.100"))
		return err == nil
	})
	if err := s.seesOnly("outside.shop", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.100"); err != nil {
		t.Error(err)
	}
	eventually(t, 20*time.Second, "the task that died meanwhile is replaced", func() bool {
		now := s.processes("cart")
		return len(now) == 2 && now[victim] != tasks[victim] && now[survivor] == tasks[survivor]
	})
	s.Stable("cart")
	s.answersAre("cart", 2)
	eventually(t, 5*time.Second, "/healthz says ok and the lag is 0", func() bool {
		status, _ := s.get("/healthz")
		return status == http.StatusOK && s.metric("rollcall_store_lag_seconds") == 0
	})
	stopWatching()
}

// twoOf are the keys of a map that has two.
func twoOf(m map[string]string) (first, second string) {
	keys := slices.Sorted(maps.Keys(m))
	return keys[0], keys[1]
}

// seesOnly compares the answer of one query with the addresses that are wanted.
func (s *server) seesOnly(name string, want ...string) error {
	got, err := s.addresses(name)
	slices.Sort(want)
	if err == nil && !slices.Equal(got, want) {
		err = fmt.Errorf("DNS answers %v for %s, want %v", got, name, want)
	}
	return err
}

// watchAnswers asks DNS and DiscoverInstances for services of shop again and again, until what it returns is called.
// Each answer must come and hold an address.
func (s *server) watchAnswers(services ...string) (stop func()) {
	ctx, cancel := context.WithCancel(s.T.Context())
	var watchers sync.WaitGroup
	for _, name := range services {
		watch := func(by string, ask func() (int, error)) {
			watchers.Go(func() {
				asked := 0
				for ; ctx.Err() == nil; asked++ {
					if n, err := ask(); (n == 0 || err != nil) && ctx.Err() == nil {
						s.T.Errorf("%s named %d addresses of %s in answer %d: %v", by, n, name, asked+1, err)
						return
					}
				}
				if asked < 10 {
					s.T.Errorf("%s was only asked %d times for %s", by, asked, name)
				}
			})
		}
		watch("DNS", func() (int, error) {
			found, err := s.addresses(name + ".shop")
			return len(found), err
		})
		watch("DiscoverInstances", func() (int, error) {
			out, err := s.cloudMapOnce().DiscoverInstances(ctx, &sd.DiscoverInstancesInput{NamespaceName: aws.String("shop"), ServiceName: &name})
			if err != nil {
				return 0, err
			}
			return len(out.Instances), nil
		})
	}
	return func() {
		cancel()
		watchers.Wait()
	}
}

// writesFail holds that writes of each kind fail within 3 s with an error that SDKs repeat, and change nothing.
func (s *server) writesFail(namespace, service string) {
	s.T.Helper()
	ctx := s.T.Context()
	api, ecsAPI := s.cloudMapOnce(), s.ecsOnce()
	var calls sync.WaitGroup
	for what, write := range map[string]func() error{
		"RegisterInstance": func() error {
			_, err := api.RegisterInstance(ctx, registration(service, "late", "10.0.0.99"))
			return err
		},
		"DeregisterInstance": func() error {
			_, err := api.DeregisterInstance(ctx, &sd.DeregisterInstanceInput{ServiceId: &service, InstanceId: aws.String("0")})
			return err
		},
		"CreateService": func() error {
			_, err := api.CreateService(ctx, &sd.CreateServiceInput{Name: aws.String("late"), NamespaceId: &namespace})
			return err
		},
		"UpdateService": func() error {
			_, err := ecsAPI.UpdateService(ctx, &ecs.UpdateServiceInput{Service: aws.String("cart"), DesiredCount: aws.Int32(9)})
			return err
		},
		"RegisterTaskDefinition": func() error {
			_, err := ecsAPI.RegisterTaskDefinition(ctx, program(s.T, "late", "/bin/true"))
			return err
		},
	} {
		calls.Go(func() {
			began := time.Now()
			err := write()
			took := time.Since(began)
			var response *smithyhttp.ResponseError
			if !errors.As(err, &response) || response.HTTPStatusCode() != http.StatusServiceUnavailable || errorCode(err) != "ServiceUnavailable" {
				s.T.Errorf("%s without a store gives %v, want ServiceUnavailable with the status 503", what, err)
			}
			if took > 3*time.Second {
				s.T.Errorf("%s without a store fails only after %v", what, took)
			}
		})
	}
	calls.Wait()
}

// tellsOfOutage holds that the operator can see it.
func (s *server) tellsOfOutage(tells staleness) {
	s.T.Helper()
	within := 5 * time.Second
	if tells == staleInTime {
		within = 25 * time.Second
	}
	var body string
	eventually(s.T, within, "/healthz tells of the outage", func() bool {
		var status int
		status, body = s.get("/healthz")
		return status == http.StatusServiceUnavailable
	})
	if len(body) == 0 || strings.Count(body, "\n") > 1 {
		s.T.Errorf("/healthz says %q, want one line", body)
	}
	if tells == writesOnly {
		return
	}
	first := s.metric("rollcall_store_lag_seconds")
	eventually(s.T, 5*time.Second, "rollcall_store_lag_seconds grows", func() bool { return s.metric("rollcall_store_lag_seconds") > first })
}

// get reads a page of the API's server.
func (s *server) get(path string) (status int, body string) {
	s.T.Helper()
	resp := must[*http.Response](s.T)(http.Get(s.Info.API + path))
	defer resp.Body.Close()
	return resp.StatusCode, string(must[[]byte](s.T)(io.ReadAll(resp.Body)))
}

// metric reads one gauge or counter.
func (s *server) metric(name string) float64 {
	s.T.Helper()
	_, body := s.get("/metrics")
	for line := range strings.Lines(body) {
		if value, found := strings.CutPrefix(line, name+" "); found {
			return must[float64](s.T)(strconv.ParseFloat(strings.TrimSpace(value), 64))
		}
	}
	s.T.Fatalf("there is no metric %s", name)
	return 0
}

// cluster is an etcd of one member that listens on a loopback address, behind a gate that stays when it goes.
type cluster struct {
	t    testing.TB
	dir  string
	gate *gate
	etcd *embed.Etcd
}

func startCluster(t testing.TB) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: filepath.Join(t.TempDir(), "etcd"), gate: newGate(t)}
	c.start()
	t.Cleanup(c.stop)
	return c
}

func (c *cluster) endpoint() string { return "http://" + c.gate.listener.Addr().String() }

func (c *cluster) start() {
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
	c.gate.leadTo(etcd.Clients[0].Addr().String())
}

func (c *cluster) stop() {
	c.gate.leadTo("")
	if c.etcd != nil {
		c.etcd.Close()
		c.etcd = nil
	}
}

// gate passes on TCP connections, refuses them, or swallows what comes.
type gate struct {
	listener net.Listener
	passing  sync.WaitGroup

	mu     sync.Mutex
	target string // "" refuses
	shut   bool   // swallows
	change *sync.Cond
	conns  map[net.Conn]bool
}

func newGate(t testing.TB) *gate {
	t.Helper()
	g := &gate{listener: must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0")), conns: map[net.Conn]bool{}}
	g.change = sync.NewCond(&g.mu)
	g.passing.Go(func() {
		for {
			client, err := g.listener.Accept()
			if err != nil {
				return
			}
			g.passing.Go(func() { g.pass(client) })
		}
	})
	t.Cleanup(func() {
		g.listener.Close()
		g.open()
		g.leadTo("")
		g.passing.Wait()
	})
	return g
}

// leadTo ends the connections there are and sends new ones to an address; "" refuses them.
func (g *gate) leadTo(target string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.target = target
	for c := range g.conns {
		c.Close()
	}
}

func (g *gate) swallow() { g.set(true) }
func (g *gate) open()    { g.set(false) }

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
	g.change.Broadcast()
}

func (g *gate) pass(client net.Conn) {
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
func (g *gate) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		g.mu.Lock()
		swallowed := g.shut
		for g.shut {
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
