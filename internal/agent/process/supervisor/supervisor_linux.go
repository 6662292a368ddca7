package supervisor

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
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

	"github.com/bakingclouds/rollcall/internal/agent/addrlease"
	"github.com/bakingclouds/rollcall/internal/agent/process/launch"
	"github.com/bakingclouds/rollcall/internal/agent/process/procfs"
	"github.com/bakingclouds/rollcall/internal/agent/process/protocol"
)

// idleTimeout is the time without tasks and clients after which a supervisor ends.
const idleTimeout = 10 * time.Second

// quarantine is the shortest time that an address or host port stays reserved after its task, so that a cached address
// does not lead to another task; it is longer if answers live longer ([agent.TaskSpec.Rest]).
const quarantine = 10 * time.Minute

// addressBlock is the range of tasks' addresses: the half of 127/8 that nothing else is known to use.
var addressBlock = netip.MustParsePrefix("127.64.0.0/10")

// supervisor is the parent of the containers of one data folder.
type supervisor struct {
	dir       string
	log       *slog.Logger
	bootID    string
	reaper    *reaper
	leases    *addrlease.Pool
	wildcards *wildcardWatch
	logs      *logWatch
	end       context.CancelFunc // ends the supervisor

	createMu sync.Mutex // creates and removes tasks one at a time
	// mountFailure returns why containers cannot have private files, or nil; it tries once.
	mountFailure func() error

	mu        sync.Mutex
	tasks     map[string]*task
	clients   map[*client]bool
	idleSince time.Time
	execs     uint64 // counts commands, so that each has its own tag
}

// Main runs a hidden role of the binary if args name one: "supervise --dir DIR" or "container-init". A program calls
// it first in main, so that a role costs little; ok is false if args name no role.
func Main(args []string) (status int, ok bool) {
	if len(args) == 0 {
		return 0, false
	}
	switch args[0] {
	case launch.InitRole:
		return launch.Init(), true
	case protocol.SupervisorRole:
		flags := flag.NewFlagSet("rollcall "+protocol.SupervisorRole, flag.ContinueOnError)
		dir := flags.String("dir", "", "the data `folder` whose tasks the supervisor runs")
		if err := flags.Parse(args[1:]); err != nil || *dir == "" {
			fmt.Fprintln(os.Stderr, "rollcall supervise: name the data folder with --dir DIR")
			return 2, true
		}
		if err := Run(*dir); err != nil {
			fmt.Fprintln(os.Stderr, "rollcall supervise:", err)
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// Run runs the supervisor of a data folder in this process. It returns nil when it has been idle for [idleTimeout],
// after [protocol.CallShutdown], and on SIGTERM; in the last case the containers run on. It returns an error if it
// cannot start.
func Run(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	err = run(dir, readyPipe())
	if errors.Is(err, protocol.ErrRunning) {
		return fmt.Errorf("%s: %w", dir, err)
	}
	return err
}

// readyPipe returns the pipe on which the server that started this supervisor waits; nil if a person started it.
func readyPipe() *os.File {
	fd, err := strconv.Atoi(os.Getenv(protocol.ReadyVariable))
	if err != nil {
		return nil
	}
	os.Unsetenv(protocol.ReadyVariable)
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "ready")
}

func run(dir string, ready *os.File) (err error) {
	defer func() {
		if ready != nil && err != nil {
			fmt.Fprintln(ready, err)
		}
	}()
	debug.SetGCPercent(50) // it holds little and lives long: memory matters more than time
	syscall.Umask(0o077)
	if err := os.MkdirAll(protocol.TasksFolder(dir), 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	// The signals of a terminal are for the server; the supervisor ignores them.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
	ctx, end := context.WithCancel(ctx)
	defer end()
	s, err := newSupervisor(dir, end)
	if err != nil {
		return err
	}
	if err := s.load(); err != nil {
		return err
	}
	listener, err := protocol.Listen(dir)
	if err != nil {
		return err
	}
	defer listener.Close()
	go s.accept(ctx, listener)
	go s.watchWildcards(ctx)
	s.log.Info("supervisor is ready", "dir", dir, "tasks", len(s.tasks))
	if ready != nil {
		fmt.Fprint(ready, protocol.ReadyLine)
		ready.Close()
		ready = nil
	}
	s.housekeep(ctx)
	s.log.Info("supervisor ends")
	return nil
}

func newSupervisor(dir string, end context.CancelFunc) (*supervisor, error) {
	bootID, err := procfs.BootID()
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
		wildcards: newWildcardWatch(leases.Ephemeral),
		end:       end,
		mountFailure: sync.OnceValue(func() error {
			return launch.TryMount(context.Background(), reaper.start)
		}),
		tasks:     map[string]*task{},
		clients:   map[*client]bool{},
		idleSince: time.Now(),
	}, nil
}

// housekeep rotates logs from time to time, until ctx is done or the supervisor is idle.
func (s *supervisor) housekeep(ctx context.Context) {
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

// idle reports whether the supervisor may end: it has had neither a task nor a client for [idleTimeout]. idleSince is
// the time at which the last task was removed or the last client disconnected.
func (s *supervisor) idle(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tasks) == 0 && len(s.clients) == 0 && now.Sub(s.idleSince) >= idleTimeout
}

// lockFolder makes sure that the folder has one supervisor. The lock ends with the process, and no child inherits it.
func lockFolder(dir string) (*os.File, error) {
	file, err := os.OpenFile(protocol.LockFile(dir), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer file.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock the data folder: %w", err)
		}
		holder := make([]byte, 32)
		n, _ := file.Read(holder) // only for the message
		return nil, fmt.Errorf("%w (pid %s)", protocol.ErrRunning, strings.TrimSpace(string(holder[:n])))
	}
	if err := file.Truncate(0); err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	if _, err := fmt.Fprintln(file, os.Getpid()); err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	return file, nil
}
