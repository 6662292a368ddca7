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
	// stopTimeout is the longest time that an engine may take to stop before it is fenced off from its files. A healthy
	// engine takes some tens of milliseconds.
	stopTimeout = 2 * time.Second

	// checkInterval is the time between two checks of the disk space. Alarms and compaction are checked every fourth
	// time.
	checkInterval = 250 * time.Millisecond
)

// engine is one run of the embedded server, from its start to its stop or failure. A failed engine is never reused.
type engine struct {
	dir   string
	quota int64
	log   *slog.Logger
	space *headroom

	server *etcdserver.EtcdServer // nil if it did not start
	client *clientv3.Client

	// The reasons why a running engine rejects writes; nil if it accepts them.
	lowSpace  atomic.Pointer[error]
	overQuota atomic.Pointer[error]

	ctx    context.Context         // canceled by fail; later results of the engine are discarded
	cancel context.CancelCauseFunc // called by fail only
	halted chan struct{}           // closed by halt when etcd's main loop accepts no more entries

	stopping atomic.Bool // retire has begun
	trimMu   sync.Mutex  // held by trim
	parking  sync.Once
	parked   chan struct{} // closed when fatalHook has parked a goroutine, so that the engine cannot stop completely
}

// startEngine starts an engine and waits until it accepts writes. full means that its database is at the size limit and
// is defragmented first.
func (s *Server) startEngine(ctx context.Context, full bool) (*engine, error) {
	if err := removeUnfinishedStart(s.cfg.Dir); err != nil {
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
	e.ctx, e.cancel = context.WithCancelCause(context.Background())
	if err := e.start(ctx, full); err != nil {
		e.fail(err)
		e.retire()
		return nil, fmt.Errorf("start etcd in %s: %w", e.dir, err)
	}
	e.client = guardedClient(e)
	e.checkSpace()
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
	case <-e.ctx.Done():
		select {
		case r = <-booted: // the server may have started in spite of the failure, and must be stopped then
		case <-time.After(stopTimeout): // the goroutine is parked
		}
	}
	if e.server = r.server; e.server == nil {
		return cmp.Or(r.err, e.failure())
	}
	select {
	case <-e.server.ReadyNotify():
		return nil
	case <-e.ctx.Done():
		return e.failure()
	case <-ctx.Done():
		return fmt.Errorf("not ready in time: %w", context.Cause(ctx))
	}
}

// boot runs embed.StartEtcd. A fatal error during the start unwinds to this function; actionFor in fatal.go recognizes
// it by its name.
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

// config returns etcd's configuration. Fields that it does not set have etcd's defaults.
func (e *engine) config(full bool) *embed.Config {
	c := embed.NewConfig()
	c.Dir = e.dir
	c.Name = "rollcall"
	c.ListenPeerUrls, c.ListenClientUrls = nil, nil
	// A member must have a peer URL. Nothing listens on it or connects to it.
	c.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: "localhost:2380"}}
	c.AdvertiseClientUrls = nil
	c.InitialCluster = c.Name + "=http://localhost:2380"
	c.EnableGRPCGateway = false

	c.MaxTxnOps = MaxTxnOps
	c.QuotaBackendBytes = e.quota
	c.AutoCompactionRetention = "0" // upkeep compacts
	c.BootstrapDefragThresholdMegabytes = uint(e.space.startDefrag(full) >> 20)

	// No peer has to catch up, so the raft log in memory and the WAL on disk can be short: 10,000 entries between two
	// snapshots, 500 entries kept before the last one, and two WAL files in addition to those in use.
	c.SnapshotCount = 10_000
	c.SnapshotCatchUpEntries = 500
	c.MaxSnapFiles, c.MaxWalFiles = 2, 2

	// A single member elects itself within one election timeout, which is most of the start time. A shorter timeout
	// saves little, and a longer one does not reduce the 10 ms of CPU time that an idle etcd uses per second.
	c.TickMs, c.ElectionMs = 50, 250

	// etcd's default of 100 ms would cause warnings on a small machine under load.
	c.WarningApplyDuration = time.Second
	c.WarningUnaryRequestDuration = time.Second

	quiet := func() bool { return e.stopping.Load() || e.failure() != nil }
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(
		zap.New(newCore(e.log, quiet), zap.WithFatalHook(fatalHook{e}), zap.WithPanicHook(fatalHook{e})))
	return c
}

// serve checks the disk space until ctx is done, and returns nil, or until the engine fails, and returns the cause.
func (e *engine) serve(ctx context.Context) error {
	t := time.NewTicker(checkInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.ctx.Done():
			return e.failure()
		case <-t.C:
			e.checkSpace()
		}
	}
}

// fail marks the engine as failed. If it is called again, the first cause remains.
func (e *engine) fail(cause error) {
	e.cancel(unavailable(cause, "the embedded etcd in %s failed and is restarting", e.dir))
}

// failure returns the reason why the engine has failed, or nil if it has not.
func (e *engine) failure() error { return context.Cause(e.ctx) }

// refusal returns the reason why the running engine rejects writes, or nil if it accepts them.
func (e *engine) refusal() error {
	if p := e.lowSpace.Load(); p != nil {
		return *p
	}
	if p := e.overQuota.Load(); p != nil {
		return *p
	}
	return nil
}

// admitWrite returns an error if a request of n bytes that needs space must be rejected before it reaches etcd.
func (e *engine) admitWrite(need spaceNeed, n int64) error {
	if e.space.admit(n) {
		e.checkSpace()
	}
	if p := e.lowSpace.Load(); p != nil {
		return *p
	}
	if p := e.overQuota.Load(); p != nil && need == databaseSpace {
		return *p
	}
	return nil
}

// atLimit returns the error of a write to a database that has reached its size limit.
func (e *engine) atLimit(remedy string) error {
	return unavailable(nil, "the etcd database in %s has reached its size limit of %s; %s",
		e.dir, humanize.IBytes(uint64(e.quota)), remedy)
}

// checkSpace reserves disk space for the database, and notes whether writes must be rejected.
func (e *engine) checkSpace() {
	err := e.space.check(e.server.Backend().Size())
	was := e.lowSpace.Load()
	switch {
	case errors.Is(err, errNoSpareSegment):
		e.fail(err)
	case err != nil:
		e.lowSpace.Store(&err)
		if was == nil {
			e.log.Error("rejecting writes for lack of disk space", "err", err)
		}
	default:
		e.lowSpace.Store(nil)
		if was != nil {
			e.log.Info("disk space recovered; accepting writes again", "dir", e.dir)
		}
	}
}

// hasSpaceAlarm reports whether etcd has raised its NOSPACE alarm, because the database has reached its size limit.
func (e *engine) hasSpaceAlarm() bool {
	return slices.ContainsFunc(e.server.Alarms(), func(a *pb.AlarmMember) bool {
		return a.Alarm == pb.AlarmType_NOSPACE
	})
}

// trim removes the database's pages from the process's resident memory, if the system supports it. A failure has no
// effect other than higher memory use.
//
// The file must stay mapped at the same address meanwhile, or trim could drop the pages of another mapping. bbolt
// remaps and closes the file only while no read transaction is open, and retire waits for trimMu.
func (e *engine) trim() {
	tx := e.server.Backend().ConcurrentReadTx()
	tx.RLock()
	defer tx.RUnlock()
	e.trimMu.Lock()
	defer e.trimMu.Unlock()
	if e.stopping.Load() || e.failure() != nil {
		return
	}
	if err := dropPages(e.space.dbPath()); err != nil {
		e.log.Debug("cannot drop the database's pages from memory", "err", err, "dir", e.dir)
	}
}

// retire stops the engine. It stops a healthy engine completely, with its last commit. It stops a failed one as far as
// possible, and then fences it off from its files. When retire returns, another engine can open the files, and this
// engine cannot write to them.
func (e *engine) retire() {
	e.trimMu.Lock() // trim does nothing once stopping is set
	e.stopping.Store(true)
	e.trimMu.Unlock()
	if e.client != nil {
		go func() { _ = e.client.Close() }() // may block on a parked goroutine
	}
	clean := e.halt()
	e.fail(errStopped) // ends calls that still wait for a result
	e.space.close()    // the headroom has the database file open too
	fenced, err := fence(filepath.Join(e.dir, "member"))
	switch {
	case err != nil:
		e.log.Error("cannot fence off a failed etcd from its files", "err", err, "dir", e.dir)
	case !clean:
		e.log.Warn("fenced off a failed etcd that did not stop; its memory is released when the process restarts",
			"files", fenced, "dir", e.dir)
	}
}

var errStopped = errors.New("the server was stopped")

// halt stops etcd's main loop, releases the goroutines that wait for that, and waits until the rest of the server has
// stopped. It returns false if the server did not stop or cannot stop, or never ran.
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
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	select {
	case <-e.server.StoppingNotify():
		close(e.halted)
	case <-timeout.C:
		return false // goroutines that wait for halted stay blocked
	}
	select {
	case <-stopped:
		return true
	case <-e.parked:
	case <-timeout.C:
	}
	return false
}
