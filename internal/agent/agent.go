// Package agent runs the tasks that are placed on its node, through a [Runtime]. It moves each task one step at a time
// toward what its row asks for, and writes what it observes to the row.
//
// [Next] decides the next step; it is a pure function of the row and the sandbox. Calls of the runtime are idempotent,
// and the agent repeats a step's action until it observes the effect. So the agent may die at any point: the next one
// compares rows with sandboxes and continues. A task without a sandbox has ended; a sandbox without a task is removed.
//
// Where to start reading: [New] and reconcile in agent.go, next.go, runtime.go (what a runtime must do), spec.go (from
// a task definition to what a runtime needs), secrets.go, prepare.go (image pulls), names.go, logs.go.
//
// The package does not know how a container is run, which runtime runs it, or what DNS answers.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"sync"
	"time"

	"github.com/bakingclouds/rollcall/internal/containerlog"
	"github.com/bakingclouds/rollcall/internal/control/loop"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// resyncInterval is the time between two comparisons of all sandboxes with the rows, in addition to following events.
const resyncInterval = 30 * time.Second

// maxParallel is the number of tasks that the agent works on in parallel. A task that is being stopped counts until it
// has ended.
const maxParallel = 256

// Config configures an agent, in addition to its store and its runtime.
type Config struct {
	Node string
	// VPC returns the VPC of an awsvpc configuration's subnets; nil if the runtime has one network.
	VPC func(subnets []string) string
	// Names is how tasks resolve names. DNS is the server that the agent opens on their addresses if Names asks for it.
	Names Names
	DNS   DNSServer
	// Environment returns the variables that ECS sets in the nth container of a task; those of the definition win. Nil
	// sets none.
	Environment func(t *task.Task, def *task.Definition, n int) map[string]string
	// Hosts are names in the /etc/hosts of tasks with a role, where the runtime supports it.
	Hosts   map[string]netip.Addr
	Secrets SecretResolver
	// Logs has the output of the node's containers; nil keeps none.
	Logs *containerlog.Catalog
	Log  *slog.Logger
}

// Agent runs the tasks of one node. Make one with New, then call Run.
type Agent struct {
	Config
	db   *store.Store
	rt   Runtime
	loop *loop.Loop

	mu        sync.Mutex
	keys      map[string]string         // the key of a task's row, by task id
	sandboxes map[string]*Sandbox       // by task id; a value is replaced, never changed
	changes   int                       // counts changes of sandboxes
	resolvers map[string]netip.AddrPort // where DNS is open for a task, by task id
	preparing map[string]*preparation   // by task id

	endedSpans map[string]span // of ended logs, by folder; only removeOldLogs uses it
}

// New returns the agent of a node. It marks the node's tasks as their rows change.
func New(db *store.Store, rt Runtime, cfg Config) *Agent {
	a := &Agent{
		Config: cfg, db: db, rt: rt, keys: map[string]string{}, sandboxes: map[string]*Sandbox{},
		resolvers: map[string]netip.AddrPort{}, preparing: map[string]*preparation{},
	}
	a.loop = loop.New("agent", maxParallel, cfg.Log, a.reconcile)
	db.Follow(func(c store.Change) {
		for _, r := range c.Rows {
			if t, ok := r.New.(*task.Task); ok && t.Node == cfg.Node {
				a.mu.Lock()
				a.keys[string(t.ID)] = t.Key()
				a.mu.Unlock()
				a.loop.Mark(t.Key())
			} else if t, ok := r.Old.(*task.Task); ok && r.New == nil {
				a.mu.Lock()
				delete(a.keys, string(t.ID))
				a.mu.Unlock()
			}
		}
	}, task.Schema()...)
	return a
}

// Run runs the agent until ctx is done. The tasks run on without it.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.resync(ctx); err != nil {
		return fmt.Errorf("list the tasks that already run: %w", err)
	}
	go a.follow(ctx)
	go a.cleanLogs(ctx)
	return a.loop.Run(ctx)
}

// follow applies the runtime's events, and resyncs from time to time.
func (a *Agent) follow(ctx context.Context) {
	tick := time.NewTicker(resyncInterval)
	defer tick.Stop()
	for {
		select {
		case e, ok := <-a.rt.Events():
			if !ok {
				return
			}
			a.applyEvent(e)
		case <-tick.C:
			if err := a.resync(ctx); err != nil && ctx.Err() == nil {
				a.Log.Warn("cannot list the runtime's tasks", "runtime", a.rt.Name(), "err", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// applyEvent updates the sandbox that an event is about, and marks its task.
func (a *Agent) applyEvent(e Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.sandboxes[e.TaskID]
	if old == nil {
		return
	}
	sandbox := *old
	sandbox.Containers = append([]ContainerStatus(nil), old.Containers...)
	for i := range sandbox.Containers {
		if sandbox.Containers[i].Name == e.Status.Name {
			sandbox.Containers[i] = e.Status
		}
	}
	a.sandboxes[e.TaskID] = &sandbox
	a.changes++
	if key, ok := a.keys[e.TaskID]; ok {
		a.loop.Mark(key)
	}
}

// resync lists the sandboxes, removes those without a task, and marks every task of the node. If a sandbox changes
// during the listing, the listing is stale, and resync keeps the sandboxes that it has.
func (a *Agent) resync(ctx context.Context) error {
	a.mu.Lock()
	before := a.changes
	a.mu.Unlock()
	listed, err := a.rt.Sandboxes(ctx)
	if err != nil {
		return err
	}
	tasks := map[string]*task.Task{} // read after the listing: a task's row exists before its sandbox
	for _, t := range task.TasksOn(a.db.Snapshot(), a.Node) {
		tasks[string(t.ID)] = t
	}
	sandboxes := map[string]*Sandbox{}
	for _, sandbox := range listed {
		if tasks[sandbox.TaskID] == nil {
			a.removeOrphan(ctx, sandbox.TaskID)
			continue
		}
		sandboxes[sandbox.TaskID] = &sandbox
	}
	a.mu.Lock()
	current := a.changes == before
	if current {
		a.sandboxes = sandboxes
	}
	a.mu.Unlock()
	if current {
		for _, sandbox := range sandboxes {
			if err := a.openResolver(sandbox); err != nil {
				a.Log.Error("cannot open a task's resolver", "task", sandbox.TaskID, "err", err)
			}
		}
	}
	for _, t := range tasks {
		a.loop.Mark(t.Key())
	}
	return nil
}

// removeOrphan removes a sandbox that belongs to no task.
func (a *Agent) removeOrphan(ctx context.Context, id string) {
	a.Log.Info("removing a sandbox that belongs to no task", "task", id)
	if err := a.rt.Remove(ctx, id); err != nil {
		a.Log.Error("cannot remove a sandbox that belongs to no task", "task", id, "err", err)
	}
}

func (a *Agent) sandbox(id string) *Sandbox {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sandboxes[id]
}

// reconcile moves a task one step.
func (a *Agent) reconcile(ctx context.Context, key string) (time.Duration, error) {
	t, ok := task.FindByKey(a.db.Snapshot(), key)
	if !ok || t.Node != a.Node {
		return 0, nil
	}
	def, err := task.GetDefinition(a.db.Snapshot(), t.Scope(), t.Family, t.Revision)
	if err != nil {
		return 0, fmt.Errorf("definition of task %s: %w", t.ID, err)
	}
	def = t.Overrides.Apply(def)
	if t.Desired == task.DesiredStopped {
		a.cancelPreparation(string(t.ID))
	}
	s := Next(t, def, a.sandbox(string(t.ID)), time.Now())
	if err := a.updateRow(ctx, t, s, time.Now()); err != nil {
		return 0, err
	}
	if s.StopCode != "" || s.Action == Nothing {
		return s.RecheckAfter, nil // a changed row marks the task
	}
	if err := a.perform(ctx, t, def, s); err != nil {
		return 0, a.handleFailure(ctx, t, s, err)
	}
	if s.Action == Create && a.sandbox(string(t.ID)) != nil || s.Action == Remove {
		a.loop.Mark(key) // only the start and end of containers cause events
	}
	return s.RecheckAfter, nil
}

// updateRow writes what a step observes, and that it stops the task, to the task's row.
func (a *Agent) updateRow(ctx context.Context, seen *task.Task, s Step, now time.Time) error {
	if s.StopCode == "" && reflect.DeepEqual(seen.Observed, s.Observed) {
		return nil
	}
	_, err := store.Update(ctx, a.db, func(tx *store.Tx) (struct{}, error) {
		if s.StopCode != "" {
			if _, _, err := task.Stop(tx, seen.Ref(), task.StopCause{Code: s.StopCode, Reason: s.StopReason}, now); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, task.UpdateTask(tx, seen.Ref(), func(t *task.Task) bool {
			// States only grow. If the row is further, the task was given up since, and this observation is too late.
			if t.Observed.State == task.Stopped || s.Observed.State < t.Observed.State ||
				reflect.DeepEqual(t.Observed, s.Observed) {
				return false
			}
			t.Observed = s.Observed
			return true
		})
	})
	return err
}

// perform calls the runtime for a step's action.
func (a *Agent) perform(ctx context.Context, t *task.Task, def *task.Definition, s Step) error {
	id := string(t.ID)
	switch s.Action {
	case Create:
		return a.create(ctx, t, def)
	case StartContainers:
		for _, name := range s.Containers {
			if err := a.rt.StartContainer(ctx, id, name); err != nil {
				return err
			}
		}
	case StopContainers:
		var all sync.WaitGroup
		errs := make([]error, len(s.Containers))
		for i, name := range s.Containers {
			all.Go(func() {
				d, _ := def.Container(name)
				errs[i] = a.rt.StopContainer(ctx, id, name, d.StopTimeout)
			})
		}
		all.Wait()
		for _, err := range errs {
			if err != nil {
				return err
			}
		}
	case Remove:
		a.closeResolver(id)
		if err := a.rt.Remove(ctx, id); err != nil {
			return err
		}
		a.setSandbox(id, nil)
	}
	return nil
}

// create creates a task's sandbox, once its images are fetched.
func (a *Agent) create(ctx context.Context, t *task.Task, def *task.Definition) error {
	spec, err := a.spec(t, def)
	if err != nil {
		return err
	}
	if err := a.declareLogs(ctx, t, def); err != nil {
		return err
	}
	if done, err := a.prepare(ctx, t, spec); !done || err != nil {
		return err
	}
	sandbox, err := a.rt.Create(ctx, spec)
	if err != nil {
		return err
	}
	if err := a.openResolver(&sandbox); err != nil {
		return initializationError("cannot open the task's resolver: %v", err)
	}
	a.setSandbox(string(t.ID), &sandbox)
	return nil
}

// Find returns a task of this node and its sandbox, nil if it has none.
func (a *Agent) Find(id string) (*task.Task, *Sandbox, bool) {
	a.mu.Lock()
	key, ok := a.keys[id]
	sandbox := a.sandboxes[id]
	a.mu.Unlock()
	if !ok {
		return nil, nil, false
	}
	t, ok := task.FindByKey(a.db.Snapshot(), key)
	return t, sandbox, ok
}

// handleFailure handles the error of an action. It returns an error to retry: while the runtime is unavailable, and
// while a task is being stopped. Any other error stops the task, with the error as the reason.
func (a *Agent) handleFailure(ctx context.Context, t *task.Task, s Step, err error) error {
	if ctx.Err() != nil || fault.Is(err, fault.Unavailable) || s.Action == Remove || s.Action == StopContainers {
		return err
	}
	now := time.Now()
	_, err = store.Update(ctx, a.db, func(tx *store.Tx) (struct{}, error) {
		_, _, err := task.Stop(tx, t.Ref(), task.StopCause{Code: task.TaskFailedToStart, Reason: stoppedReason(err)}, now)
		return struct{}{}, err
	})
	return err
}

// stoppedReason returns an error in the form of a task's stoppedReason.
func stoppedReason(err error) string {
	var f *fault.Error
	if errors.As(err, &f) {
		return f.Msg
	}
	return err.Error()
}

// setSandbox replaces what the agent has of a task's sandbox; nil removes it.
func (a *Agent) setSandbox(id string, sandbox *Sandbox) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.changes++
	if sandbox == nil {
		delete(a.sandboxes, id)
	} else {
		a.sandboxes[id] = sandbox
	}
}

// openResolver starts to answer DNS on the address of a sandbox if its containers send their queries there.
func (a *Agent) openResolver(sandbox *Sandbox) error {
	if !a.Names.OnTaskAddress || !sandbox.Resolver || !sandbox.Address.IsValid() {
		return nil
	}
	at := netip.AddrPortFrom(sandbox.Address, ResolverPort)
	a.mu.Lock()
	_, open := a.resolvers[sandbox.TaskID]
	a.resolvers[sandbox.TaskID] = at
	a.mu.Unlock()
	if open {
		return nil
	}
	if err := a.DNS.Listen(at); err != nil {
		a.mu.Lock()
		delete(a.resolvers, sandbox.TaskID)
		a.mu.Unlock()
		return err
	}
	return nil
}

func (a *Agent) closeResolver(id string) {
	a.mu.Lock()
	at, ok := a.resolvers[id]
	delete(a.resolvers, id)
	a.mu.Unlock()
	if ok {
		if err := a.DNS.Close(at); err != nil {
			a.Log.Warn("cannot close a task's resolver", "task", id, "err", err)
		}
	}
}
