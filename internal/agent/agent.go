// Package agent runs the tasks that are placed on its node, through a [Runtime]: it brings each one step at
// a time toward what its row wants, and writes down what it sees.
//
// What to do next is [Next]'s to decide, a pure function from the row and the sandbox. Runtime calls are
// idempotent and a step's action is repeated until its effect is seen, so the agent may die at any point:
// the next one compares rows with sandboxes and goes on. A task without a sandbox has ended; a sandbox
// without a task is removed.
//
// agent knows rows, sandboxes and steps. It does not know how a container is run, nor DNS answers.
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

// refresh is how often the agent compares all sandboxes with the rows, beside following events.
const refresh = 30 * time.Second

// parallel bounds how many tasks are worked on at once; stopping one holds a place until it has ended.
const parallel = 256

// Config is what an agent needs beside the store and the runtime.
type Config struct {
	Node string
	// VPC is the VPC that an awsvpc configuration's subnets are in; nil is a runtime with one network.
	VPC func(subnets []string) string
	// Names is how tasks resolve names; DNS is the server that the agent opens on their addresses if Names asks for it.
	Names Names
	DNS   DNSServer
	// Environment is what the nth container of a task is told of ECS; its definition's own variables win. Nil tells
	// nothing.
	Environment func(t *task.Task, def *task.Definition, n int) map[string]string
	// Hosts are names that tasks with a role can reach, where they can be given such.
	Hosts map[string]netip.Addr
	Vault Vault
	// Logs are what the node's containers have printed; nil keeps none.
	Logs *containerlog.Catalog
	Log  *slog.Logger
}

// Agent is the node's. Make it with New, then Run it.
type Agent struct {
	Config
	db   *store.Store
	rt   Runtime
	loop *loop.Loop

	mu        sync.Mutex
	keys      map[string]string   // task id -> key of its row
	boxes     map[string]*Sandbox // by task id; replaced, never changed
	changes   int                 // of boxes
	listening map[string]netip.AddrPort
	preparing map[string]*preparation // by task id

	spans map[string]span // tidyLogs's own: of ended logs, by folder
}

// New makes the agent of a node. It marks the node's tasks as their rows change.
func New(db *store.Store, rt Runtime, cfg Config) *Agent {
	a := &Agent{Config: cfg, db: db, rt: rt, keys: map[string]string{}, boxes: map[string]*Sandbox{}, listening: map[string]netip.AddrPort{}, preparing: map[string]*preparation{}}
	a.loop = loop.New("agent", parallel, cfg.Log, a.pass)
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

// Run works until ctx ends; the tasks go on without it.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.compare(ctx); err != nil {
		return fmt.Errorf("find the tasks that run already: %w", err)
	}
	go a.follow(ctx)
	go a.tidyLogs(ctx)
	return a.loop.Run(ctx)
}

// follow takes in the runtime's events, and compares everything now and then.
func (a *Agent) follow(ctx context.Context) {
	tick := time.NewTicker(refresh)
	defer tick.Stop()
	for {
		select {
		case e, ok := <-a.rt.Events():
			if !ok {
				return
			}
			a.see(e)
		case <-tick.C:
			if err := a.compare(ctx); err != nil && ctx.Err() == nil {
				a.Log.Warn("cannot list the runtime's tasks", "runtime", a.rt.Name(), "err", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// see takes in one event.
func (a *Agent) see(e Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.boxes[e.TaskID]
	if old == nil {
		return
	}
	box := *old
	box.Containers = append([]ContainerStatus(nil), old.Containers...)
	for i := range box.Containers {
		if box.Containers[i].Name == e.Status.Name {
			box.Containers[i] = e.Status
		}
	}
	a.boxes[e.TaskID] = &box
	a.changes++
	if key, ok := a.keys[e.TaskID]; ok {
		a.loop.Mark(key)
	}
}

// compare lists the sandboxes, removes those of no task, and marks every task of the node. A listing during
// which a sandbox changed is stale and left to the next.
func (a *Agent) compare(ctx context.Context) error {
	a.mu.Lock()
	before := a.changes
	a.mu.Unlock()
	boxes, err := a.rt.Sandboxes(ctx)
	if err != nil {
		return err
	}
	tasks := map[string]*task.Task{} // read after the listing: a row is there before its sandbox
	for _, t := range task.TasksOn(a.db.Snapshot(), a.Node) {
		tasks[string(t.ID)] = t
	}
	seen := map[string]*Sandbox{}
	for _, box := range boxes {
		if tasks[box.TaskID] == nil {
			a.Log.Info("removing a sandbox that belongs to no task", "task", box.TaskID)
			if err := a.rt.Remove(ctx, box.TaskID); err != nil {
				a.Log.Error("a sandbox that belongs to no task cannot be removed", "task", box.TaskID, "err", err)
			}
			continue
		}
		seen[box.TaskID] = &box
	}
	a.mu.Lock()
	fresh := a.changes == before
	if fresh {
		a.boxes = seen
	}
	a.mu.Unlock()
	if fresh {
		for _, box := range seen {
			if err := a.listen(box); err != nil {
				a.Log.Error("a task's resolver cannot listen", "task", box.TaskID, "err", err)
			}
		}
	}
	for _, t := range tasks {
		a.loop.Mark(t.Key())
	}
	return nil
}

func (a *Agent) box(id string) *Sandbox {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.boxes[id]
}

// pass makes one step of a task.
func (a *Agent) pass(ctx context.Context, key string) (time.Duration, error) {
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
		a.forgetPreparation(string(t.ID))
	}
	s := Next(t, def, a.box(string(t.ID)), time.Now())
	if err := a.write(ctx, t, s); err != nil {
		return 0, err
	}
	if s.StopCode != "" || s.Do == Nothing {
		return s.Again, nil // a changed row marks the task again
	}
	if err := a.do(ctx, t, def, s); err != nil {
		return 0, a.failed(ctx, t, s, err)
	}
	if s.Do == Create && a.box(string(t.ID)) != nil || s.Do == Remove {
		a.loop.Mark(key) // of containers that start and stop, events tell
	}
	return s.Again, nil
}

// write brings the row up to what the step says.
func (a *Agent) write(ctx context.Context, seen *task.Task, s Step) error {
	if s.StopCode == "" && reflect.DeepEqual(seen.Observed, s.Observed) {
		return nil
	}
	_, err := store.Update(ctx, a.db, func(tx *store.Tx) (struct{}, error) {
		if s.StopCode != "" {
			if _, _, err := task.Stop(tx, seen.Ref(), task.StopCause{Code: s.StopCode, Reason: s.StopReason}, time.Now()); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, task.UpdateTask(tx, seen.Ref(), func(t *task.Task) bool {
			// States only grow. The task was given up meanwhile if its row is further: that stands.
			if t.Observed.State == task.Stopped || s.Observed.State < t.Observed.State || reflect.DeepEqual(t.Observed, s.Observed) {
				return false
			}
			t.Observed = s.Observed
			return true
		})
	})
	return err
}

// do asks the runtime for the step's action.
func (a *Agent) do(ctx context.Context, t *task.Task, def *task.Definition, s Step) error {
	switch s.Do {
	case Create:
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
		box, err := a.rt.Create(ctx, spec)
		if err != nil {
			return err
		}
		if err := a.listen(&box); err != nil {
			return fault.New(fault.Invalid, "task", "ResourceInitializationError: the task's resolver cannot listen: %v", err)
		}
		a.keep(string(t.ID), &box)
	case StartContainers:
		for _, name := range s.Containers {
			if err := a.rt.StartContainer(ctx, string(t.ID), name); err != nil {
				return err
			}
		}
	case StopContainers:
		var all sync.WaitGroup
		errs := make([]error, len(s.Containers))
		for i, name := range s.Containers {
			all.Go(func() {
				d, _ := def.Container(name)
				errs[i] = a.rt.StopContainer(ctx, string(t.ID), name, d.StopTimeout)
			})
		}
		all.Wait()
		for _, err := range errs {
			if err != nil {
				return err
			}
		}
	case Remove:
		a.unlisten(string(t.ID))
		if err := a.rt.Remove(ctx, string(t.ID)); err != nil {
			return err
		}
		a.keep(string(t.ID), nil)
	}
	return nil
}

// Find is a task of this node and its sandbox, nil when it has none.
func (a *Agent) Find(id string) (*task.Task, *Sandbox, bool) {
	a.mu.Lock()
	key, ok := a.keys[id]
	box := a.boxes[id]
	a.mu.Unlock()
	if !ok {
		return nil, nil, false
	}
	t, ok := task.FindByKey(a.db.Snapshot(), key)
	return t, box, ok
}

// failed decides what an action's error means: the runtime being out of reach is tried again, anything
// else ends the task with the reason.
func (a *Agent) failed(ctx context.Context, t *task.Task, s Step, err error) error {
	if ctx.Err() != nil || fault.Is(err, fault.Unavailable) || s.Do == Remove || s.Do == StopContainers {
		return err
	}
	now := time.Now()
	_, err = store.Update(ctx, a.db, func(tx *store.Tx) (struct{}, error) {
		_, _, err := task.Stop(tx, t.Ref(), task.StopCause{Code: task.TaskFailedToStart, Reason: reason(err)}, now)
		return struct{}{}, err
	})
	return err
}

// reason is an error as stoppedReason shows it.
func reason(err error) string {
	var f *fault.Error
	if errors.As(err, &f) {
		return f.Msg
	}
	return err.Error()
}

func (a *Agent) keep(id string, box *Sandbox) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.changes++
	if box == nil {
		delete(a.boxes, id)
	} else {
		a.boxes[id] = box
	}
}

// listen opens the resolver of a sandbox that has one.
func (a *Agent) listen(box *Sandbox) error {
	if !a.Names.OnTaskAddress || !box.Resolver || !box.Address.IsValid() {
		return nil
	}
	at := netip.AddrPortFrom(box.Address, ResolverPort)
	a.mu.Lock()
	_, have := a.listening[box.TaskID]
	a.listening[box.TaskID] = at
	a.mu.Unlock()
	if have {
		return nil
	}
	if err := a.DNS.Listen(at); err != nil {
		a.mu.Lock()
		delete(a.listening, box.TaskID)
		a.mu.Unlock()
		return err
	}
	return nil
}

func (a *Agent) unlisten(id string) {
	a.mu.Lock()
	at, ok := a.listening[id]
	delete(a.listening, id)
	a.mu.Unlock()
	if ok {
		if err := a.DNS.Close(at); err != nil {
			a.Log.Warn("cannot close a task's resolver", "task", id, "err", err)
		}
	}
}
