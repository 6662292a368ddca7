// Package app builds a server from its parts, starts them in order and stops them in reverse order. It is the only
// package that imports all parts; `rollcall serve`, the demo and the tests of the whole binary start the same server
// here.
//
//	etcd ─ store ─ publish ─ directory ─ DNS
//	         ├─ API (Cloud Map, ECS, CloudWatch Logs, Route 53, STS)
//	         ├─ loops, while this node leads: rollout, scheduler, registrar, expire, nodefailure, reap
//	         ├─ drain, on every node
//	         └─ agent ─ runtime
//
// Start reading at [Start], which is a list of steps, and at [Config] (config.go, vpc.go). Each step registers what
// undoes it. The rules of the domain are elsewhere: this package only decides which part gets which other part, and
// which runtime runs here (runtime.go).
package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/metadata"
	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/api/cloudmap"
	"github.com/bakingclouds/rollcall/internal/api/cloudwatchlogs"
	"github.com/bakingclouds/rollcall/internal/api/ecs"
	"github.com/bakingclouds/rollcall/internal/api/inspect"
	"github.com/bakingclouds/rollcall/internal/api/route53"
	"github.com/bakingclouds/rollcall/internal/api/sts"
	"github.com/bakingclouds/rollcall/internal/atomicfile"
	"github.com/bakingclouds/rollcall/internal/containerlog"
	"github.com/bakingclouds/rollcall/internal/control/drain"
	"github.com/bakingclouds/rollcall/internal/control/expire"
	"github.com/bakingclouds/rollcall/internal/control/nodefailure"
	"github.com/bakingclouds/rollcall/internal/control/publish"
	"github.com/bakingclouds/rollcall/internal/control/reap"
	"github.com/bakingclouds/rollcall/internal/control/registrar"
	"github.com/bakingclouds/rollcall/internal/control/rollout"
	"github.com/bakingclouds/rollcall/internal/control/scheduler"
	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/dns/answer"
	"github.com/bakingclouds/rollcall/internal/dns/forward"
	"github.com/bakingclouds/rollcall/internal/dns/server"
	"github.com/bakingclouds/rollcall/internal/loggroup"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/etcd"
	"github.com/bakingclouds/rollcall/internal/task"
)

// keyPrefix begins all of Rollcall's keys in etcd.
const keyPrefix = "/rollcall/"

// zone is the letter of the one availability zone that a node is in.
const zone = "a"

// App is a running server.
type App struct {
	cfg        Config
	log        *slog.Logger
	adminKeys  awsapi.Pair
	keys       *awsapi.Keys
	logs       *containerlog.Catalog
	engine     *etcd.Server
	db         *store.Store
	dir        *directory.Directory
	dns        *server.Server
	dnsAddrs   []netip.AddrPort
	api        []net.Listener // the one of --api first
	runtime    nodeRuntime    // nil if the node runs no tasks
	runtimeWhy string         // the reason for this runtime
	names      agent.Names    // of tasks
	endpoint   *metadata.Endpoint
	hosts      map[string]netip.Addr // names in the /etc/hosts of tasks with a role
	notes      notes

	// taskNetworks are the networks of containers, whose queries for any name are forwarded. DNS answers before they are
	// set.
	taskNetworks atomic.Pointer[[]netip.Prefix]

	cleanups  []func() // in the order of the start; run in reverse
	stopTasks bool
	stopOnce  sync.Once
	failed    chan error
}

// Start starts a server. When it returns, the API and DNS answer. ctx only limits the start.
func Start(ctx context.Context, cfg Config) (*App, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	a := &App{cfg: cfg, log: cfg.Logger, failed: make(chan error, 1)}
	for _, step := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"open the data folder", a.openData},
		{"bind the API's address", a.bindAPI},
		{"open the store", a.openStore},
		{"join the cluster", a.join},
		{"serve DNS", a.serveDNS},
		{"open the runtime", a.openRuntime},
		{"register the node", a.registerNode},
		{"run the control loops", a.runLoops},
		{"set up names for tasks", a.setUpNames},
		{"open the metadata endpoint", a.openEndpoint},
		{"run the agent", a.runAgent},
		{"serve the API", a.serveAPI},
		{"write the files that lead to this server", a.writeInfo},
	} {
		a.log.Debug("starting", "step", step.name)
		if err := step.run(ctx); err != nil {
			a.Stop()
			return nil, err
		}
	}
	// Reading the state leaves several times as much garbage as state; this returns it to the system.
	go func() {
		debug.FreeOSMemory()
		a.engine.Trim()
	}()
	return a, nil
}

// StopTasks stops the server as Stop does, and also the tasks of this node, without a drain.
func (a *App) StopTasks() {
	a.stopTasks = true
	a.Stop()
}

// Stop stops the server, in the reverse order of the start. Its tasks run on.
func (a *App) Stop() {
	a.stopOnce.Do(func() {
		for i := len(a.cleanups) - 1; i >= 0; i-- {
			a.cleanups[i]()
		}
	})
}

// Failed returns a channel that receives the error of a part that ended without Stop.
func (a *App) Failed() <-chan error { return a.failed }

func (a *App) cleanup(f func()) { a.cleanups = append(a.cleanups, f) }

// background returns a context and a group for goroutines that run until Stop, which cancels the context and waits for
// them.
func (a *App) background() (context.Context, *sync.WaitGroup) {
	run, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	a.cleanup(func() {
		cancel()
		running.Wait()
	})
	return run, &running
}

// fail reports the end of a part; only the first report counts.
func (a *App) fail(err error) {
	select {
	case a.failed <- err:
	default:
	}
}

func (a *App) openData(context.Context) error {
	if err := os.MkdirAll(a.cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w; choose another one with --data DIR", err)
	}
	pair, err := awsapi.LoadOrCreate(a.cfg.DataDir)
	if err != nil {
		return err
	}
	a.adminKeys = pair
	readOnly, err := awsapi.ReadOnlyOf(pair)
	if err != nil {
		return err
	}
	if a.keys, err = awsapi.NewKeys(pair, readOnly); err != nil {
		return err
	}
	if a.logs, err = containerlog.OpenCatalog(containerlog.Root(a.cfg.DataDir)); err != nil {
		return err
	}
	return a.nameNode()
}

// nameNode sets the node's name to the one with which its data folder was first used: the folder's tasks are placed on
// that name, and the machine's host name may change.
func (a *App) nameNode() error {
	file := filepath.Join(a.cfg.DataDir, "node")
	text, err := os.ReadFile(file)
	name := strings.TrimSpace(string(text))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if a.cfg.Node == "" {
			a.cfg.Node = hostName()
		}
		return atomicfile.WriteText(file, []byte(a.cfg.Node+"\n"), true)
	case err != nil:
		return fmt.Errorf("read the node's name: %w", err)
	case name == "":
		// Another name would make the tasks of this folder those of a node that does not exist, and stop them.
		return fmt.Errorf("read the node's name: %s is empty; write into it the name that this node had, by default the "+
			"host name", file)
	case a.cfg.Node != "" && a.cfg.Node != name:
		return fmt.Errorf("--node %s: the data folder %s belongs to node %s and its tasks; "+
			"omit --node, or use another folder", a.cfg.Node, a.cfg.DataDir, name)
	}
	a.cfg.Node = name
	return nil
}

// bindAPI opens the API's port before anything else starts, since a port in use is the most likely failure.
func (a *App) bindAPI(context.Context) error {
	l, err := net.Listen("tcp", a.cfg.API)
	if err != nil {
		return listenError("--api", a.cfg.API, err)
	}
	a.api = append(a.api, l)
	a.cleanup(func() { l.Close() })
	return nil
}

// openStore starts etcd and fills the mirror and the directory.
func (a *App) openStore(ctx context.Context) error {
	var err error
	a.engine, err = etcd.Start(ctx, etcd.Config{Dir: a.cfg.DataDir + "/etcd", Endpoints: a.cfg.Etcd, Logger: a.log})
	if err != nil {
		return err
	}
	a.cleanup(func() {
		if err := a.engine.Close(); err != nil {
			a.log.Error("cannot close etcd", "err", err)
		}
	})
	tables := slices.Concat(registry.Schema(), task.Schema(), loggroup.Schema())
	a.db, err = store.Open(ctx, a.engine.Client, keyPrefix, a.log, tables...)
	if err != nil {
		return err
	}
	a.cleanup(a.db.Close)
	a.dir = directory.New()
	publish.Follow(a.db, a.dir, a.cfg.networks)
	return nil
}

// join makes this node live. It stays live for as long as it may answer clients, so that a registration or a drain that
// waits for all live nodes also waits for this one.
func (a *App) join(ctx context.Context) error {
	leave, err := task.KeepAlive(ctx, a.db, a.cfg.Node)
	if err != nil {
		return fmt.Errorf("make node %s live: %w", a.cfg.Node, err)
	}
	a.cleanup(leave)
	node := a.node(time.Time{})
	_, err = store.Update(ctx, a.db, func(tx *store.Tx) (struct{}, error) {
		if _, known := task.FindNode(tx, a.cfg.Node); !known {
			task.PutNode(tx, node)
		}
		task.ReactivateInstances(tx, a.cfg.Node)
		return struct{}{}, nil
	})
	if err != nil {
		return fmt.Errorf("register node %s: %w", a.cfg.Node, err)
	}
	return nil
}

// serveDNS serves DNS on the configured addresses.
func (a *App) serveDNS(context.Context) error {
	upstreams, err := a.cfg.upstreams()
	if err != nil {
		return err
	}
	a.dns = server.New(server.Config{
		Authority:  &answer.Authority{Directory: a.dir},
		Forward:    &forward.Config{Upstreams: upstreams},
		MayRecurse: a.mayRecurse,
		Stale:      func() bool { stale, _ := a.db.Stale(); return stale },
		Log:        a.log,
	})
	a.cleanup(a.dns.Shutdown)
	for _, addr := range a.cfg.DNS {
		at, err := a.dns.Listen(addr)
		if err != nil {
			return fmt.Errorf("--dns: %w", err)
		}
		a.dnsAddrs = append(a.dnsAddrs, at)
	}
	return nil
}

// runLoops starts the control loops: those that work while this node leads, and the drain loop of every node.
func (a *App) runLoops(context.Context) error {
	loops := []interface{ Run(context.Context) error }{
		rollout.New(a.db, a.log),
		scheduler.New(a.db, a.log),
		registrar.New(a.db, a.log, zone, a.cfg.DrainCap),
		expire.New(a.db, a.engine.Health, a.log),
	}
	run, running := a.background()
	running.Go(func() {
		a.db.Lead(run, a.cfg.Node, func(ctx context.Context) {
			a.log.Info("this node leads", "node", a.cfg.Node)
			var g errgroup.Group
			for _, l := range loops {
				g.Go(func() error { return l.Run(ctx) })
			}
			g.Go(func() error { return reap.Run(ctx, a.db, a.log) })
			g.Go(func() error {
				return nodefailure.Run(ctx, a.db, nodefailure.Config{
					Self: a.cfg.Node, Grace: a.cfg.NodeGrace, Writable: a.engine.Health, Log: a.log,
				})
			})
			_ = g.Wait() // each returns the error of ctx
		})
	})
	running.Go(func() { _ = drain.New(a.db, a.dir, a.cfg.Node, a.log).Run(run) }) // returns the error of run
	return nil
}

// runAgent starts the agent, which runs the tasks placed on this node, and serves its tasks' metadata.
func (a *App) runAgent(context.Context) error {
	if a.runtime == nil {
		return nil
	}
	run, running := a.background()
	ag := agent.New(a.db, a.runtime, agent.Config{
		Node: a.cfg.Node, VPC: a.cfg.vpcOf, Names: a.names, DNS: taskDNS{a.dns},
		Environment: a.endpoint.Environment, Hosts: a.hosts,
		Secrets: agent.SecretResolver{
			Secrets: filepath.Join(a.cfg.DataDir, "secrets"),
			Files:   filepath.Join(a.cfg.DataDir, "files"),
		},
		Logs: a.logs, Log: a.log,
	})
	a.cleanup(a.endpoint.Close) // before the wait for Serve
	running.Go(func() {
		if err := a.endpoint.Serve(ag.Find); err != nil && run.Err() == nil {
			a.fail(err)
		}
	})
	running.Go(func() {
		if err := ag.Run(run); err != nil && run.Err() == nil {
			a.fail(fmt.Errorf("the agent of node %s: %w", a.cfg.Node, err))
		}
	})
	return nil
}

// maxConns is the number of connections that the API keeps open, which take some 100 MB of memory at most. Further
// clients wait. Without the limit, one client could use up the file descriptors of the process, including those for DNS
// and etcd.
const maxConns = 4096

// serveAPI serves the AWS APIs.
func (a *App) serveAPI(context.Context) error {
	aws := awsapi.NewHandler(awsapi.Config{Account: a.cfg.Account, Keys: a.keys, Logger: a.log},
		cloudmap.New(a.db, a.dir, a.cfg.knowsVPC, time.Now), ecs.New(a.db, zone, time.Now),
		route53.New(a.db, &answer.Authority{Directory: a.dir}), sts.API{},
		inspect.New(a.db, a.dir, a.logs, a.currentNotes), cloudwatchlogs.New(a.db, a.logs, time.Now))
	srv := &http.Server{
		Handler:           a.routes(aws),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	for _, l := range a.api {
		go func() {
			if err := srv.Serve(netutil.LimitListener(l, maxConns)); !errors.Is(err, http.ErrServerClosed) {
				a.fail(fmt.Errorf("the API on %s: %w", l.Addr(), err))
			}
		}()
	}
	a.cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if srv.Shutdown(ctx) != nil {
			srv.Close()
		}
	})
	return nil
}
