// Package registrar registers the tasks of ECS services in Cloud Map and deregisters them. A running task becomes an
// instance of its Cloud Map service, the instance's health follows the task's, and a task that is to stop leaves all
// answers before the agent stops it.
//
// A task's [task.Registration] and its instance's row change in one transaction, so an instance never outlives its
// task's registration. A draining task is released when every node has given its clearance (package drain), or has been
// lost for so long that all its answers have expired.
//
// registrar does not know what the nodes have answered: a clearance states that a node's answers have expired.
//
// Start reading at nextAction, the pure decision:
//
//	action.go       nextAction: what to do with a task's registration
//	replacement.go  replacementWait: how long a stopped task stays in the answers until its replacement is answered
//	drainwait.go    drainWait: how long a draining task waits for clearances
//	registrar.go    the loop
//	write.go        the transaction that changes the rows of the task and its instances
package registrar

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/bakingclouds/rollcall/internal/control/loop"
	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// registrar is the state of the loop. Its times are by this process's monotonic clock. A restarted process, or another
// leader, starts to count again, so that a wait may become longer but never shorter.
type registrar struct {
	db       *store.Store
	zone     string
	drainCap time.Duration

	mu                sync.Mutex
	drainingSince     map[string]time.Time // by task key
	awaitsReplacement map[string]string    // service key by task key
	lostSince         map[string]time.Time // by node; only nodes that are not live
}

// New returns the loop. A task with registries is reconciled when it, its instances, its clearances or the nodes
// change. zone is the availability zone in the instances' attributes. drainCap limits the time for which a task waits
// for the answers with its address to expire.
func New(db *store.Store, log *slog.Logger, zone string, drainCap time.Duration) *loop.Loop {
	r := newRegistrar(db, zone, drainCap)
	l := loop.New("register", 16, log, r.reconcile)
	db.Follow(func(c store.Change) {
		for _, row := range c.Rows {
			for _, key := range r.affected(row) {
				l.Mark(key)
			}
		}
	})
	r.noteLostNodes(db.Snapshot(), time.Now())
	return l
}

func newRegistrar(db *store.Store, zone string, drainCap time.Duration) *registrar {
	return &registrar{
		db: db, zone: zone, drainCap: drainCap,
		drainingSince: map[string]time.Time{}, awaitsReplacement: map[string]string{},
		lostSince: map[string]time.Time{},
	}
}

// affected returns the keys of the tasks to reconcile after a change of a row. It also keeps track of lost nodes.
func (r *registrar) affected(row store.RowChange) (keys []string) {
	switch v := row.Row().(type) {
	case *task.Task:
		if len(v.Registries) > 0 && (v.Registration != task.Released || row.New == nil) {
			keys = append(keys, v.Key())
		}
		return append(keys, r.replacedBy(v)...)
	case *registry.Instance:
		if v.Task != "" {
			return []string{v.Task}
		}
	case *task.Clearance:
		return []string{v.Task}
	case *task.Alive:
		if name, ok := task.AliveNode(row.Key); ok {
			r.setLive(name, row.New != nil, time.Now())
		}
		return r.draining()
	}
	return nil
}

// reconcile makes the next change of a task's registration. It returns the time after which the task has to be
// reconciled again.
//
// The decision is made from one snapshot. The transaction changes the rows only if the task's row is still the same.
func (r *registrar) reconcile(ctx context.Context, key string) (time.Duration, error) {
	r.track(r.db.Snapshot(), key, time.Now())
	s := r.db.Snapshot()
	if err := r.db.Wait(ctx, s.Rev()); err != nil {
		return 0, fault.New(fault.Unavailable, "registrar", "nodes of revision %d are not yet known: %v", s.Rev(), err)
	}
	t, ok := task.FindByKey(s, key)
	if !ok || len(t.Registries) == 0 {
		return 0, nil
	}
	now := time.Now()
	replacement, drain := replacementWaitOf(s, t, now), r.drainWaitOf(s, t, now)
	wait := max(replacement, drain)
	next := nextAction(t, replacement > 0, drain <= 0)
	if next == doNothing {
		return wait, nil
	}
	current, err := r.commit(ctx, t, next, now)
	if err == nil && !current {
		wait = time.Millisecond
	}
	return wait, err
}

// commit carries out an action that was chosen for the row t. False means that the task's row is no longer t, and that
// nothing was written.
func (r *registrar) commit(ctx context.Context, t *task.Task, a action, now time.Time) (current bool, err error) {
	call := registry.NewCall(now)
	return store.Update(ctx, r.db, func(tx *store.Tx) (bool, error) {
		if row, ok := task.FindByKey(tx, t.Key()); !ok || row != t {
			return false, nil
		}
		return true, r.write(tx, t, a, call)
	})
}

// track updates the state of a task that waits for changes of other rows, so that these mark the task. It is called
// before the task's state is read for a decision: a change after the decision then marks the task again. A change of
// the task's own row marks it in any case.
func (r *registrar) track(s *store.Snapshot, key string, now time.Time) {
	t, ok := task.FindByKey(s, key)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !ok || t.Registration != task.Draining {
		delete(r.drainingSince, key)
	} else if r.drainingSince[key].IsZero() {
		r.drainingSince[key] = now
	}
	if ok && t.Registration == task.Registered && t.StopCode == task.UserInitiated {
		r.awaitsReplacement[key] = t.ServiceKey()
	} else {
		delete(r.awaitsReplacement, key)
	}
}

// replacedBy returns the keys of the tasks that wait for a replacement and are of the same service as t.
func (r *registrar) replacedBy(t *task.Task) (keys []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, service := range r.awaitsReplacement {
		if service == t.ServiceKey() && key != t.Key() {
			keys = append(keys, key)
		}
	}
	return keys
}

// draining returns the keys of the draining tasks.
func (r *registrar) draining() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.drainingSince))
}

// setLive stores whether a node is live, and otherwise since when it is lost.
func (r *registrar) setLive(node string, live bool, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if live {
		delete(r.lostSince, node)
	} else if r.lostSince[node].IsZero() {
		r.lostSince[node] = now
	}
}

// noteLostNodes stores which nodes are lost when the loop is created.
func (r *registrar) noteLostNodes(s *store.Snapshot, now time.Time) {
	for _, n := range task.Nodes(s) {
		if !task.Live(s, n.Name) {
			r.setLive(n.Name, false, now)
		}
	}
}

// replacementWaitOf returns the longest time for which a task that is to stop stays in the answers.
func replacementWaitOf(s *store.Snapshot, t *task.Task, now time.Time) time.Duration {
	svc, ok := task.FindServiceByKey(s, t.ServiceKey())
	if !ok || t.Registration != task.Registered || t.StopCode != task.UserInitiated {
		return 0
	}
	return replacementWait(t, svc, task.TasksOf(s, svc.Ref()), now)
}

// drainWaitOf returns the longest time for which a draining task still waits, 0 for another task. The clearance of a
// live node marks the task again.
func (r *registrar) drainWaitOf(s *store.Snapshot, t *task.Task, now time.Time) time.Duration {
	if t.Registration != task.Draining {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	since := r.drainingSince[t.Key()]
	if since.IsZero() { // the task began to drain after track read it; that change marks it again
		return r.drainCap
	}
	w := drainWait{Deadline: since.Add(r.drainCap), TTL: longestTTL(s, t)}
	for _, n := range task.Nodes(s) {
		switch {
		case task.HasClearance(s, t.Ref(), n.Name):
		case task.Live(s, n.Name):
			w.LiveNodes = true
		default:
			if r.lostSince[n.Name].IsZero() {
				r.lostSince[n.Name] = now
			}
			w.LostSince = append(w.LostSince, r.lostSince[n.Name])
		}
	}
	return w.remaining(now)
}

// longestTTL returns the longest TTL with which the task may have been answered.
func longestTTL(s *store.Snapshot, t *task.Task) time.Duration {
	ttl := directory.DefaultDiscoverTTL * time.Second
	for _, reg := range t.Registries {
		if svc, err := registry.GetService(s, t.Scope(), reg.ServiceID); err == nil {
			ttl = max(ttl, svc.LongestTTL())
		}
	}
	return ttl
}
