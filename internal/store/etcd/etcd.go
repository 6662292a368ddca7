// Package etcd provides the store's etcd client: a client of the etcd server that runs inside this process, or of an
// external cluster. The user of the client need not know which.
//
// # The embedded server
//
// The embedded server is reached by function calls. It listens neither on TCP nor on a Unix socket, so no other program
// can write to it. Every acknowledged write is on disk (fsync stays enabled). One process at a time can use a data
// folder; a second process receives an error with the id of the first one.
//
// etcd reacts to a failed write to its log or its database by ending the process. In this package, it ends only the
// engine:
//
//	engine fails      writes fail fast, the client is withdrawn
//	──► engine stops  or is fenced off from its files
//	──► space check   the restart waits until the disk has enough space
//	──► new engine    with a new client
//
// To understand this, read the files in this order: engine.go (one run of the server), fatal.go (how the goroutine of a
// fatal error continues, a pure decision), fence_linux.go (how the files are taken from an engine that cannot be
// stopped), guard.go (how results of a failed engine are discarded), space.go (how disk space is reserved in advance,
// so that all this is rare) and upkeep.go (compaction, defragmentation, the NOSPACE alarm).
//
// # Promises
//
//   - A write that has returned success survives kill -9, a full disk, and every restart of the engine.
//   - While writes cannot succeed, [Server.Health] returns the reason and a remedy, and writes fail immediately with an
//     error of kind [fault.Unavailable]. A failed write either was not applied, or its error wraps [ErrOutcomeUnknown].
//   - A full disk does not end the process. When space is available again, writes succeed within a few seconds.
//
// # What a caller must not assume
//
// The client may change at any time, so call [Server.Client] for each use. Watches and lease renewals of the old client
// end (their channels are closed). After a change, list again and apply the difference.
//
// etcd's packages register net/http/pprof and expvar on http.DefaultServeMux, so nothing in this program may serve that
// mux.
//
// The package knows etcd and the file system. It does not know keys, rows or AWS.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/bakingclouds/rollcall/internal/fault"
)

// MaxTxnOps is the maximum number of operations in one transaction. The embedded server is configured with it; an
// external cluster must allow it, which Start checks.
const MaxTxnOps = 10_000

// DefaultQuotaBytes is the size of the database file at which etcd refuses writes: 8 GiB, the suggested maximum
// ("System limits", etcd.io).
const DefaultQuotaBytes int64 = 8 << 30

// A failed engine is restarted after minRestartDelay. Each failed restart doubles the delay.
const (
	minRestartDelay = 250 * time.Millisecond
	maxRestartDelay = 15 * time.Second
)

// ErrOutcomeUnknown is wrapped by the error of a write during which the engine failed: the write may or may not have
// been applied. Any other error about a failed engine means that the write was not applied.
var ErrOutcomeUnknown = errors.New("the outcome of this write is unknown")

// Config configures a [Server].
type Config struct {
	Dir        string       // the embedded server's data folder, created (mode 0700) if missing; unused with Endpoints
	Endpoints  []string     // client URLs or host:port of an external cluster; empty means the embedded server
	Logger     *slog.Logger // nil discards the log
	QuotaBytes int64        // the size limit of the embedded database; 0 means DefaultQuotaBytes
}

// Server is the embedded server, or the connection to an external cluster. It is safe for concurrent use.
type Server struct {
	cfg      Config
	log      *slog.Logger
	lock     *os.File         // the data folder's lock; nil for an external cluster
	external *clientv3.Client // nil for the embedded server

	cancel context.CancelFunc // ends supervise
	done   chan struct{}      // closed when supervise has returned

	mu      sync.Mutex
	eng     *engine       // nil while no engine runs
	downErr error         // the reason why eng is nil
	changed chan struct{} // closed and replaced whenever eng changes
	closed  bool
}

// Start starts the embedded server, or connects to the external cluster, and returns when it accepts writes. ctx bounds
// the wait, except that reading the log of the embedded server is not interrupted. The error contains a remedy.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.QuotaBytes == 0 {
		cfg.QuotaBytes = DefaultQuotaBytes
	}
	s := &Server{cfg: cfg, log: cfg.Logger, changed: make(chan struct{}), done: make(chan struct{})}
	if len(cfg.Endpoints) > 0 {
		if err := s.dial(ctx); err != nil {
			return nil, err
		}
		return s, nil
	}
	if err := s.openFolder(); err != nil {
		return nil, err
	}
	eng, err := s.startEngine(ctx, false)
	if err != nil {
		return nil, errors.Join(err, s.lock.Close())
	}
	s.eng = eng
	run, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go s.supervise(run, eng)
	return s, nil
}

// openFolder creates the data folder and locks it for this process. It sets s.cfg.Dir to the folder's path without
// symbolic links, because fence compares it with paths from the kernel.
func (s *Server) openFolder() error {
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("create the data folder: %w", err)
	}
	dir, err := filepath.Abs(s.cfg.Dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return fmt.Errorf("data folder %s: %w", s.cfg.Dir, err)
	}
	s.cfg.Dir = dir
	s.lock, err = lockFolder(dir)
	return err
}

// Client returns the current client. While no engine runs, it immediately returns the reason as an error. The caller
// must not close the client.
func (s *Server) Client() (*clientv3.Client, error) {
	if s.external != nil {
		return s.external, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.eng == nil {
		return nil, s.downErr
	}
	if err := s.eng.failure(); err != nil {
		return nil, err
	}
	return s.eng.client, nil
}

// Changed returns a channel that is closed when the client is withdrawn or replaced. Call Changed before Client, so
// that no change is missed between the two calls.
func (s *Server) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// Health returns nil if writes can succeed, and otherwise an error with the reason and a remedy. It always returns nil
// for an external cluster, whose state shows only in the results of writes.
func (s *Server) Health() error {
	if s.external != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.eng == nil {
		return s.downErr
	}
	if err := s.eng.failure(); err != nil {
		return err
	}
	return s.eng.refusal()
}

// Trim releases memory that reading the whole database has used. It does nothing for an external cluster.
func (s *Server) Trim() {
	s.mu.Lock()
	eng := s.eng
	s.mu.Unlock()
	if eng != nil {
		eng.trim() // may block forever if the engine fails meanwhile, so s.mu must not be held
	}
}

// Close stops the server, or closes the connection, and unlocks the data folder. Calling it again has no effect.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	if s.external != nil {
		return s.closeExternal()
	}
	s.cancel()
	<-s.done
	return s.lock.Close()
}

// supervise keeps an engine running until ctx is done. It restarts a failed one.
func (s *Server) supervise(ctx context.Context, eng *engine) {
	defer close(s.done)
	for {
		cause := eng.serve(ctx)
		if cause == nil {
			cause = unavailable(errStopped, "the store is closed")
		}
		s.setEngine(nil, cause)
		if ctx.Err() == nil {
			s.log.Error("embedded etcd failed; restarting it", "err", cause, "dir", s.cfg.Dir)
		}
		eng.retire()
		if eng = s.restart(ctx, errors.Is(cause, errDefrag)); eng == nil {
			return
		}
		s.setEngine(eng, nil)
		s.log.Info("embedded etcd restarted; accepting writes again", "dir", s.cfg.Dir)
	}
}

// restart tries to start an engine until it succeeds. It returns nil if ctx is done first. full is passed to
// startEngine.
func (s *Server) restart(ctx context.Context, full bool) *engine {
	// The delay also precedes the first attempt, so that an engine that fails immediately does not cause a busy loop.
	for delay := minRestartDelay; ; delay = min(2*delay, maxRestartDelay) {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(delay):
		}
		logged := false
		report := func(err error) {
			s.setEngine(nil, err)
			if !logged {
				logged = true
				s.log.Error("embedded etcd waits for disk space", "err", err)
			}
		}
		if err := waitForSpace(ctx, s.cfg.Dir, report); err != nil {
			return nil
		}
		eng, err := s.startEngine(ctx, full)
		if err == nil {
			return eng
		}
		if ctx.Err() != nil {
			return nil
		}
		s.log.Error("embedded etcd did not start; retrying", "err", err, "dir", s.cfg.Dir)
		s.setEngine(nil, unavailable(err, "the embedded etcd in %s did not start and is restarting", s.cfg.Dir))
	}
}

// setEngine makes eng the current engine or, if eng is nil, withdraws the client for the reason downErr. It closes the
// channel of Changed.
func (s *Server) setEngine(eng *engine, downErr error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stillDown := s.eng == nil && eng == nil
	s.eng, s.downErr = eng, downErr
	if !stillDown {
		close(s.changed)
		s.changed = make(chan struct{})
	}
}

// unavailable returns an error after which an API client retries.
func unavailable(cause error, msg string, args ...any) *fault.Error {
	e := fault.New(fault.Unavailable, "store", msg, args...)
	e.Err = cause
	return e
}
