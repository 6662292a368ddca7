package rollout

import (
	"time"

	"github.com/bakingclouds/rollcall/internal/task"
)

// After each wave of failures the next tasks are delayed: by firstDelay, then by twice the delay of the wave before,
// up to maxDelay (ECS also delays by up to 15 minutes). While a circuit breaker counts failures, no delay is longer
// than maxBreakerDelay, so that the breaker reaches its threshold soon.
const (
	firstDelay      = time.Second
	maxDelay        = 15 * time.Minute
	maxBreakerDelay = 10 * time.Second
)

// provingPeriod is the time that a task without a health check has to serve before it proves that its definition works.
// ECS waits for 40 s.
const provingPeriod = 10 * time.Second

// unableToStartAfter is the number of failures in a row from which on a service reports that it cannot start tasks.
const unableToStartAfter = 3

// isFailure reports whether the end of a task counts against its definition: the task did not start, exited within the
// proving period, or was stopped because it was unhealthy.
func isFailure(t *task.Task) bool {
	switch {
	case t.StopCode == task.TaskFailedToStart || t.StoppedReason == ReasonUnhealthy:
		return true
	case t.StopCode != task.EssentialContainerExited:
		return false
	case t.Observed.StartedAt == nil || t.StoppingAt == nil:
		return true
	}
	return t.StoppingAt.Sub(*t.Observed.StartedAt) < provingPeriod
}

// uncountedFailure reports whether a task has failed and its deployment's failure count does not include it yet.
func uncountedFailure(t *task.Task) bool {
	return t.Desired == task.DesiredStopped && !t.Counted && isFailure(t)
}

// breakerCounts reports whether a circuit breaker counts the failures of this rollout. It stops counting when the
// deployment is completed: from then on, new tasks only replace others or scale the service.
func (p *planner) breakerCounts() bool {
	return p.svc.Breaker != nil && p.primary.Rollout == task.InProgress
}

// isProven reports whether a serving task proves that its definition works. ECS considers a task without a health check
// healthy after 40 s. Rollcall considers it proven as soon as it serves, except while a circuit breaker counts: then a
// task that exits a moment later must not have replaced an older one.
func (p *planner) isProven(t *task.Task) bool {
	return t.Deployment != p.primary.ID || !p.breakerCounts() || p.isStable(t)
}

// isStable reports whether a serving task has passed a health check or has served for the proving period.
func (p *planner) isStable(t *task.Task) bool {
	return t.Checked || !p.now.Before(t.Observed.HealthySince.Add(provingPeriod))
}

// countUnproven counts the serving tasks of the primary deployment that are not proven. The tasks that have served
// for the shortest time come last in the set, so the scan ends at the first one that has served for the proving
// period.
func (p *planner) countUnproven() (n int) {
	if !p.breakerCounts() {
		return 0
	}
	p.primaryTasks.serving.Reverse(func(t *task.Task) bool {
		end := t.Observed.HealthySince.Add(provingPeriod)
		if !p.now.Before(end) {
			return false
		}
		if !p.isProven(t) {
			n++
			p.planAgainAt(end)
		}
		return true
	})
	return n
}

// countFailures adds the tasks of the primary deployment that have failed since the last plan to its failures. It
// counts failures in a row: a stable task that began to serve after the last failure resets the count. A cumulative
// breaker is not reset while it counts.
func (p *planner) countFailures() {
	p.Failures = p.primary.Failures
	cumulative := p.breakerCounts() && p.svc.Breaker.Cumulative
	if p.Failures.FailedTasks > 0 && !cumulative && p.recovered() {
		p.Failures = task.Failures{}
	}
	p.primaryTasks.uncounted.Scan(func(t *task.Task) bool {
		p.CountFailed = append(p.CountFailed, t)
		return len(p.CountFailed) < batch
	})
	if len(p.CountFailed) == 0 {
		return
	}
	f := &p.Failures
	f.FailedTasks += len(p.CountFailed)
	f.FailedAt = p.now
	if !p.now.Before(f.RetryAt) {
		f.Waves++
	}
	longest := maxDelay
	if p.breakerCounts() {
		longest = maxBreakerDelay
	}
	f.RetryAt = p.now.Add(min(firstDelay<<min(f.Waves-1, 20), longest))
}

// recovered reports whether a task of the primary deployment began to serve after the last failure and is stable. A
// task that served before the failure does not show that new tasks work.
func (p *planner) recovered() (recovered bool) {
	p.primaryTasks.serving.Reverse(func(t *task.Task) bool {
		since := *t.Observed.HealthySince
		switch {
		case since.Before(p.Failures.FailedAt):
			return false
		case p.isStable(t):
			recovered = true
			return false
		}
		p.planAgainAt(since.Add(provingPeriod))
		return true
	})
	return recovered
}

// startsAllowed returns how many of n tasks may be started now. After a failure it returns 0 until the delay is over,
// and then 1 until a task is stable. While a circuit breaker counts, it returns n after the delay, so that the
// breaker reaches its threshold.
func (p *planner) startsAllowed(n int) int {
	switch f := &p.Failures; {
	case p.now.Before(f.RetryAt):
		p.planAgainAt(f.RetryAt)
		return 0
	case f.FailedTasks > 0 && !p.breakerCounts():
		return 1
	}
	return min(n, batch)
}

// checkFailed decides whether the rollout fails now: because StopServiceDeployment was called, or because the circuit
// breaker has counted enough failures. There is no rollback before a deployment of the service has completed, nor
// from a rollback.
func (p *planner) checkFailed() bool {
	b, d := p.svc.Breaker, p.primary
	switch {
	case d.Rollout != task.InProgress:
		return false
	case d.Stop != "":
		p.FailedBy, p.RollBack = StopRequested, d.Stop == task.StopRollback
	case b != nil && p.Failures.FailedTasks >= b.Threshold(p.DesiredCount):
		p.FailedBy, p.RollBack = BreakerTripped, b.Rollback
	}
	p.RollBack = p.RollBack && !d.RollsBack && p.svc.RollbackTarget() != nil
	return p.FailedBy != NotFailed
}

// unableToStart reports whether the service has to report that it cannot start tasks: the failures in a row have grown
// and reached unableToStartAfter, and the rollout continues.
func (p *planner) unableToStart() bool {
	n := p.Failures.FailedTasks
	return n >= unableToStartAfter && n > p.primary.FailedTasks && p.FailedBy == NotFailed
}
