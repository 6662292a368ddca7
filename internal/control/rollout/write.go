package rollout

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// writer writes the changes of one plan in a transaction.
type writer struct {
	tx     *store.Tx
	svc    *task.Service // the row that was planned for
	next   *task.Service // the row to write
	ch     Changes
	events *eventWriter
	now    time.Time
}

// write writes the changes that were planned for svc. The plan must not be stale.
func write(tx *store.Tx, svc *task.Service, ch Changes, ids rowIDs, now time.Time) error {
	next := *svc
	next.Deployments = slices.Clone(svc.Deployments)
	events := &eventWriter{tx: tx, svc: svc, random: rand.NewChaCha8(ids.events), now: now}
	w := &writer{tx: tx, svc: svc, next: &next, ch: ch, events: events, now: now}
	if svc.Status == task.Active {
		task.BeginServiceDeployment(tx, w.next, now)
	}
	w.startTasks(ids.tasks)
	stopped, err := w.stopTasks()
	if err != nil {
		return err
	}
	w.events.addStartedAndStopped(ids.tasks, stopped)
	if err := w.countFailed(); err != nil {
		return err
	}
	changed := w.updateService(ids.rollback)
	if changed || len(ids.tasks) > 0 {
		// Every plan that starts tasks writes the service's row, so that of two plans for the same row only one
		// commits.
		task.PutService(tx, next)
	}
	if ch.UnableToStart {
		w.events.addOnce(unableToStartTasks)
	}
	if ch.Blocked != "" {
		w.events.addOnce(ch.Blocked)
	}
	if ch.Steady {
		w.events.addSteadyState()
	}
	return nil
}

// startTasks adds the rows of new tasks of the primary deployment, one for each id.
func (w *writer) startTasks(ids []task.ID) {
	if len(ids) == 0 {
		return
	}
	svc, d := w.next, w.next.Primary()
	def, err := task.GetDefinition(w.tx, svc.Scope(), d.Family, d.Revision)
	if err != nil {
		def = &task.Definition{} // the agent reports the missing definition for each task
	}
	count := task.TasksByProvider(w.tx.Snapshot(), svc, d)
	for i, id := range ids {
		provider := task.NextProvider(d.Strategy, count)
		count[provider]++
		t := task.Task{
			Account: svc.Account, Region: svc.Region, Cluster: svc.Cluster, ID: id,
			Service: svc.Name, Deployment: d.ID, Family: d.Family, Revision: d.Revision,
			Network: d.Network, Registries: d.Registries, Checked: def.Checked(), Created: w.now,
			LaunchType: cmp.Or(d.LaunchType, svc.LaunchType), CapacityProvider: provider,
			ExecuteCommand: svc.ExecuteCommand, Tags: svc.TaskTags(def),
			Observed: task.Observed{State: task.Provisioning, Health: task.HealthUnknown},
		}
		if w.ch.StartOn != nil {
			t.OnlyNode = w.ch.StartOn[i]
		}
		task.CreateTask(w.tx, t)
	}
}

// stopTasks stops tasks and returns their ids.
func (w *writer) stopTasks() (ids []task.ID, err error) {
	for _, s := range w.ch.Stop {
		cause := task.StopCause{Code: task.ServiceSchedulerInitiated, Reason: s.Reason}
		if _, _, err := task.Stop(w.tx, s.Task.Ref(), cause, w.now); err != nil {
			return nil, err
		}
		ids = append(ids, s.Task.ID)
		if s.Reason == ReasonUnhealthy {
			w.events.add(failedHealth, s.Task.ID)
		}
	}
	return ids, nil
}

// countFailed marks failed tasks as counted and adds an event for each failure.
func (w *writer) countFailed() error {
	for _, failed := range w.ch.CountFailed {
		err := task.UpdateTask(w.tx, failed.Ref(), func(t *task.Task) bool { t.Counted = true; return true })
		if err != nil {
			return err
		}
		if failed.StoppedReason != ReasonUnhealthy { // stopTasks has added an event for it
			w.events.add(taskFailed, failed.ID, failureText(failed))
		}
	}
	return nil
}

// updateService changes the service's row and its service deployment as planned. It reports whether the row has
// changed.
func (w *writer) updateService(rollback string) (changed bool) {
	before := len(w.next.Deployments)
	w.next.Deployments = slices.DeleteFunc(w.next.Deployments, func(d task.Deployment) bool {
		return !slices.Contains(w.ch.KeepDeployments, d.ID)
	})
	changed = len(w.next.Deployments) != before
	p := w.next.Primary()
	if w.ch.Failures != p.Failures {
		p.Failures, changed = w.ch.Failures, true
	}
	if w.ch.DesiredCount != w.next.DesiredCount {
		w.next.DesiredCount, changed = w.ch.DesiredCount, true
	}
	if w.ch.Completed || w.ch.FailedBy != NotFailed {
		if b := w.next.Breaker; b != nil {
			task.CountFailures(w.tx, w.next, task.BreakerCount{
				Tripped: w.ch.FailedBy == BreakerTripped, Failures: p.FailedTasks,
				Threshold: b.Threshold(w.ch.DesiredCount),
			})
		}
		changed = true
	}
	if w.ch.Completed {
		w.complete()
	}
	if w.ch.FailedBy != NotFailed {
		w.fail(rollback)
	}
	if w.ch.Inactive {
		w.next.Status, w.next.Deleted, changed = task.Inactive, &w.now, true
	}
	return changed
}

// complete completes the primary deployment's rollout. From now on a rollback returns to this deployment.
func (w *writer) complete() {
	p := w.next.Primary()
	p.Rollout, p.Reason, p.Updated = task.Completed, "ECS deployment "+p.ID+" completed.", w.now
	settled := *p
	w.next.Settled = &settled
	task.FinishServiceDeployment(w.tx, w.next, w.now)
	w.events.add(completed, p.ID)
}

// fail ends the primary deployment's rollout as failed and, if planned, begins the rollback.
func (w *writer) fail(rollback string) {
	p := w.next.Primary()
	p.Rollout, p.Updated, p.Stop = task.Failed, w.now, ""
	p.Reason = "ECS deployment circuit breaker: tasks failed to start."
	reason := "The deployment circuit breaker was triggered: tasks failed to start."
	if w.ch.FailedBy == StopRequested {
		p.Reason = "ECS deployment " + p.ID + " was stopped."
		reason = "The service deployment was stopped on request."
	} else {
		w.events.add(failedToStart, p.ID)
	}
	if !w.ch.RollBack {
		task.FailServiceDeployment(w.tx, w.next, reason, w.now)
		return
	}
	w.events.add(rollingBack, w.next.RollbackTarget().ID)
	task.RollBack(w.tx, w.next, task.Rollback{Number: rollback, Reason: reason, Started: w.now})
}
