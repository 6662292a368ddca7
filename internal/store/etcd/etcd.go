// Package etcd gives the store its one etcd client: of the etcd server that runs inside this process, or of
// an external cluster. Whoever uses the client cannot tell which.
//
// # The embedded server
//
// It is reached by function calls and listens nowhere, neither on TCP nor on a unix socket, so nobody writes
// around the API. Every acknowledged write is on disk (fsync stays on). One process at a time uses a data
// folder; a second one is told which process holds it.
//
// etcd answers a failed write to its log or its database by ending the process. Here it ends the engine only:
//
//	engine fails ──► client withdrawn ──► engine stopped, or fenced off ──► space? ──► started again
//	                 writes fail fast     from its files                               new client
//
// The files to read for that, in this order: engine.go (one run of the server), verdict.go (what happens to the
// goroutine on which etcd gives up, a pure decision), fence_linux.go (an engine that cannot be stopped loses
// its files), guard.go (nothing a failed engine says is believed), space.go (disk space is reserved ahead, so
// that all of this stays rare) and upkeep.go (compaction, defragmentation, the NOSPACE alarm).
//
// # Promises
//
//   - A write that returned success survives kill -9, a full disk and every restart of the engine.
//   - While writes cannot succeed, [Server.Health] says why and what to do, and writes fail at once with an
//     error of kind [fault.Unavailable]. A failed write either was not done, or wraps [ErrOutcomeUnknown].
//   - A full disk does not end the process. When space returns, writes go on within a few seconds.
//
// # What a caller may not assume
//
// The client may be exchanged at any time: ask [Server.Client] for each use. Watches and lease keep-alives of
// the old client end (their channels close). After an exchange list again and apply the difference.
//
// Importing etcd registers net/http/pprof and expvar on http.DefaultServeMux, so nothing in this program may
// serve that mux.
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

// MaxTxnOps is the number of operations that one transaction may hold, in the embedded server and, checked at
// the start, in an external cluster.
const MaxTxnOps = 10_000

// DefaultQuotaBytes is the size of the database file at which etcd refuses writes: 8 GiB, the most that the
// etcd authors suggest ("System limits", etcd.io).
const DefaultQuotaBytes int64 = 8 << 30

// A failed engine is started again after minRestartDelay; each failed start doubles the delay.
const (
	minRestartDelay = 250 * time.Millisecond
	maxRestartDelay = 15 * time.Second
)

// ErrOutcomeUnknown is wrapped by the error of a write that was under way when the engine failed: it may or may
// not have been done. Any other failure to reach the engine means that the write was not done.
var ErrOutcomeUnknown = errors.New("the outcome of this write is unknown")

// Config says where the state lives.
type Config struct {
	Dir        string       // the embedded server's folder, made if missing, mode 0700; unused with Endpoints
	Endpoints  []string     // an external cluster's client URLs or host:port; empty runs the embedded server
	Logger     *slog.Logger // nil discards
	QuotaBytes int64        // size limit of the embedded database; 0 means DefaultQuotaBytes
}

// Server is the embedded server, or the connection to an external cluster. Its methods may be called from any
// goroutine.
type Server struct {
	cfg      Config
	log      *slog.Logger
	lock     *os.File         // the data folder's lock; nil when external
	external *clientv3.Client // nil when embedded

	cancel context.CancelFunc // ends supervise
	done   chan struct{}      // closed when supervise has ended

	mu      sync.Mutex
	eng     *engine       // nil while the engine is down
	down    error         // why eng is nil
	changed chan struct{} // closed and replaced whenever eng changes
	closed  bool
}

// Start starts the embedded server, or dials the external cluster, and returns when it takes writes. ctx
// bounds the wait for that; reading the log of an embedded server is not cut short. An error says what to do.
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

// openFolder makes the data folder and takes it for this process. From here on s.cfg.Dir is the path by which the
// kernel knows the folder, as fence needs it.
func (s *Server) openFolder() error {
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("data folder cannot be made: %w", err)
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

// Client returns the client of the moment, or, while the engine is down, at once the reason. Do not close it.
func (s *Server) Client() (*clientv3.Client, error) {
	if s.external != nil {
		return s.external, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.eng == nil {
		return nil, s.down
	}
	if err := s.eng.failure(); err != nil {
		return nil, err
	}
	return s.eng.client, nil
}

// Changed returns a channel that is closed when the client is next withdrawn or exchanged. Take the channel
// first and the client after it, so that no change falls between the two.
func (s *Server) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// Health returns nil, or why writes fail now and what to do about it. For an external cluster it is always nil:
// there each write tells.
func (s *Server) Health() error {
	if s.external != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.eng == nil {
		return s.down
	}
	if err := s.eng.failure(); err != nil {
		return err
	}
	return s.eng.hindrance()
}

// Trim gives back memory after everything has been read. It does nothing for an external cluster.
func (s *Server) Trim() {
	s.mu.Lock()
	eng := s.eng
	s.mu.Unlock()
	if eng != nil {
		eng.trim() // it may wait for ever in an engine that died meanwhile
	}
}

// Close stops the server, or closes the connection, and gives the data folder free. It may be called again.
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

// supervise keeps one engine running until ctx ends.
func (s *Server) supervise(ctx context.Context, eng *engine) {
	defer close(s.done)
	for {
		cause := eng.serve(ctx)
		if cause == nil {
			cause = unavailable(errStopped, "the store is closed")
		}
		s.exchange(nil, cause)
		if ctx.Err() == nil {
			s.log.Error("the embedded etcd stopped and will be started again", "error", cause, "dir", s.cfg.Dir)
		}
		eng.retire()
		if eng = s.restart(ctx, errors.Is(cause, errDefrag)); eng == nil {
			return
		}
		s.exchange(eng, nil)
		s.log.Info("the embedded etcd takes writes again", "dir", s.cfg.Dir)
	}
}

// restart tries until an engine runs; nil when ctx ends before. full is for startEngine.
func (s *Server) restart(ctx context.Context, full bool) *engine {
	for delay := minRestartDelay; ; delay = min(2*delay, maxRestartDelay) { // also the first time, so that no failure spins
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(delay):
		}
		waiting := false
		tell := func(err error) {
			s.exchange(nil, err)
			if !waiting {
				waiting = true
				s.log.Error("the embedded etcd waits for space on the disk", "error", err)
			}
		}
		if err := awaitSpace(ctx, s.cfg.Dir, tell); err != nil {
			return nil
		}
		eng, err := s.startEngine(ctx, full)
		if err == nil {
			return eng
		}
		if ctx.Err() != nil {
			return nil
		}
		s.log.Error("the embedded etcd did not start; trying again", "error", err, "dir", s.cfg.Dir)
		s.exchange(nil, unavailable(err, "the embedded etcd in %s did not start; it is tried again", s.cfg.Dir))
	}
}

// exchange installs eng, or withdraws the client for the reason down, and wakes those who wait on Changed.
func (s *Server) exchange(eng *engine, down error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	withdrawnBefore := s.eng == nil && eng == nil
	s.eng, s.down = eng, down
	if !withdrawnBefore {
		close(s.changed)
		s.changed = make(chan struct{})
	}
}

// unavailable makes the error that a client of the API sees as "try again".
func unavailable(cause error, msg string, args ...any) *fault.Error {
	e := fault.New(fault.Unavailable, "store", msg, args...)
	e.Err = cause
	return e
}
