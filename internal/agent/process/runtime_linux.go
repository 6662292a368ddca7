package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/mailbox"
	"github.com/bakingclouds/rollcall/internal/agent/process/procfs"
	"github.com/bakingclouds/rollcall/internal/agent/process/protocol"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// Runtime is the server's side: it sends calls to the supervisor, starts one if none runs, and runs the health checks.
// It is an [agent.Runtime].
type Runtime struct {
	config Config
	log    *slog.Logger
	base   map[string]string // see baseEnvironment
	// canMount returns why containers cannot have private files such as /etc/resolv.conf; nil if they can.
	canMount func() error
	events   chan agent.Event
	// inbox is between the connection and events, so that a slow consumer of events delays no reply.
	inbox *mailbox.Mailbox[protocol.ContainerKey, agent.Event]

	ctx     context.Context // ends at Close
	close   context.CancelFunc
	running sync.WaitGroup

	mu           sync.Mutex
	connection   *connection   // nil while no supervisor runs
	changed      chan struct{} // closed when connection changes
	shuttingDown bool          // no supervisor is to be started after this one
	checks       map[protocol.ContainerKey]context.CancelFunc
}

var _ agent.Runtime = (*Runtime)(nil)

// New connects to the supervisor of the data folder, and starts one if none runs. It fails if no supervisor can be
// started, or if the one that runs has another version; the error contains the remedy.
func New(ctx context.Context, config Config) (*Runtime, error) {
	dir, err := filepath.Abs(config.Dir)
	if err != nil {
		return nil, fmt.Errorf("process runtime: %w", err)
	}
	config.Dir = dir
	if !config.HostAddress.IsValid() {
		config.HostAddress = loopback
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("process runtime: make the data folder: %w", err)
	}
	r := &Runtime{
		config:  config,
		log:     config.Logger,
		base:    baseEnvironment(),
		events:  make(chan agent.Event),
		inbox:   mailbox.New[protocol.ContainerKey, agent.Event](),
		changed: make(chan struct{}),
		checks:  map[protocol.ContainerKey]context.CancelFunc{},
	}
	r.ctx, r.close = context.WithCancel(context.Background())
	r.canMount = sync.OnceValue(func() error { return CanMountResolver(r.ctx) })
	first, err := connect(ctx, dir)
	if err != nil {
		r.close()
		return nil, fmt.Errorf("process runtime: %w", err)
	}
	r.running.Go(func() { r.inbox.Deliver(r.ctx, r.events) })
	r.running.Go(func() { r.keepConnected(first) })
	return r, nil
}

// baseEnvironment returns the part of the server's environment that containers get: what describes the machine, and
// nothing that could be a secret. The folder of this binary comes first in PATH, so that tasks can run "rollcall"
// itself.
func baseEnvironment() map[string]string {
	base := map[string]string{}
	for _, name := range []string{"TMPDIR", "TZ", "LANG"} {
		if value, set := os.LookupEnv(name); set {
			base[name] = value
		}
	}
	path := os.Getenv("PATH")
	if path == "" {
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	if self, err := os.Executable(); err == nil {
		path = filepath.Dir(self) + ":" + path
	}
	base["PATH"] = path
	return base
}

// Name returns "process".
func (r *Runtime) Name() string { return "process" }

// Events returns the channel of status changes; see [agent.Runtime].
func (r *Runtime) Events() <-chan agent.Event { return r.events }

// Close disconnects from the supervisor and leaves the tasks running.
func (r *Runtime) Close() error {
	r.close()
	r.running.Wait()
	return nil
}

// Shutdown removes every task of the data folder, including those of earlier servers, and ends the supervisor and this
// Runtime.
func (r *Runtime) Shutdown(ctx context.Context) error {
	r.mu.Lock()
	r.shuttingDown = true
	r.mu.Unlock()
	err := r.call(ctx, protocol.CallShutdown, struct{}{}, nil)
	return errors.Join(err, r.Close())
}

// Prepare has nothing to fetch: the programs are this machine's.
func (r *Runtime) Prepare(context.Context, agent.TaskSpec, func()) error { return nil }

// Create reserves a task's folder, address and ports; see [agent.Runtime].
func (r *Runtime) Create(ctx context.Context, spec agent.TaskSpec) (agent.Sandbox, error) {
	var sandbox agent.Sandbox
	args := protocol.CreateArgs{Spec: spec, Base: r.base, HostAddress: r.config.HostAddress}
	err := r.call(ctx, protocol.CallCreate, args, &sandbox)
	return sandbox, err
}

// StartContainer starts a container's program, once; see [agent.Runtime].
func (r *Runtime) StartContainer(ctx context.Context, taskID, container string) error {
	return r.call(ctx, protocol.CallStart, protocol.ContainerArgs{TaskID: taskID, Container: container}, nil)
}

// StopContainer ends a container; see [agent.Runtime].
func (r *Runtime) StopContainer(ctx context.Context, taskID, container string, timeout time.Duration) error {
	return r.call(ctx, protocol.CallStop, protocol.StopArgs{TaskID: taskID, Container: container, Timeout: timeout}, nil)
}

// Remove releases what a task holds; see [agent.Runtime].
func (r *Runtime) Remove(ctx context.Context, taskID string) error {
	return r.call(ctx, protocol.CallRemove, protocol.TaskArgs{TaskID: taskID}, nil)
}

// Sandboxes lists the tasks of this data folder; see [agent.Runtime].
func (r *Runtime) Sandboxes(ctx context.Context) ([]agent.Sandbox, error) {
	var all []agent.Sandbox
	err := r.call(ctx, protocol.CallList, struct{}{}, &all)
	return all, err
}

// Usage measures containers by their runtime ids, the pids of their main processes. Each leads the session of its
// container.
func (r *Runtime) Usage(pids []string) map[string]agent.Usage {
	var sessions []int
	for _, pid := range pids {
		if n, err := strconv.Atoi(pid); err == nil {
			sessions = append(sessions, n)
		}
	}
	used := map[string]agent.Usage{}
	for session, u := range procfs.Measure(sessions) {
		used[strconv.Itoa(session)] = u
	}
	return used
}

// call sends a call to the supervisor, and waits for one if none runs.
func (r *Runtime) call(ctx context.Context, name string, args, result any) error {
	for {
		r.mu.Lock()
		c, changed := r.connection, r.changed
		r.mu.Unlock()
		if c != nil {
			return c.call(ctx, name, args, result)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return &fault.Error{Kind: fault.Unavailable, What: "supervisor", Msg: "it is being started", Err: ctx.Err()}
		case <-r.ctx.Done():
			return fault.New(fault.Unavailable, "supervisor", "this runtime is closed")
		}
	}
}

// reconnectMaxWait is the longest pause between attempts to connect to a supervisor.
const reconnectMaxWait = 2 * time.Second

// keepConnected serves one connection after the other until Close.
func (r *Runtime) keepConnected(c *connection) {
	for {
		r.setConnection(c)
		r.serve(c)
		if last := r.setConnection(nil); last || r.ctx.Err() != nil {
			return
		}
		r.log.Warn("the supervisor has ended; starting another one, which adopts the tasks", "dir", r.config.Dir)
		for wait := 10 * time.Millisecond; ; wait = min(2*wait, reconnectMaxWait) {
			var err error
			if c, err = connect(r.ctx, r.config.Dir); err == nil {
				break
			}
			if r.ctx.Err() != nil {
				return
			}
			r.log.Error("cannot start a supervisor; retrying", "err", err)
			select {
			case <-r.ctx.Done():
				return
			case <-time.After(wait):
			}
		}
	}
}

// setConnection makes calls use c, or wait if it is nil. It returns true if there will be no further connection.
func (r *Runtime) setConnection(c *connection) (last bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.connection = c
	close(r.changed)
	r.changed = make(chan struct{})
	return r.shuttingDown
}

// serve reads a connection until it ends. The supervisor begins with an update for every container.
func (r *Runtime) serve(c *connection) {
	stop := context.AfterFunc(r.ctx, c.close)
	defer stop()
	c.read(func(u protocol.Update) {
		r.startOrStopCheck(u)
		r.inbox.Put(u.Key(), u.Event)
	})
}
