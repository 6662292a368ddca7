package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dustin/go-humanize"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.uber.org/zap"
)

const (
	// stopPatience is how long an engine may take to stop before its files are taken from it. A healthy one
	// needs some tens of milliseconds.
	stopPatience = 2 * time.Second

	// look is how often space, alarms and the need for compaction are looked at.
	look = 250 * time.Millisecond
)

// engine is one run of the embedded server, from start to stop or failure. A failed engine is never used again.
type engine struct {
	dir   string
	quota int64
	log   *slog.Logger
	space *headroom

	server *etcdserver.EtcdServer // nil if it did not come up
	client *clientv3.Client

	lowSpace  atomic.Pointer[error] // why writes are refused now though the engine runs; nil if they are not
	overQuota atomic.Pointer[error] // likewise

	life   context.Context         // ended by fail: from here on nothing the engine says is believed
	end    context.CancelCauseFunc // for fail only
	halted chan struct{}           // closed by halt: etcd's main loop takes no more entries

	stopping atomic.Bool // retire has begun
	trimming sync.Mutex
	parking  sync.Once
	parked   chan struct{} // closed when judge has parked a goroutine: the engine cannot be stopped wholly
}

// startEngine starts an engine and waits until it takes writes. With full, its database is at the size limit and
// is defragmented first.
func (s *Server) startEngine(ctx context.Context, full bool) (*engine, error) {
	if err := clearUnfinished(s.cfg.Dir); err != nil {
		return nil, err
	}
	space, err := openHeadroom(s.cfg.Dir)
	if err != nil {
		return nil, err
	}
	e := &engine{
		dir:    s.cfg.Dir,
		quota:  s.cfg.QuotaBytes,
		log:    s.log,
		space:  space,
		halted: make(chan struct{}),
		parked: make(chan struct{}),
	}
	e.life, e.end = context.WithCancelCause(context.Background())
	if err := e.start(ctx, full); err != nil {
		e.fail(err)
		e.retire()
		return nil, fmt.Errorf("start etcd in %s: %w", e.dir, err)
	}
	e.client = guardedClient(e)
	e.lookAtSpace()
	go new(upkeep).run(e)
	return e, nil
}

func (e *engine) start(ctx context.Context, full bool) error {
	type result struct {
		server *etcdserver.EtcdServer
		err    error
	}
	booted := make(chan result, 1)
	go func() {
		server, err := e.boot(full)
		booted <- result{server, err}
	}()
	var r result
	select {
	case r = <-booted:
	case <-e.life.Done():
		select {
		case r = <-booted: // the rest of it may still come up, and must be stopped then
		case <-time.After(stopPatience): // parked
		}
	}
	if e.server = r.server; e.server == nil {
		return cmp.Or(r.err, e.failure())
	}
	select {
	case <-e.server.ReadyNotify():
		return nil
	case <-e.life.Done():
		return e.failure()
	case <-ctx.Done():
		return fmt.Errorf("not ready in time: %w", context.Cause(ctx))
	}
}

// boot runs embed.StartEtcd. It is a frame that judge looks for: what etcd gives up on while it starts unwinds
// to here.
func (e *engine) boot(full bool) (server *etcdserver.EtcdServer, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	etcd, err := embed.StartEtcd(e.config(full))
	if err != nil {
		return nil, err
	}
	return etcd.Server, nil
}

// config is etcd's configuration; what is not set here is etcd's default.
func (e *engine) config(full bool) *embed.Config {
	c := embed.NewConfig()
	c.Dir = e.dir
	c.Name = "rollcall"
	c.ListenPeerUrls, c.ListenClientUrls = nil, nil
	// A member must have a peer URL, although nobody listens there and nobody dials it.
	c.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: "localhost:2380"}}
	c.AdvertiseClientUrls = nil
	c.InitialCluster = c.Name + "=http://localhost:2380"
	c.EnableGRPCGateway = false

	c.MaxTxnOps = MaxTxnOps
	c.QuotaBackendBytes = e.quota
	c.AutoCompactionRetention = "0" // upkeep compacts
	c.BootstrapDefragThresholdMegabytes = uint(e.space.startDefrag(full) >> 20)

	// No peer ever has to catch up, so the raft log in memory and the WAL on disk can be short: 10,000
	// entries between two snapshots, 500 kept behind the last, two WAL files kept beside those in use.
	c.SnapshotCount = 10_000
	c.SnapshotCatchUpEntries = 500
	c.MaxSnapFiles, c.MaxWalFiles = 2, 2

	// A lone member elects itself within one election time-out, so this is most of the start time; shorter ones
	// gain little and longer ones save none of the 10 ms of CPU that an idle etcd takes a second.
	c.TickMs, c.ElectionMs = 50, 250

	// Under load on a small machine etcd's own 100 ms is no news.
	c.WarningApplyDuration = time.Second
	c.WarningUnaryRequestDuration = time.Second

	quiet := func() bool { return e.stopping.Load() || e.failure() != nil }
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(
		zap.New(newCore(e.log, quiet), zap.WithFatalHook(onGiveUp{e}), zap.WithPanicHook(onGiveUp{e})))
	return c
}

// serve looks after the engine until ctx ends (nil) or the engine fails (the cause).
func (e *engine) serve(ctx context.Context) error {
	t := time.NewTicker(look)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.life.Done():
			return e.failure()
		case <-t.C:
			e.lookAtSpace()
		}
	}
}

// fail marks the engine as dead, for the first cause given.
func (e *engine) fail(cause error) {
	e.end(unavailable(cause, "the embedded etcd in %s stopped; it is started again by itself", e.dir))
}

// failure returns why the engine is dead, nil while it lives.
func (e *engine) failure() error { return context.Cause(e.life) }

// hindrance returns why writes are refused though the engine lives, or nil.
func (e *engine) hindrance() error {
	if p := e.lowSpace.Load(); p != nil {
		return *p
	}
	if p := e.overQuota.Load(); p != nil {
		return *p
	}
	return nil
}

// letIn decides on a write of n bytes before etcd sees it.
func (e *engine) letIn(does effect, n int64) error {
	if e.space.admit(n) {
		e.lookAtSpace()
	}
	if p := e.lowSpace.Load(); p != nil {
		return *p
	}
	if p := e.overQuota.Load(); p != nil && does == adds {
		return *p
	}
	return nil
}

// atLimit is the error of a write to a database that has reached its size limit.
func (e *engine) atLimit(remedy string) error {
	return unavailable(nil, "the etcd database in %s has reached its size limit of %s: %s",
		e.dir, humanize.IBytes(uint64(e.quota)), remedy)
}

// lookAtSpace reserves space for the database and notes whether writes must be refused.
func (e *engine) lookAtSpace() {
	err := e.space.look(e.server.Backend().Size())
	was := e.lowSpace.Load()
	switch {
	case errors.Is(err, errSpare):
		e.fail(err)
	case err != nil:
		e.lowSpace.Store(&err)
		if was == nil {
			e.log.Error("writes are refused", "error", err)
		}
	default:
		e.lowSpace.Store(nil)
		if was != nil {
			e.log.Info("writes are taken again, the disk has space", "dir", e.dir)
		}
	}
}

// noSpace tells whether etcd has raised its NOSPACE alarm: the database has reached its size limit.
func (e *engine) noSpace() bool {
	return slices.ContainsFunc(e.server.Alarms(), func(a *pb.AlarmMember) bool {
		return a.Alarm == pb.AlarmType_NOSPACE
	})
}

// trim takes the database's pages out of the process's memory, where the system can. What fails costs memory only.
//
// The file stays mapped where it is meanwhile, so that nothing else can come to stand there: bbolt moves and closes it
// only when no read transaction is open, and retire waits.
func (e *engine) trim() {
	tx := e.server.Backend().ConcurrentReadTx()
	tx.RLock()
	defer tx.RUnlock()
	e.trimming.Lock()
	defer e.trimming.Unlock()
	if e.stopping.Load() || e.failure() != nil {
		return
	}
	if err := dropPages(e.space.dbPath()); err != nil {
		e.log.Debug("the database's pages stay in memory", "error", err, "dir", e.dir)
	}
}

// retire stops the engine: a healthy one wholly, with its last commit; a failed one as far as it can be stopped,
// and then its files are taken from it. When retire returns, the folder's files can be opened anew and this
// engine cannot write to them.
func (e *engine) retire() {
	e.trimming.Lock() // no trim is under way from here on
	e.stopping.Store(true)
	e.trimming.Unlock()
	if e.client != nil {
		go e.client.Close() // it may wait for a parked goroutine
	}
	clean := e.halt()
	e.fail(errStopped) // whoever still waits for an answer may go
	e.space.close()    // it holds the database open too
	fenced, err := fence(filepath.Join(e.dir, "member"))
	switch {
	case err != nil:
		e.log.Error("a failed etcd could not be kept from its files", "error", err, "dir", e.dir)
	case !clean:
		e.log.Warn("a failed etcd could not be stopped and was fenced off; its memory comes back at the next restart of the process",
			"files", fenced, "dir", e.dir)
	}
}

var errStopped = errors.New("the server has been stopped")

// halt asks etcd's main loop to stop, lets the goroutines that wait for that go on, and waits for the rest of
// the server. False means that it did not or cannot stop, or never ran.
func (e *engine) halt() bool {
	if e.server == nil {
		close(e.halted)
		return false
	}
	stopped := make(chan struct{})
	go func() {
		e.server.HardStop()
		close(stopped)
	}()
	patience := time.NewTimer(stopPatience)
	defer patience.Stop()
	select {
	case <-e.server.StoppingNotify():
		close(e.halted)
	case <-patience.C:
		return false // those who wait for halted stay parked
	}
	select {
	case <-stopped:
		return true
	case <-e.parked:
	case <-patience.C:
	}
	return false
}
