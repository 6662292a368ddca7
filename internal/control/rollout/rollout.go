// Package rollout keeps every ECS service at its desired count and revision. It starts and stops tasks by writing their
// rows.
//
// [Plan] decides what to do. It is a pure function of a service, its tasks, the nodes and the time. The loop reads a
// service and its tasks, plans, and writes the changes in one transaction that fails if the service has changed since.
// rollout does not know runtimes or DNS: a task's row states whether the task serves.
//
// Start reading at Plan:
//
//	plan.go      Plan: the bounds of a rollout, the order of starts and stops
//	failures.go  failed tasks, delays, the deployment circuit breaker
//	daemon.go    the plan of a DAEMON service, with one task on each node
//	tasks.go     the tasks of a service, grouped so that a plan's cost does not grow with their number
//	rollout.go   the loop
//	write.go     the transaction that writes a plan's changes
//	events.go    the service's event messages
package rollout

import (
	"context"
	"crypto/rand"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/bakingclouds/rollcall/internal/control/loop"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/placement"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// rollout is the state of the loop.
type rollout struct {
	db    *store.Store
	tasks taskIndex

	mu      sync.Mutex
	daemons map[string]bool // keys of the DAEMON services
}

// New returns the loop. A service is reconciled when its row, one of its tasks or, for a DAEMON service, a node
// changes.
func New(db *store.Store, log *slog.Logger) *loop.Loop {
	r := newRollout(db)
	l := loop.New("rollout", 4, log, r.reconcile)
	db.Follow(func(c store.Change) { r.apply(c, l.Mark) }, task.Schema()...)
	return l
}

func newRollout(db *store.Store) *rollout {
	return &rollout{db: db, tasks: taskIndex{services: map[string]*ServiceTasks{}}, daemons: map[string]bool{}}
}

// apply updates the loop's state from a change of the store and marks the services to reconcile.
func (r *rollout) apply(c store.Change, mark func(key string)) {
	nodesChanged := false
	for _, row := range c.Rows {
		switch v := row.Row().(type) {
		case *task.Service:
			r.setDaemon(v.Key(), v.Daemon && v.Status == task.Active && row.New != nil)
			mark(v.Key())
		case *task.Task:
			if v.Service != "" {
				r.tasks.update(row)
				mark(v.ServiceKey())
			}
		case *task.Node, *task.Alive, *task.ContainerInstance:
			nodesChanged = true
		}
	}
	if !nodesChanged {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for key := range r.daemons {
		mark(key)
	}
}

// setDaemon stores whether a service is an active DAEMON service.
func (r *rollout) setDaemon(key string, daemon bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if daemon {
		r.daemons[key] = true
	} else {
		delete(r.daemons, key)
	}
}

// reconcile plans a service's changes and writes them. It returns the time after which the service has to be reconciled
// again.
//
// The plan is made from the service's row and the nodes of one snapshot, and from tasks that are at least as recent:
// with older ones, the loop would start again what it has already started. The transaction writes only if the rows of
// the service and of the tasks that the plan changes are still those that the plan was made from: a task may have
// been protected since. It does not compare the other tasks, so that a service of any size fits into a transaction; a
// change of another task could as well happen right after the commit.
func (r *rollout) reconcile(ctx context.Context, key string) (time.Duration, error) {
	s := r.db.Snapshot()
	svc, ok := task.FindServiceByKey(s, key)
	if !ok || svc.Status == task.Inactive {
		return 0, nil
	}
	nodes, err := nodesFor(s, svc)
	if err != nil {
		return 0, err
	}
	if err := r.db.Wait(ctx, s.Rev()); err != nil {
		return 0, fault.New(fault.Unavailable, "rollout", "tasks of revision %d are not yet known: %v", s.Rev(), err)
	}
	now := time.Now()
	ch := Plan(svc, r.tasks.tasksOf(key), nodes, now)
	current, err := r.commit(ctx, svc, ch, now)
	switch {
	case err != nil:
		return 0, err
	case !current:
		return time.Millisecond, nil
	}
	return nextPlan(ch, now), nil
}

// commit writes the changes that were planned for svc. False means that the plan is stale, and that nothing was
// written.
func (r *rollout) commit(ctx context.Context, svc *task.Service, ch Changes, now time.Time) (current bool, err error) {
	ids := newRowIDs(ch)
	return store.Update(ctx, r.db, func(tx *store.Tx) (bool, error) {
		if isStale(tx, svc, ch) {
			return false, nil
		}
		return true, write(tx, svc, ch, ids, now)
	})
}

// isStale reports whether the row of the service, or of a task that the plan changes, has changed since the plan was
// made.
func isStale(tx *store.Tx, svc *task.Service, ch Changes) bool {
	changed := func(t *task.Task) bool {
		row, ok := task.FindByKey(tx, t.Key())
		return !ok || row != t
	}
	if row, ok := task.FindServiceByKey(tx, svc.Key()); !ok || row != svc {
		return true
	}
	return slices.ContainsFunc(ch.Stop, func(s Stop) bool { return changed(s.Task) }) ||
		slices.ContainsFunc(ch.CountFailed, changed)
}

// nextPlan returns the time after which a plan has to be made again although no row changes, 0 for never.
func nextPlan(ch Changes, now time.Time) time.Duration {
	if ch.Steady {
		ch.planAgainAt(now.Add(repeatAfter))
	}
	if ch.PlanAgainAt.IsZero() {
		return 0
	}
	return max(ch.PlanAgainAt.Sub(now), time.Millisecond)
}

// nodesFor returns the nodes of a DAEMON service, nil for another. A node that is draining, or that the placement
// constraints exclude, is not listed.
func nodesFor(s *store.Snapshot, svc *task.Service) (Nodes, error) {
	if !svc.Daemon {
		return nil, nil
	}
	all := svc.Constraints
	if def, err := task.GetDefinition(s, svc.Scope(), svc.Primary().Family, svc.Primary().Revision); err == nil {
		all = slices.Concat(all, def.Constraints)
	}
	constraints, err := placement.ParseConstraints(all)
	if err != nil {
		return nil, err
	}
	nodes := Nodes{}
	for _, h := range placement.ReadInventory(s).Hosts(svc.Ref().ClusterRef()) {
		switch {
		case h.Eligible(constraints):
			nodes[h.Node.Name] = true
		case h.AcceptsTasks() && !h.Live:
			nodes[h.Node.Name] = false
		}
	}
	return nodes, nil
}

// rowIDs are the ids of the rows that a write adds. They are made before the transaction, so that each run of the
// transaction function writes the same rows.
type rowIDs struct {
	tasks    []task.ID
	rollback string   // the number of the deployment that rolls back
	events   [32]byte // the seed of the ids of events
}

func newRowIDs(ch Changes) rowIDs {
	ids := rowIDs{rollback: task.NewDeploymentNumber()}
	for range ch.Start {
		ids.tasks = append(ids.tasks, task.NewID())
	}
	rand.Read(ids.events[:]) // never fails
	return ids
}
