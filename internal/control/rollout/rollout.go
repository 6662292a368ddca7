// Package rollout keeps every service at its desired count and revision: it starts and stops tasks by
// writing their rows.
//
// What to do is [Plan]'s to decide, a pure function from a service, its tasks and the time; the loop reads
// one state, plans, and writes if nothing changed since. It does not know nodes, runtimes or DNS: whether a
// task serves, its row says.
//
//	plan.go     Plan: bounds, order of starts and stops, where the service stands
//	breaker.go  failures, delays, the deployment circuit breaker
//	daemon.go   the same for services with one task on each node
//	fleet.go    a service's tasks, sorted by what Plan asks, so that a pass costs what has changed
//	rollout.go  the loop, and how changes are written
//	events.go   what people and clients are told
package rollout

import (
	"cmp"
	"context"
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

// rollout is the loop's state.
type rollout struct {
	db     *store.Store
	fleets fleets

	mu      sync.Mutex
	daemons map[string]bool // keys of the services with a task on each node
}

// New makes the loop and marks services as they, their tasks, or the nodes change.
func New(db *store.Store, log *slog.Logger) *loop.Loop {
	r := newRollout(db)
	l := loop.New("rollout", 4, log, r.reconcile)
	db.Follow(r.take(l.Mark), task.Schema()...)
	return l
}

func newRollout(db *store.Store) *rollout {
	return &rollout{db: db, fleets: fleets{byService: map[string]*ServiceTasks{}}, daemons: map[string]bool{}}
}

// take follows the rows and marks the services that they touch.
func (r *rollout) take(mark func(key string)) func(store.Change) {
	return func(c store.Change) {
		nodes := false
		for _, row := range c.Rows {
			switch v := either(row).(type) {
			case *task.Service:
				r.follow(v, row.New != nil)
				mark(v.Key())
			case *task.Task:
				if v.Service != "" {
					r.fleets.change(taskChange(row))
					mark(v.ServiceKey())
				}
			case *task.Node, *task.Alive, *task.ContainerInstance:
				nodes = true
			}
		}
		if !nodes {
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for key := range r.daemons {
			mark(key)
		}
	}
}

func either(r store.RowChange) any {
	if r.New != nil {
		return r.New
	}
	return r.Old
}

// follow notes whether a service wants a task on each node.
func (r *rollout) follow(svc *task.Service, there bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if svc.Daemon && there && svc.Status == task.Active {
		r.daemons[svc.Key()] = true
	} else {
		delete(r.daemons, svc.Key())
	}
}

// reconcile plans a service's changes and writes them.
func (r *rollout) reconcile(ctx context.Context, key string) (time.Duration, error) {
	return store.Update(ctx, r.db, func(tx *store.Tx) (time.Duration, error) {
		svc, ok := task.FindServiceByKey(tx, key)
		if !ok || svc.Status == task.Inactive {
			return 0, nil
		}
		// The fleet must not be older than the service, or what has been started would be started again. It may be
		// newer. Of its tasks only those that the plan touches are compared at commit, so that a service of any
		// size fits into a transaction: what else happens to one meanwhile might as well happen right after.
		if err := r.db.Wait(ctx, tx.Rev()); err != nil {
			return 0, fault.New(fault.Unavailable, "rollout", "the tasks of revision %d are not known yet: %v", tx.Rev(), err)
		}
		now := time.Now()
		nodes, err := nodesFor(tx.Snapshot(), svc)
		if err != nil {
			return 0, err
		}
		ch := Plan(svc, r.fleets.of(key), nodes, now)
		if err := write(tx, svc, ch, now); err != nil {
			return 0, err
		}
		if ch.Steady {
			ch.lookAgain(now.Add(repeatAfter))
		}
		if ch.LookAgain.IsZero() {
			return 0, nil
		}
		return max(ch.LookAgain.Sub(now), time.Millisecond), nil
	})
}

// nodesFor are the nodes that a DAEMON service is concerned with; none for another. A node that drains, or that the
// constraints exclude, is not among them.
func nodesFor(s *store.Snapshot, svc *task.Service) (Nodes, error) {
	if !svc.Daemon {
		return nil, nil
	}
	wanted := svc.Constraints
	if def, err := task.GetDefinition(s, svc.Scope(), svc.Primary().Family, svc.Primary().Revision); err == nil {
		wanted = slices.Concat(wanted, def.Constraints)
	}
	constraints, err := placement.ParseConstraints(wanted)
	if err != nil {
		return nil, err
	}
	nodes := Nodes{}
	for _, h := range placement.ReadInventory(s).Hosts(svc.Scope(), svc.Cluster) {
		switch {
		case h.Eligible(constraints):
			nodes[h.Node.Name] = true
		case h.AcceptsTasks() && !h.Live:
			nodes[h.Node.Name] = false
		}
	}
	return nodes, nil
}

// write applies changes to the rows.
func write(tx *store.Tx, svc *task.Service, ch Changes, now time.Time) error {
	next := *svc
	next.Deployments = slices.Clone(svc.Deployments)
	told := &events{tx: tx, svc: svc, now: now}
	if svc.Status == task.Active {
		task.BeginServiceDeployment(tx, &next, now)
	}
	started := startTasks(tx, &next, ch, now)
	stopped, err := stopTasks(tx, svc, ch.Stop, told, now)
	if err != nil {
		return err
	}
	told.startedAndStopped(started, stopped)
	if err := countFailures(tx, svc, ch.Count, told); err != nil {
		return err
	}
	changed := settle(tx, &next, ch, told, now)
	if changed || len(started) > 0 {
		// Whoever starts tasks of a service writes its row, so that two passes on one state never both win.
		task.PutService(tx, next)
	}
	if ch.Failures.FailedTasks >= 3 && ch.Failures.FailedTasks > svc.Primary().FailedTasks && ch.Fail == None {
		told.once(unableToStart)
	}
	if ch.Blocked != "" {
		told.once(ch.Blocked)
	}
	if ch.Steady {
		told.steady()
	}
	return nil
}

// settle writes what the plan says of the service itself into next; it reports whether anything differs.
func settle(tx *store.Tx, next *task.Service, ch Changes, told *events, now time.Time) bool {
	before := len(next.Deployments)
	next.Deployments = slices.DeleteFunc(next.Deployments, func(d task.Deployment) bool { return !slices.Contains(ch.Keep, d.ID) })
	changed := len(next.Deployments) != before
	p := next.Primary()
	if ch.Failures != p.Failures {
		p.Failures, changed = ch.Failures, true
	}
	if ch.Desired != next.DesiredCount {
		next.DesiredCount, changed = ch.Desired, true
	}
	if ch.Completed || ch.Fail != None {
		if b := next.Breaker; b != nil {
			task.CountFailures(tx, next, task.BreakerCount{Tripped: ch.Fail == Tripped, Failures: p.FailedTasks, Threshold: b.Threshold(ch.Desired)})
		}
		changed = true
	}
	if ch.Completed {
		p.Rollout, p.Reason, p.Updated = task.Completed, "ECS deployment "+p.ID+" completed.", now
		done := *p
		next.Settled = &done
		task.FinishServiceDeployment(tx, next, now)
		told.add(completed, p.ID)
	}
	if ch.Fail != None {
		fail(tx, next, ch, told, now)
	}
	if ch.Inactive {
		next.Status, next.Deleted, changed = task.Inactive, &now, true
	}
	return changed
}

// fail ends the primary's rollout without success, and begins the rollback if there is to be one.
func fail(tx *store.Tx, next *task.Service, ch Changes, told *events, now time.Time) {
	p := next.Primary()
	p.Rollout, p.Updated, p.Stop = task.Failed, now, ""
	p.Reason = "ECS deployment circuit breaker: tasks failed to start."
	why := "The deployment circuit breaker was triggered: tasks failed to start."
	if ch.Fail == Stopped {
		p.Reason = "ECS deployment " + p.ID + " was stopped."
		why = "The service deployment was stopped on request."
	} else {
		told.add(failedToStart, p.ID)
	}
	if !ch.RollBack {
		task.FailServiceDeployment(tx, next, why, now)
		return
	}
	told.add(rollingBack, next.Earlier().ID)
	task.RollBack(tx, next, why, now)
}

// startTasks writes the new tasks of the primary deployment.
func startTasks(tx *store.Tx, svc *task.Service, ch Changes, now time.Time) []string {
	if ch.Start == 0 {
		return nil
	}
	var ids []string
	d := svc.Primary()
	def, err := task.GetDefinition(tx, svc.Scope(), d.Family, d.Revision)
	if err != nil {
		def = &task.Definition{} // the agent says so for each task
	}
	have := task.ProvidersOf(tx.Snapshot(), svc, d)
	for i := range ch.Start {
		provider := task.NextProvider(d.Strategy, have)
		have[provider]++
		t := task.Task{
			Account: svc.Account, Region: svc.Region, Cluster: svc.Cluster, ID: task.NewID(),
			Service: svc.Name, Deployment: d.ID, Family: d.Family, Revision: d.Revision,
			Network: d.Network, Registries: d.Registries, Checked: def.Checked(), Created: now,
			LaunchType: cmp.Or(d.LaunchType, svc.LaunchType), CapacityProvider: provider,
			ExecuteCommand: svc.ExecuteCommand, Tags: svc.TaskTags(def),
			Observed: task.Observed{State: task.Provisioning, Health: task.HealthUnknown},
		}
		if ch.Nodes != nil {
			t.OnlyNode = ch.Nodes[i]
		}
		task.CreateTask(tx, t)
		ids = append(ids, t.ID)
	}
	return ids
}

func stopTasks(tx *store.Tx, svc *task.Service, stops []Stop, told *events, now time.Time) ([]string, error) {
	var ids []string
	for _, s := range stops {
		_, first, err := task.Stop(tx, svc.Scope(), svc.Cluster, s.ID, task.ServiceSchedulerInitiated, s.Reason, now)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return nil, err
		}
		if !first {
			continue
		}
		ids = append(ids, s.ID)
		if s.Reason == ReasonUnhealthy {
			told.add(failedHealth, s.ID)
		}
	}
	return ids, nil
}

// countFailures notes on failed tasks that they are taken into account, and tells why they failed.
func countFailures(tx *store.Tx, svc *task.Service, ids []string, told *events) error {
	for _, id := range ids {
		err := task.UpdateTask(tx, svc.Scope(), svc.Cluster, id, func(t *task.Task) bool {
			t.Counted = true
			if t.StoppedReason != ReasonUnhealthy { // that has an event of its own
				told.add(taskFailed, id, cause(t))
			}
			return true
		})
		if err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
	}
	return nil
}
