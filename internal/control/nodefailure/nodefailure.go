// Package nodefailure gives up the tasks of failed nodes. It sets their rows to STOPPED; package registrar then
// deregisters the tasks and package rollout replaces them.
//
// A node is lost while its server holds no lease in etcd, and it has failed when it has been lost for a grace period.
// In most cases the tasks of a lost node still run, because they outlive the server: a server that is restarted
// within the grace period finds its tasks unchanged.
//
// The grace period is measured in time that this process has counted tick by tick ([loop.Ticks]) while the leases
// were reliable. They are not while etcd is unreachable, while its disk accepts no writes, or while this node has no
// lease itself; then the counts of all nodes start again. A pause of the whole system, or of its only node, therefore
// fails no node.
//
// Start reading at [Run].
package nodefailure

import (
	"context"
	"log/slog"
	"time"

	"github.com/bakingclouds/rollcall/internal/control/loop"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// batch is the maximum number of tasks that one transaction gives up.
const batch = 500

// Config configures [Run].
type Config struct {
	Self     string        // the name of this node
	Grace    time.Duration // the grace period; 0 means forever
	Writable func() error  // returns an error while nothing can be written, and so no lease can be renewed
	Log      *slog.Logger
}

// Run gives up the tasks of failed nodes until ctx is done.
func Run(ctx context.Context, db *store.Store, cfg Config) error {
	if cfg.Grace == 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	lost := lostTimes{}
	return loop.Ticks(ctx, func(elapsed time.Duration) {
		s := db.Snapshot()
		if stale, _ := db.Stale(); stale || cfg.Writable() != nil || !task.Live(s, cfg.Self) {
			clear(lost)
			return
		}
		isLive := func(node string) bool { return task.Live(s, node) }
		for _, node := range lost.add(elapsed, cfg.Grace, task.Nodes(s), isLive) {
			if err := giveUpTasks(ctx, db, node, time.Now(), cfg.Log); err != nil && ctx.Err() == nil {
				cfg.Log.Warn("failed to give up the tasks of a failed node; will retry", "node", node, "err", err)
			}
		}
	})
}

// lostTimes is the time for which each lost node has been lost without interruption.
type lostTimes map[string]time.Duration

// add adds elapsed to the times of the lost nodes and returns the nodes that have been lost for the grace period.
func (lt lostTimes) add(elapsed, grace time.Duration, nodes []*task.Node, isLive func(string) bool) (failed []string) {
	for _, n := range nodes {
		if isLive(n.Name) {
			delete(lt, n.Name)
			continue
		}
		if lt[n.Name] += elapsed; lt[n.Name] >= grace {
			failed = append(failed, n.Name)
		}
	}
	return failed
}

// giveUpTasks gives up up to batch of a node's tasks, unless the node is live again.
func giveUpTasks(ctx context.Context, db *store.Store, node string, now time.Time, log *slog.Logger) error {
	if len(unstoppedTasks(db.Snapshot(), node)) == 0 {
		return nil
	}
	// ECS Developer Guide, "Stopped tasks error messages".
	cause := task.StopCause{
		Code: task.TerminationNotice, Reason: "Host EC2 (instance " + task.MachineID(node) + ") terminated.",
	}
	n, err := store.UpdateSerialized(ctx, db, task.PlacementQueue, func(tx *store.Tx) (int, error) {
		if task.Live(tx, node) {
			return 0, nil
		}
		ts := unstoppedTasks(tx.Snapshot(), node)
		ts = ts[:min(len(ts), batch)]
		for _, t := range ts {
			if err := task.ForceStop(tx, t.Ref(), cause, now); err != nil {
				return 0, err
			}
		}
		return len(ts), nil
	})
	if n > 0 {
		log.Warn("node failed; gave up its tasks", "node", node, "tasks", n)
	}
	return err
}

// unstoppedTasks returns the node's tasks that have not stopped.
func unstoppedTasks(s *store.Snapshot, node string) []*task.Task {
	var ts []*task.Task
	for _, t := range task.TasksOn(s, node) {
		if t.Observed.State != task.Stopped {
			ts = append(ts, t)
		}
	}
	return ts
}
