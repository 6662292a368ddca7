// Package nodefailure gives up the tasks of nodes that are lost: they are stopped on paper, deregistered by the register loop
// and replaced elsewhere by the rollout loop.
//
// A node is lost while the lease that its server keeps is gone. Its tasks most often still run, since they outlive the
// server, so they are given a grace: a server that is stopped and started again finds its tasks as it left them. The
// grace is counted in time that this process has seen pass while the leases could be believed, tick by tick. While etcd
// is out of reach, for this process or for its disk, or while this node's own lease is gone too, nothing is counted
// and all begins anew: then leases say nothing of who is lost. So a pause of the whole system, or of its only node,
// gives nothing up.
package nodefailure

import (
	"context"
	"log/slog"
	"time"

	"github.com/bakingclouds/rollcall/internal/control/loop"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// batch is how many tasks one transaction gives up.
const batch = 500

// Config says whom to watch.
type Config struct {
	Self     string        // this node
	Grace    time.Duration // how long a node may be lost; 0 is for ever
	Writable func() error  // why nothing can be written now, leases neither
	Log      *slog.Logger
}

// Run watches until ctx ends.
func Run(ctx context.Context, db *store.Store, cfg Config) error {
	if cfg.Grace == 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	absent := absences{}
	return loop.Ticks(ctx, func(elapsed time.Duration) {
		s := db.Snapshot()
		if stale, _ := db.Stale(); stale || cfg.Writable() != nil || !task.Live(s, cfg.Self) {
			clear(absent)
			return
		}
		for _, node := range absent.pass(elapsed, cfg.Grace, task.Nodes(s), func(name string) bool { return task.Live(s, name) }) {
			if err := giveUp(ctx, db, node, cfg.Log); err != nil && ctx.Err() == nil {
				cfg.Log.Warn("the tasks of a lost node could not be given up and are tried again", "node", node, "err", err)
			}
		}
	})
}

// absences is how long each node has been seen lost.
type absences map[string]time.Duration

// pass lets time pass and returns the nodes whose grace is over.
func (a absences) pass(elapsed, grace time.Duration, nodes []*task.Node, live func(string) bool) []string {
	var over []string
	for _, n := range nodes {
		if live(n.Name) {
			delete(a, n.Name)
			continue
		}
		if a[n.Name] += elapsed; a[n.Name] >= grace {
			over = append(over, n.Name)
		}
	}
	return over
}

// giveUp gives up what a node still has, unless it has come back.
func giveUp(ctx context.Context, db *store.Store, node string, log *slog.Logger) error {
	if len(remaining(db.Snapshot(), node)) == 0 {
		return nil
	}
	n, err := store.UpdateSerialized(ctx, db, task.PlacementQueue, func(tx *store.Tx) (int, error) {
		if task.Live(tx, node) {
			return 0, nil
		}
		ts := remaining(tx.Snapshot(), node)
		ts = ts[:min(len(ts), batch)]
		now := time.Now()
		for _, t := range ts {
			// ECS Developer Guide, "Stopped tasks error messages".
			reason := "Host EC2 (instance " + task.MachineID(node) + ") terminated."
			if err := task.GiveUp(tx, t.Ref(), task.StopCause{Code: task.TerminationNotice, Reason: reason}, now); err != nil {
				return 0, err
			}
		}
		return len(ts), nil
	})
	if n > 0 {
		log.Warn("a node is lost; its tasks are given up", "node", node, "tasks", n)
	}
	return err
}

// remaining are the node's tasks that have not stopped.
func remaining(s *store.Snapshot, node string) []*task.Task {
	var ts []*task.Task
	for _, t := range task.TasksOn(s, node) {
		if t.Observed.State != task.Stopped {
			ts = append(ts, t)
		}
	}
	return ts
}
