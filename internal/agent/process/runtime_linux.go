package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/mailbox"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// Runtime is the server's side: it sends calls to the supervisor, starts one when there is none, and runs the health
// checks. It is an [agent.Runtime].
type Runtime struct {
	config Config
	log    *slog.Logger
	base   map[string]string
	// canMount returns why containers cannot have private files such as /etc/resolv.conf; nil if they can.
	canMount func() error
	events   chan agent.Event
	inbox    *mailbox.Mailbox[containerKey, update] // from the connection to events, so that a slow consumer delays no reply

	ctx     context.Context // ends at Close
	close   context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	link    *link         // nil while there is no supervisor
	changed chan struct{} // closed when link changes
	last    bool          // no supervisor is to follow this one
	checks  map[containerKey]context.CancelFunc
}

var _ agent.Runtime = (*Runtime)(nil)

// New connects to the supervisor of the data folder, which it starts when there is none. It fails when no supervisor can
// be started, or the one that runs is of another version; the error says what to do.
func New(ctx context.Context, config Config) (*Runtime, error) {
	dir, err := filepath.Abs(config.Dir)
	if err != nil {
		return nil, fmt.Errorf("process runtime: %w", err)
	}
	config.Dir = dir
	if !config.HostAddress.IsValid() {
		config.HostAddress = netip.AddrFrom4([4]byte{127, 0, 0, 1})
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
		inbox:   mailbox.New[containerKey, update](),
		changed: make(chan struct{}),
		checks:  map[containerKey]context.CancelFunc{},
	}
	r.ctx, r.close = context.WithCancel(context.Background())
	r.canMount = sync.OnceValue(func() error { return CanMountResolver(r.ctx) })
	first, err := connect(ctx, dir)
	if err != nil {
		r.close()
		return nil, fmt.Errorf("process runtime: %w", err)
	}
	r.running.Go(r.deliver)
	r.running.Go(func() { r.keepConnected(first) })
	return r, nil
}

// baseEnvironment is what containers get of the server's environment: what describes the machine, and nothing that could
// be a secret. The folder of this binary comes first in PATH, so that tasks can run "rollcall" itself.
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

// Name is "process".
func (r *Runtime) Name() string { return "process" }

// Events delivers what happens to containers; see [agent.Runtime].
func (r *Runtime) Events() <-chan agent.Event { return r.events }

// Close lets go of the supervisor and leaves the tasks running.
func (r *Runtime) Close() error {
	r.close()
	r.running.Wait()
	return nil
}

// Shutdown removes every task of the data folder, whoever created it, and ends the supervisor and this Runtime.
func (r *Runtime) Shutdown(ctx context.Context) error {
	r.mu.Lock()
	r.last = true
	r.mu.Unlock()
	err := r.call(ctx, callShutdown, struct{}{}, nil)
	return errors.Join(err, r.Close())
}

// Prepare has nothing to fetch: the programs are this machine's.
func (r *Runtime) Prepare(context.Context, agent.TaskSpec, func()) error { return nil }

// Create reserves a task's folder, address and ports; see [agent.Runtime].
func (r *Runtime) Create(ctx context.Context, spec agent.TaskSpec) (agent.Sandbox, error) {
	var sandbox agent.Sandbox
	err := r.call(ctx, callCreate, createArgs{Spec: spec, Base: r.base, HostAddress: r.config.HostAddress}, &sandbox)
	return sandbox, err
}

// StartContainer starts a container's program, once; see [agent.Runtime].
func (r *Runtime) StartContainer(ctx context.Context, taskID, container string) error {
	return r.call(ctx, callStart, containerArgs{taskID, container}, nil)
}

// StopContainer ends a container; see [agent.Runtime].
func (r *Runtime) StopContainer(ctx context.Context, taskID, container string, timeout time.Duration) error {
	return r.call(ctx, callStop, stopArgs{taskID, container, timeout}, nil)
}

// Remove gives back what a task held; see [agent.Runtime].
func (r *Runtime) Remove(ctx context.Context, taskID string) error {
	return r.call(ctx, callRemove, taskArgs{taskID}, nil)
}

// Sandboxes lists the tasks of this data folder; see [agent.Runtime].
func (r *Runtime) Sandboxes(ctx context.Context) ([]agent.Sandbox, error) {
	var all []agent.Sandbox
	err := r.call(ctx, callList, struct{}{}, &all)
	return all, err
}

// call asks the supervisor, and waits for one to be there.
func (r *Runtime) call(ctx context.Context, name string, args, result any) error {
	for {
		r.mu.Lock()
		link, changed := r.link, r.changed
		r.mu.Unlock()
		if link != nil {
			return link.call(ctx, name, args, result)
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

// reconnectMaxWait is the longest pause between attempts to get a supervisor.
const reconnectMaxWait = 2 * time.Second

// keepConnected serves one connection after the other until Close.
func (r *Runtime) keepConnected(l *link) {
	for {
		r.use(l)
		r.serve(l)
		if last := r.use(nil); last || r.ctx.Err() != nil {
			return
		}
		r.log.Warn("the supervisor is gone; a new one is started and takes over the tasks", "dir", r.config.Dir)
		for wait := 10 * time.Millisecond; ; wait = min(2*wait, reconnectMaxWait) {
			var err error
			if l, err = connect(r.ctx, r.config.Dir); err == nil {
				break
			}
			if r.ctx.Err() != nil {
				return
			}
			r.log.Error("no supervisor; tried again soon", "err", err)
			select {
			case <-r.ctx.Done():
				return
			case <-time.After(wait):
			}
		}
	}
}

// use makes calls go over l, or wait when it is nil. last says that there will be no further connection.
func (r *Runtime) use(l *link) (last bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.link = l
	close(r.changed)
	r.changed = make(chan struct{})
	return r.last
}

// serve follows a connection until it ends. The supervisor begins with an update for every container.
func (r *Runtime) serve(l *link) {
	stop := context.AfterFunc(r.ctx, l.close)
	defer stop()
	l.read(func(u update) {
		r.check(u)
		r.inbox.Put(u.key(), u)
	})
}

// deliver passes updates to whoever reads Events.
func (r *Runtime) deliver() {
	defer close(r.events)
	for {
		u, ok := r.inbox.Take(r.ctx)
		if !ok {
			return
		}
		select {
		case r.events <- u.Event:
		case <-r.ctx.Done():
			return
		}
	}
}

// link is one connection to a supervisor.
type link struct {
	wire *wire

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan frame // nil when the connection has ended
}

func newLink(conn net.Conn) (*link, error) {
	l := &link{wire: newWire(conn, maxReply), waiting: map[uint64]chan frame{}}
	if err := conn.SetReadDeadline(time.Now().Add(writeTimeout)); err != nil {
		return nil, err
	}
	f, err := l.wire.receive()
	if err != nil {
		return nil, fmt.Errorf("hear from the supervisor: %w", err)
	}
	if f.Hello == nil {
		return nil, errors.New("hear from the supervisor: it does not begin with a greeting")
	}
	if f.Hello.Version != protocolVersion {
		return nil, &versionError{*f.Hello}
	}
	return l, conn.SetReadDeadline(time.Time{})
}

// versionError says that the running supervisor is of another build.
type versionError struct{ hello }

func (e *versionError) Error() string {
	return fmt.Sprintf("the running supervisor (process %d) speaks version %d of its protocol, this rollcall version %d; "+
		"\"kill %d\" ends it and not its tasks, which the next one takes over, without their exit codes",
		e.PID, e.Version, protocolVersion, e.PID)
}

func (l *link) close() { l.wire.conn.Close() }

// read passes on replies and updates until the connection ends; calls that wait then fail.
func (l *link) read(updated func(update)) {
	for {
		f, err := l.wire.receive()
		if err != nil {
			break
		}
		if f.Update != nil {
			updated(*f.Update)
			continue
		}
		l.mu.Lock()
		reply := l.waiting[f.ID]
		delete(l.waiting, f.ID)
		l.mu.Unlock()
		if reply != nil {
			reply <- f
		}
	}
	l.close()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, reply := range l.waiting {
		close(reply)
	}
	l.waiting = nil
}

func (l *link) call(ctx context.Context, name string, args, result any) error {
	gone := func(err error) error {
		return &fault.Error{Kind: fault.Unavailable, What: "supervisor", Msg: "the connection ended during " + name + "; it can be tried again", Err: err}
	}
	raw, err := json.Marshal(args)
	if err != nil {
		return err
	}
	reply := make(chan frame, 1)
	l.mu.Lock()
	if l.waiting == nil {
		l.mu.Unlock()
		return gone(nil)
	}
	l.last++
	id := l.last
	l.waiting[id] = reply
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.waiting, id)
		l.mu.Unlock()
	}()
	if err := l.wire.send(frame{ID: id, Call: name, Args: raw}); err != nil {
		return gone(err)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case f, ok := <-reply:
		switch {
		case !ok:
			return gone(nil)
		case f.Error != nil:
			return f.Error.fault()
		case result == nil:
			return nil
		}
		return json.Unmarshal(f.Result, result)
	}
}
