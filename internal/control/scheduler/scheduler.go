// Package scheduler assigns each task that waits for a node to a node as soon as one has room. It never moves a task.
//
// Package placement decides which node. One transaction places as many of the waiting tasks as it can, the oldest
// first; each placed task reduces the resources for the next one. The loop runs when a task begins to wait and when a
// change may have made room: a task ended, or a node was added or changed. While tasks of a service find no room, an
// event in the service's history reports the cause, once per cause until none of its tasks waits.
//
// scheduler does not start tasks: the agent of the node that a task is placed on does. Start reading at
// [placer.placeTask].
package scheduler

import (
	"context"
	crand "crypto/rand"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/bakingclouds/rollcall/internal/control/loop"
	"github.com/bakingclouds/rollcall/internal/placement"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// batch is the maximum number of tasks that one transaction places or ends.
const batch = 200

// repeatAfter is the interval after which the event of a cause that persists is added again, as at ECS.
const repeatAfter = 6 * time.Hour

// allTasks is the loop's only key: where a task is placed depends on the tasks that were placed before it.
const allTasks = "everything"

// New returns the loop. It runs when a task may be placed.
func New(db *store.Store, log *slog.Logger) *loop.Loop {
	l := loop.New("place", 1, log, func(ctx context.Context, _ string) (time.Duration, error) {
		return reconcile(ctx, db, time.Now())
	})
	db.Follow(func(c store.Change) {
		for _, r := range c.Rows {
			if affectsPlacement(r) {
				l.Mark(allTasks)
				return
			}
		}
	}, task.Schema()...)
	return l
}

// affectsPlacement reports whether a change may let a task be placed: a task began to wait, or there may be more room.
func affectsPlacement(r store.RowChange) bool {
	switch row := r.New.(type) {
	case *task.Task:
		old, _ := r.Old.(*task.Task)
		waits := row.Node == "" && row.Observed.State < task.Stopped
		// A stopped task releases its resources. A task that is to stop does not count for distinctInstance.
		releases := old != nil && (old.Observed.State < task.Stopped && row.Observed.State == task.Stopped ||
			old.Desired != row.Desired)
		return waits || releases
	case *task.Service:
		return row.Unplaced != nil
	case *task.Node, *task.Alive, *task.ContainerInstance:
		return true
	case nil:
		switch old := r.Old.(type) {
		case *task.Task:
			return old.Observed.State < task.Stopped
		case *task.ContainerInstance:
			return true
		}
	}
	return false
}

// reconcile places the waiting tasks. It returns the time after which it has to run again although no row changes.
func reconcile(ctx context.Context, db *store.Store, now time.Time) (time.Duration, error) {
	if s := db.Snapshot(); len(task.UnplacedTasks(s)) == 0 && len(task.UnplacedServices(s)) == 0 {
		return 0, nil
	}
	var seed [32]byte // drawn before the transaction, so that each run of the function draws the same numbers
	crand.Read(seed[:])
	return store.UpdateSerialized(ctx, db, task.PlacementQueue, func(tx *store.Tx) (time.Duration, error) {
		p := &placer{
			tx: tx, inventory: placement.ReadInventory(tx.Snapshot()), random: rand.NewChaCha8(seed), now: now,
			rejected: map[taskClass]bool{}, causes: map[string]waitCause{},
		}
		return p.placeAll()
	})
}

// placer places the waiting tasks in one transaction.
type placer struct {
	tx        *store.Tx
	inventory *placement.Inventory
	random    *rand.ChaCha8
	now       time.Time
	rejected  map[taskClass]bool   // classes that found no room; while one placer runs, room only shrinks
	causes    map[string]waitCause // by service key: why some of its tasks wait
}

// taskClass identifies tasks with the same requirements.
type taskClass struct {
	service, family string
	revision        int
	node            string
}

func (p *placer) placeAll() (time.Duration, error) {
	changed, more := 0, false
	waiting := map[string]bool{} // keys of the services with tasks that still wait
	for _, t := range task.UnplacedTasks(p.tx.Snapshot()) {
		if changed == batch {
			more = true
			waiting[t.ServiceKey()] = true
			continue
		}
		done, err := p.placeTask(t)
		if err != nil {
			return 0, err
		}
		if done {
			changed++
		} else {
			waiting[t.ServiceKey()] = true
		}
	}
	for _, key := range slices.Sorted(maps.Keys(p.causes)) {
		p.reportCause(key, p.causes[key])
	}
	p.clearUnplaced(waiting)
	switch {
	case more:
		return time.Millisecond, nil
	case len(p.causes) > 0:
		return repeatAfter, nil
	}
	return 0, nil
}

// placeTask assigns a task to a node, or ends a task that can never have one. False means that the task still waits.
func (p *placer) placeTask(t *task.Task) (done bool, err error) {
	if t.Desired == task.DesiredStopped {
		return true, p.endTask(t) // without a node, no agent would end it
	}
	class := taskClass{t.ServiceKey(), t.Family, t.Revision, t.OnlyNode}
	if t.Service == "" {
		class.service += string(t.ID)
	}
	if p.rejected[class] {
		return false, nil
	}
	requirements, err := p.requirementsOf(t)
	if err != nil {
		cause := task.StopCause{Code: task.TaskFailedToStart, Reason: err.Error()}
		if _, _, err := task.Stop(p.tx, t.Ref(), cause, p.now); err != nil {
			return false, err
		}
		return true, p.endTask(t)
	}
	hosts := p.inventory.Hosts(t.ClusterRef())
	host, rejections := placement.Pick(hosts, requirements, rand.New(p.random).IntN)
	if host == nil {
		p.rejected[class] = true
		if t.Service != "" {
			p.causes[t.ServiceKey()] = waitCauseOf(rejections)
		}
		return false, nil
	}
	return true, task.UpdateTask(p.tx, t.Ref(), func(t *task.Task) bool {
		p.inventory.Assign(p.tx, t, host, requirements.Resources)
		return true
	})
}

// requirementsOf returns the requirements of a task: those of its definition, and those that its service has now. An
// error, whose text is for users, means that the task can never be placed.
func (p *placer) requirementsOf(t *task.Task) (placement.Requirements, error) {
	r := placement.Requirements{Group: t.Group(), Service: t.Service != "", OnlyNode: t.OnlyNode}
	def, err := task.GetDefinition(p.tx.Snapshot(), t.Scope(), t.Family, t.Revision)
	if err != nil {
		return r, fmt.Errorf("TaskDefinition %s:%d not found", t.Family, t.Revision)
	}
	r.Resources = t.Overrides.Apply(def).Resources()
	constraints := [][]task.PlacementConstraint{def.Constraints}
	if svc, ok := task.FindServiceByKey(p.tx.Snapshot(), t.ServiceKey()); ok {
		constraints, r.Strategy = append(constraints, svc.Constraints), svc.Placement
	}
	if r.Constraints, err = placement.ParseConstraints(constraints...); err != nil {
		return r, fmt.Errorf("invalid placement constraint: %w", err)
	}
	return r, nil
}

// endTask ends a task without a node.
func (p *placer) endTask(t *task.Task) error {
	return task.UpdateTask(p.tx, t.Ref(), func(t *task.Task) bool {
		t.Observed.State, t.Observed.StoppedAt = task.Stopped, &p.now
		return true
	})
}

// reportCause adds an event that reports why tasks of a service wait, unless the cause was reported less than
// repeatAfter ago.
func (p *placer) reportCause(serviceKey string, c waitCause) {
	svc, ok := task.FindServiceByKey(p.tx, serviceKey)
	if !ok {
		return
	}
	next := *svc
	next.Unplaced = &task.Unplaced{ReportedAt: map[string]time.Time{}}
	if svc.Unplaced != nil {
		maps.Copy(next.Unplaced.ReportedAt, svc.Unplaced.ReportedAt)
	}
	if reported, ok := next.Unplaced.ReportedAt[c.reason]; ok && p.now.Sub(reported) < repeatAfter {
		return
	}
	next.Unplaced.ReportedAt[c.reason] = p.now
	task.PutService(p.tx, next)
	task.AddEvent(p.tx, svc, task.Event{
		ID: uuid.Must(uuid.NewRandomFromReader(p.random)).String(), Created: p.now,
		Message: "was unable to place a task because no container instance met all of its requirements. " +
			c.text + " For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.",
	})
}

// clearUnplaced clears the reported causes of the services that have no waiting tasks any more.
func (p *placer) clearUnplaced(waiting map[string]bool) {
	for _, svc := range task.UnplacedServices(p.tx.Snapshot()) {
		if waiting[svc.Key()] {
			continue
		}
		if svc, ok := task.FindServiceByKey(p.tx, svc.Key()); ok {
			next := *svc
			next.Unplaced = nil
			task.PutService(p.tx, next)
		}
	}
}

// waitCause is the cause for which a task waits: a key that identifies it, and the sentence of the event.
type waitCause struct{ reason, text string }

// waitCauseOf returns the cause of rejections in ECS's words (ECS Developer Guide, "Service event messages").
func waitCauseOf(rejections []placement.Rejection) waitCause {
	if len(rejections) == 0 {
		return waitCause{"none", "Reason: No Container Instances were found in your cluster."}
	}
	closest := placement.Closest(rejections)
	reason := closest.Reasons[0]
	problem := fmt.Sprintf("encountered error %q.", reason)
	switch reason {
	case placement.LacksMemory:
		problem = "has insufficient memory available."
	case placement.LacksCPU:
		problem = "has insufficient CPU units available."
	case placement.LacksPorts:
		problem = "is already using a port required by your task."
	}
	id := closest.Host.Instance.ID()
	return waitCause{reason, fmt.Sprintf("The closest matching (container-instance %s) %s", id, problem)}
}
