// Package rollout keeps every service at its desired count and revision: it starts and stops tasks by
// writing their rows.
//
// What to do is [Plan]'s to decide, a pure function from a service, its tasks and the time; the loop reads
// one state, plans, and writes if nothing changed since. It does not know nodes, runtimes or DNS: whether a
// task serves, its row says.
package rollout

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/bakingclouds/rollcall/internal/control/loop"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// batch bounds how many tasks one transaction creates or stops; the next pass goes on.
const batch = 100

// New makes the loop and marks services as they, or their tasks, change.
func New(db *store.Store, log *slog.Logger) *loop.Loop {
	l := loop.New("rollout", 4, log, func(ctx context.Context, key string) (time.Duration, error) {
		return reconcile(ctx, db, key)
	})
	db.Follow(func(c store.Change) {
		for _, r := range c.Rows {
			switch row := either(r).(type) {
			case *task.Service:
				l.Mark(row.Key())
			case *task.Task:
				if row.Service != "" {
					l.Mark(row.ServiceKey())
				}
			}
		}
	})
	return l
}

func either(r store.RowChange) any {
	if r.New != nil {
		return r.New
	}
	return r.Old
}

// reconcile plans a service's changes and writes them.
func reconcile(ctx context.Context, db *store.Store, key string) (time.Duration, error) {
	return store.Update(ctx, db, func(tx *store.Tx) (time.Duration, error) {
		svc, ok := task.FindServiceByKey(tx, key)
		if !ok || svc.Status == task.Inactive {
			return 0, nil
		}
		now := time.Now()
		// Of the tasks only those that the plan touches are compared at commit, so that a service of any size
		// fits into a transaction. What else happens to one meanwhile might as well happen right after.
		tasks := task.TasksOf(tx.Snapshot(), svc.Scope(), svc.Cluster, svc.Name)
		ch := Plan(svc, tasks, now)
		if err := write(tx, svc, ch, now); err != nil {
			return 0, err
		}
		if ch.LookAgain.IsZero() {
			return 0, nil
		}
		return max(ch.LookAgain.Sub(now), time.Millisecond), nil
	})
}

// write applies changes to the rows.
func write(tx *store.Tx, svc *task.Service, ch Changes, now time.Time) error {
	next := *svc
	started := startTasks(tx, &next, min(ch.Start, batch), now)
	stopped, err := stopTasks(tx, svc, ch.Stop[:min(len(ch.Stop), batch)], now)
	if err != nil {
		return err
	}
	var failures []string
	for _, id := range ch.Count {
		err := task.UpdateTask(tx, svc.Scope(), svc.Cluster, id, func(t *task.Task) bool {
			t.Counted = true
			if t.StoppedReason != ReasonUnhealthy { // that has an event of its own
				failures = append(failures, fmt.Sprintf("(task %s) failed: %s", id, cause(t)))
			}
			return true
		})
		if err != nil {
			return err
		}
	}
	changed := settle(&next, ch, now)
	if changed {
		task.PutService(tx, next)
	}
	record := func(format string, args ...any) {
		task.Record(tx, svc, uuid.NewString(), fmt.Sprintf(format, args...), now)
	}
	if len(started) > 0 {
		record("has started %d tasks: %s.", len(started), list(started))
	}
	if len(stopped) > 0 {
		record("has stopped %d running tasks: %s.", len(stopped), list(stopped))
	}
	for _, s := range ch.Stop {
		if s.Reason == ReasonUnhealthy {
			record("(task %s) failed container health checks.", s.ID)
		}
	}
	for _, failure := range failures {
		record("%s", failure)
	}
	if ch.Failed >= 3 && ch.Failed > svc.Primary().FailedTasks {
		record("is unable to consistently start tasks successfully. The next task is started at %s.", ch.RetryAt.UTC().Format(time.RFC3339))
	}
	if ch.Completed {
		record("(deployment %s) deployment completed.", svc.Primary().ID)
		record("has reached a steady state.")
	}
	return nil
}

// cause is why a task failed, for people: its reason, and how its containers ended of themselves.
func cause(t *task.Task) string {
	text := t.StoppedReason
	for _, c := range t.Observed.Containers {
		switch {
		case c.Reason != "" && c.Reason != t.StoppedReason:
			text += fmt.Sprintf("; container %s: %s", c.Name, c.Reason)
		case c.ExitCode != nil && t.StopCode == task.EssentialContainerExited:
			text += fmt.Sprintf("; container %s: exit code %d", c.Name, *c.ExitCode)
		}
	}
	return text
}

// settle writes what the plan says of the service itself into next; it reports whether anything differs.
func settle(next *task.Service, ch Changes, now time.Time) bool {
	deployments := slices.DeleteFunc(slices.Clone(next.Deployments), func(d task.Deployment) bool {
		return !slices.Contains(ch.Keep, d.ID)
	})
	changed := len(deployments) != len(next.Deployments)
	p := &deployments[0]
	if p.FailedTasks != ch.Failed || !p.FailedAt.Equal(ch.FailedAt) {
		p.FailedTasks, p.FailedAt, p.RetryAt, changed = ch.Failed, ch.FailedAt, ch.RetryAt, true
	}
	if ch.Completed {
		p.Rollout, p.Reason, p.Updated, changed = task.Completed, "ECS deployment "+p.ID+" completed.", now, true
	}
	if ch.Inactive {
		next.Status, next.Deleted, changed = task.Inactive, &now, true
	}
	next.Deployments = deployments
	return changed
}

// startTasks writes n new tasks of the primary deployment.
func startTasks(tx *store.Tx, svc *task.Service, n int, now time.Time) []string {
	if n == 0 {
		return nil
	}
	var ids []string
	d := svc.Primary()
	def, err := task.GetDefinition(tx, svc.Scope(), d.Family, d.Revision)
	if err != nil {
		def = &task.Definition{} // the agent says so for each task
	}
	have := task.ProvidersOf(tx.Snapshot(), svc, d)
	for range n {
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
		task.CreateTask(tx, t)
		ids = append(ids, t.ID)
	}
	// Whoever starts tasks of a service writes its row, so that two passes on one state never both win.
	task.PutService(tx, *svc)
	return ids
}

func stopTasks(tx *store.Tx, svc *task.Service, stops []Stop, now time.Time) ([]string, error) {
	var ids []string
	for _, s := range stops {
		_, first, err := task.Stop(tx, svc.Scope(), svc.Cluster, s.ID, task.ServiceSchedulerInitiated, s.Reason, now)
		if err != nil {
			return nil, err
		}
		if first {
			ids = append(ids, s.ID)
		}
	}
	return ids, nil
}

func list(ids []string) string {
	var b strings.Builder
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString("(task " + id + ")")
	}
	return b.String()
}
