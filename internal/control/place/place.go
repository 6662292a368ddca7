// Package place decides which node a task runs on.
//
// [Pick] is a pure function from a task and the nodes to a node. The loop gives every task that has none
// its node, once; a task is never moved.
package place

import (
	"context"
	"log/slog"
	"time"

	"github.com/bakingclouds/rollcall/internal/control/loop"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// Candidate is a node and how many tasks it has.
type Candidate struct {
	Node  *task.Node
	Tasks int
}

// Pick chooses the node with the fewest tasks, the first of several; none when there is no node.
func Pick(candidates []Candidate) (*task.Node, bool) {
	if len(candidates) == 0 {
		return nil, false
	}
	best := candidates[0]
	for _, c := range candidates[1:] {
		if c.Tasks < best.Tasks {
			best = c
		}
	}
	return best.Node, true
}

// New makes the loop and marks tasks that have no node.
func New(db *store.Store, log *slog.Logger) *loop.Loop {
	l := loop.New("place", 4, log, func(ctx context.Context, key string) (time.Duration, error) {
		return reconcile(ctx, db, key)
	})
	db.Follow(func(c store.Change) {
		for _, r := range c.Rows {
			if t, ok := r.New.(*task.Task); ok && t.Node == "" {
				l.Mark(t.Key())
			}
		}
	}, task.Schema()...)
	return l
}

// retry is how long a task waits that no node can take.
const retry = 5 * time.Second

func reconcile(ctx context.Context, db *store.Store, key string) (time.Duration, error) {
	return store.Update(ctx, db, func(tx *store.Tx) (time.Duration, error) {
		t, ok := task.FindByKey(tx, key)
		if !ok || t.Node != "" {
			return 0, nil
		}
		if t.Desired == task.DesiredStopped {
			return 0, end(tx, t)
		}
		var candidates []Candidate
		for _, n := range task.LiveNodes(tx) {
			if n.Runtime != "none" {
				candidates = append(candidates, Candidate{n, len(task.TasksOn(tx.Snapshot(), n.Name))})
			}
		}
		node, ok := Pick(candidates)
		if !ok {
			return retry, nil
		}
		return 0, task.UpdateTask(tx, t.Scope(), t.Cluster, t.ID, func(t *task.Task) bool {
			t.Node = node.Name
			return true
		})
	})
}

// end finishes a task that was stopped before it had a node: no agent will.
func end(tx *store.Tx, t *task.Task) error {
	now := time.Now()
	return task.UpdateTask(tx, t.Scope(), t.Cluster, t.ID, func(t *task.Task) bool {
		if t.Observed.State == task.Stopped {
			return false
		}
		t.Observed.State, t.Observed.StoppedAt = task.Stopped, &now
		return true
	})
}
