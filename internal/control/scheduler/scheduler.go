// Package scheduler gives the tasks that wait for a node one, as soon as one has room for them; a task is never moved.
//
// Which node, package placement decides. Of all waiting tasks one pass places as many as it can, the oldest first, so
// that each is placed on what those before it have left. A pass is made when a task begins to wait, and when something
// changes that could make room: a task ends, a node comes or changes. Why a service's task finds no room, its history
// says, once for each cause until none of its tasks waits any more.
package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/bakingclouds/rollcall/internal/control/loop"
	"github.com/bakingclouds/rollcall/internal/placement"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// batch bounds how many tasks one transaction places or ends.
const batch = 200

// repeat is how long a cause that goes on is not told again (ECS says it every six hours).
const repeat = 6 * time.Hour

// everything is the loop's one key: tasks are placed on what others have left.
const everything = "everything"

// New makes the loop and marks it when there may be something to place.
func New(db *store.Store, log *slog.Logger) *loop.Loop {
	l := loop.New("place", 1, log, func(ctx context.Context, _ string) (time.Duration, error) {
		return reconcile(ctx, db)
	})
	db.Follow(func(c store.Change) {
		for _, r := range c.Rows {
			if matters(r) {
				l.Mark(everything)
				return
			}
		}
	}, task.Schema()...)
	return l
}

// matters reports whether a change may be one that a task waits for, or a task that begins to wait.
func matters(r store.RowChange) bool {
	switch row := r.New.(type) {
	case *task.Task:
		old, _ := r.Old.(*task.Task)
		return row.Node == "" && row.Observed.State < task.Stopped || // waits
			old != nil && old.Observed.State < task.Stopped && row.Observed.State == task.Stopped || // gives back
			old != nil && old.Desired != row.Desired // counts no more for distinctInstance
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

func reconcile(ctx context.Context, db *store.Store) (time.Duration, error) {
	if s := db.Snapshot(); len(task.Waiting(s)) == 0 && len(task.UnplacedServices(s)) == 0 {
		return 0, nil
	}
	return store.UpdateSerialized(ctx, db, task.PlacementQueue, func(tx *store.Tx) (time.Duration, error) {
		p := &pass{tx: tx, inventory: placement.ReadInventory(tx.Snapshot()), now: time.Now(), refused: map[kind]bool{}, causes: map[string]cause{}}
		return p.run()
	})
}

// pass is one transaction under way.
type pass struct {
	tx        *store.Tx
	inventory *placement.Inventory
	now       time.Time
	refused   map[kind]bool    // found no room: within a pass, none is made
	causes    map[string]cause // by service: why some of its tasks wait
}

// cause is why a task waits: in a word, and as the service's history says it.
type cause struct{ reason, text string }

// kind is what tasks have in common that differ in nothing placement asks about.
type kind struct {
	service, family string
	revision        int
	node            string
}

func (p *pass) run() (time.Duration, error) {
	changed, more := 0, false
	waits := map[string]bool{} // services
	for _, t := range task.Waiting(p.tx.Snapshot()) {
		if changed == batch {
			more = true
			waits[t.ServiceKey()] = true
			continue
		}
		done, err := p.place(t)
		if err != nil {
			return 0, err
		}
		if done {
			changed++
		} else {
			waits[t.ServiceKey()] = true
		}
	}
	for key, cause := range p.causes {
		p.say(key, cause)
	}
	for _, svc := range task.UnplacedServices(p.tx.Snapshot()) {
		if waits[svc.Key()] {
			continue
		}
		if svc, ok := task.FindServiceByKey(p.tx, svc.Key()); ok {
			next := *svc
			next.Unplaced = nil
			task.PutService(p.tx, next)
		}
	}
	switch {
	case more:
		return time.Millisecond, nil
	case len(p.causes) > 0:
		return repeat, nil
	}
	return 0, nil
}

// place gives a task a node; false leaves it waiting.
func (p *pass) place(t *task.Task) (done bool, err error) {
	if t.Desired == task.DesiredStopped {
		return true, p.end(t) // it was stopped before it had a node: no agent will
	}
	k := kind{t.ServiceKey(), t.Family, t.Revision, t.OnlyNode}
	if t.Service == "" {
		k.service += string(t.ID)
	}
	if p.refused[k] {
		return false, nil
	}
	w, err := p.wish(t)
	if err != nil {
		if _, _, err := task.Stop(p.tx, t.Ref(), task.StopCause{Code: task.TaskFailedToStart, Reason: err.Error()}, p.now); err != nil {
			return false, err
		}
		return true, p.end(t)
	}
	host, rejections := placement.Pick(p.inventory.Hosts(t.Scope(), t.Cluster), w, rand.IntN)
	if host == nil {
		p.refused[k] = true
		if t.Service != "" {
			p.causes[t.ServiceKey()] = why(rejections)
		}
		return false, nil
	}
	return true, task.UpdateTask(p.tx, t.Ref(), func(t *task.Task) bool {
		p.inventory.Assign(p.tx, t, host, w.Resources)
		return true
	})
}

// wish is what a task asks of a node: by its definition, and by its service as that is now. An error is one for
// people to read: the task can never be placed.
func (p *pass) wish(t *task.Task) (placement.Requirements, error) {
	w := placement.Requirements{Group: t.Group(), Service: t.Service != "", OnlyNode: t.OnlyNode}
	def, err := task.GetDefinition(p.tx.Snapshot(), t.Scope(), t.Family, t.Revision)
	if err != nil {
		return w, fmt.Errorf("TaskDefinition %s:%d not found", t.Family, t.Revision)
	}
	w.Resources = t.Overrides.Apply(def).Resources()
	constraints := [][]task.PlacementConstraint{def.Constraints}
	if svc, ok := task.FindServiceByKey(p.tx.Snapshot(), t.ServiceKey()); ok {
		constraints, w.Strategy = append(constraints, svc.Constraints), svc.Placement
	}
	if w.Constraints, err = placement.ParseConstraints(constraints...); err != nil {
		return w, fmt.Errorf("a placement constraint cannot be read: %w", err)
	}
	return w, nil
}

// end finishes a task that has no node.
func (p *pass) end(t *task.Task) error {
	return task.UpdateTask(p.tx, t.Ref(), func(t *task.Task) bool {
		t.Observed.State, t.Observed.StoppedAt = task.Stopped, &p.now
		return true
	})
}

// say writes into a service's history why its tasks wait, unless it has said so not long ago.
func (p *pass) say(key string, c cause) {
	svc, ok := task.FindServiceByKey(p.tx, key)
	if !ok {
		return
	}
	next := *svc
	next.Unplaced = &task.Unplaced{Said: map[string]time.Time{}}
	if svc.Unplaced != nil {
		maps.Copy(next.Unplaced.Said, svc.Unplaced.Said)
	}
	if said, ok := next.Unplaced.Said[c.reason]; ok && p.now.Sub(said) < repeat {
		return
	}
	next.Unplaced.Said[c.reason] = p.now
	task.PutService(p.tx, next)
	task.AddEvent(p.tx, svc, task.Event{
		ID: uuid.NewString(), Created: p.now,
		Message: "was unable to place a task because no container instance met all of its requirements. " +
			c.text + " For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.",
	})
}

// why is the cause in ECS's words (ECS Developer Guide, "Service event messages").
func why(rejections []placement.Rejection) cause {
	if len(rejections) == 0 {
		return cause{"none", "Reason: No Container Instances were found in your cluster."}
	}
	closest := placement.Closest(rejections)
	reason := closest.Reasons[0]
	what := fmt.Sprintf("encountered error %q.", reason)
	switch reason {
	case placement.LacksMemory:
		what = "has insufficient memory available."
	case placement.LacksCPU:
		what = "has insufficient CPU units available."
	case placement.LacksPorts:
		what = "is already using a port required by your task."
	}
	return cause{reason, fmt.Sprintf("The closest matching (container-instance %s) %s", closest.Host.Instance.ID(), what)}
}
