package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/addrlease"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// idleTime is how long a supervisor without tasks and without clients waits before it ends.
const idleTime = 10 * time.Second

// readyVariable names the descriptor on which a new supervisor says "ready", or why it cannot be.
const readyVariable = "ROLLCALL_SUPERVISOR_READY_FD"

// readyLine is what it says when it listens.
const readyLine = "ready\n"

// errRunning says that the data folder has a supervisor already.
var errRunning = errors.New("a supervisor runs already")

// supervisor is the parent of the containers of one data folder.
type supervisor struct {
	dir       string
	log       *slog.Logger
	bootID    string
	reaper    *reaper
	leases    *addrlease.Pool
	listeners *listenerWatch
	logs      *logWatch
	end       context.CancelFunc // ends the supervisor

	createMu sync.Mutex // creates and removes tasks one at a time
	// mountFailure says why no private resolver can be had, or nil; it is found out once.
	mountFailure func() error

	mu        sync.Mutex
	tasks     map[string]*task
	clients   map[*client]bool
	idleSince time.Time
	execs     uint64 // counts, so that each has a tag of its own
}

// Supervise is the supervisor of a data folder. It returns nil when it had nothing to do for [idleTime], when it was told
// to end, and on SIGTERM; its containers go on in the latter case. An error says that it could not begin.
func Supervise(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	err = supervise(dir, readyPipe())
	if errors.Is(err, errRunning) {
		return fmt.Errorf("%s: %w", dir, err)
	}
	return err
}

// readyPipe is where the server that started this supervisor waits; nil when a person did.
func readyPipe() *os.File {
	fd, err := strconv.Atoi(os.Getenv(readyVariable))
	if err != nil {
		return nil
	}
	os.Unsetenv(readyVariable)
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "ready")
}

func supervise(dir string, ready *os.File) (err error) {
	defer func() {
		if ready != nil && err != nil {
			fmt.Fprintln(ready, err)
		}
	}()
	debug.SetGCPercent(50) // it holds little and lives long: memory counts more than time
	syscall.Umask(0o077)
	if err := os.MkdirAll(tasksFolder(dir), 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE) // meant for the server, if at all
	ctx, end := context.WithCancel(ctx)
	defer end()
	s, err := newSupervisor(dir, end)
	if err != nil {
		return err
	}
	if err := s.load(); err != nil {
		return err
	}
	listener, err := listen(dir)
	if err != nil {
		return err
	}
	defer listener.Close()
	go s.accept(ctx, listener)
	go s.watchListeners(ctx)
	s.log.Info("supervisor ready", "dir", dir, "tasks", len(s.tasks))
	if ready != nil {
		fmt.Fprint(ready, readyLine)
		ready.Close()
		ready = nil
	}
	s.keepHouse(ctx)
	s.log.Info("supervisor ends")
	return nil
}

func newSupervisor(dir string, end context.CancelFunc) (*supervisor, error) {
	bootID, err := readBootID()
	if err != nil {
		return nil, err
	}
	leases, err := addrlease.Open(quarantine, filepath.Join(dir, "resting.json"))
	if err != nil {
		return nil, err
	}
	reaper, err := newReaper()
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	return &supervisor{
		dir:       dir,
		log:       log,
		logs:      newLogWatch(log),
		bootID:    bootID,
		reaper:    reaper,
		leases:    leases,
		listeners: newListenerWatch(leases.Ephemeral),
		end:       end,
		mountFailure: sync.OnceValue(func() error {
			return tryMount(context.Background(), reaper.start)
		}),
		tasks:     map[string]*task{},
		clients:   map[*client]bool{},
		idleSince: time.Now(),
	}, nil
}

// keepHouse does what is due from time to time, until ctx ends or there is nothing left to do.
func (s *supervisor) keepHouse(ctx context.Context) {
	logs := time.NewTicker(logInterval)
	defer logs.Stop()
	idle := time.NewTicker(time.Second)
	defer idle.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-logs.C:
			s.rotateLogs()
		case <-idle.C:
			if s.idle(time.Now()) {
				return
			}
		}
	}
}

// idle says that there has been neither a task nor a client for so long that the supervisor may end. idleSince is set
// when the last of them goes.
func (s *supervisor) idle(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tasks) == 0 && len(s.clients) == 0 && now.Sub(s.idleSince) >= idleTime
}

// lockFolder makes sure that the folder has one supervisor. The lock ends with the process, and no child inherits it.
func lockFolder(dir string) (*os.File, error) {
	file, err := os.OpenFile(lockFile(dir), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer file.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock the data folder: %w", err)
		}
		holder := make([]byte, 32)
		n, _ := file.Read(holder) // for the message only
		return nil, fmt.Errorf("%w (process %s)", errRunning, strings.TrimSpace(string(holder[:n])))
	}
	if err := file.Truncate(0); err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	if _, err := fmt.Fprintln(file, os.Getpid()); err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	return file, nil
}

// answer carries out one call. A call is idempotent, so a client that lost the reply asks again.
func (s *supervisor) answer(ctx context.Context, call string, raw json.RawMessage) (any, error) {
	switch call {
	case callCreate:
		return answering(raw, s.create)
	case callList:
		return s.list(), nil
	case callRemove:
		return answering(raw, func(a taskArgs) (any, error) {
			s.mu.Lock()
			t := s.tasks[a.TaskID]
			s.mu.Unlock()
			if t == nil {
				return nil, nil
			}
			return nil, s.remove(t)
		})
	case callStart:
		return answering(raw, func(a containerArgs) (any, error) {
			t, c, err := s.find(a.TaskID, a.Container)
			if err != nil {
				return nil, err
			}
			return nil, s.start(t, c)
		})
	case callStop:
		return answering(raw, func(a stopArgs) (any, error) {
			t, c, err := s.find(a.TaskID, a.Container)
			if fault.Is(err, fault.NotFound) {
				return nil, nil
			}
			s.stop(t, c, a.Timeout)
			return nil, nil
		})
	case callExec:
		return answering(raw, func(a execArgs) (any, error) {
			t, c, err := s.find(a.TaskID, a.Container)
			if err != nil {
				return nil, err
			}
			return s.exec(ctx, t, c, a.Argv, a.Timeout)
		})
	case callHealth:
		return answering(raw, func(a healthArgs) (any, error) { return nil, s.setHealth(a) })
	case callShutdown:
		return nil, s.shutdown()
	}
	return nil, fault.New(fault.Invalid, "call", "%q is not known", call)
}

func answering[A, R any](raw json.RawMessage, do func(A) (R, error)) (any, error) {
	var args A
	if err := json.Unmarshal(raw, &args); err != nil {
		return nil, fault.New(fault.Invalid, "call", "its arguments cannot be read: %v", err)
	}
	return do(args)
}

// setHealth keeps the verdict that the server reached, for the server that comes after it.
func (s *supervisor) setHealth(a healthArgs) error {
	t, c, err := s.find(a.TaskID, a.Container)
	if err != nil {
		return err
	}
	if a.Health == agent.HealthHealthy {
		s.endWildcardListeners(extraLook) // one of those passes its check too, and would be answered until the next look
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !c.record.Status.Running() || c.verdict != "" {
		return nil
	}
	return s.changeLocked(t, c, func(r *record) {
		r.Status.Health = a.Health
		r.Status.HealthOutput = a.Output
	})
}

// shutdown removes every task, side by side; serveClient ends the supervisor once the reply is sent.
func (s *supervisor) shutdown() error {
	s.mu.Lock()
	var errs []error
	var removals sync.WaitGroup
	var errsMu sync.Mutex
	for _, t := range s.tasks {
		removals.Go(func() {
			err := s.remove(t)
			errsMu.Lock()
			defer errsMu.Unlock()
			errs = append(errs, err)
		})
	}
	s.mu.Unlock()
	removals.Wait()
	return errors.Join(errs...)
}
