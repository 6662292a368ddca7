package rollout

import (
	"time"

	"github.com/bakingclouds/rollcall/internal/task"
)

// After a wave of failures the next tasks wait: firstDelay, twice as long after each further wave, up to
// mostDelay (ECS delays in the same way, up to 15 minutes). While a circuit breaker watches, which ends the
// rollout before long, no wait is longer than watchedDelay.
const (
	firstDelay   = time.Second
	mostDelay    = 15 * time.Minute
	watchedDelay = 10 * time.Second
)

// watched reports whether a circuit breaker counts the failures of this rollout. It does not once the
// deployment is completed: what is started then only replaces or scales.
func (p *pass) watched() bool {
	return p.svc.Breaker != nil && p.primary.Rollout == task.InProgress
}

// proven reports whether a serving task shows that its definition works. ECS counts a task without a health
// check as healthy when it has run for 40 s. Here it counts as soon as it serves, unless a circuit breaker
// watches: what exits a moment later must not have replaced anything by then.
func (p *pass) proven(t *task.Task) bool {
	return t.Deployment != p.primary.ID || !p.watched() || p.lasting(t)
}

// lasting reports whether a serving task has been found healthy, or has served for steady.
func (p *pass) lasting(t *task.Task) bool {
	return t.Checked || !p.now.Before(t.Observed.HealthySince.Add(steady))
}

// unproven counts the primary's tasks that serve and are not proven. Those that serve for the shortest time
// are last, so it looks at no more than it counts and those with a health check among them.
func (p *pass) unproven() (n int) {
	if !p.watched() {
		return 0
	}
	p.mine.serving.Reverse(func(t *task.Task) bool {
		end := t.Observed.HealthySince.Add(steady)
		if !p.now.Before(end) {
			return false
		}
		if !p.proven(t) {
			n++
			p.lookAgain(end)
		}
		return true
	})
	return n
}

// countFailures takes into account the tasks of the primary that have failed since the last pass. Failures
// are counted in a row: a task that began to serve after the last one, and lasts, ends the row.
func (p *pass) countFailures() {
	p.Failures = p.primary.Failures
	if p.Failures.FailedTasks > 0 && !(p.watched() && p.svc.Breaker.Cumulative) && p.recovered() {
		p.Failures = task.Failures{}
	}
	p.mine.failed.Scan(func(t *task.Task) bool {
		p.Count = append(p.Count, t.ID)
		return len(p.Count) < batch
	})
	if len(p.Count) == 0 {
		return
	}
	f := &p.Failures
	f.FailedTasks += len(p.Count)
	f.FailedAt = p.now
	if !p.now.Before(f.RetryAt) {
		f.Waves++
	}
	most := mostDelay
	if p.watched() {
		most = watchedDelay
	}
	f.RetryAt = p.now.Add(min(firstDelay<<min(f.Waves-1, 20), most))
}

// recovered reports whether a task of the primary has begun to serve after the last failure, and lasts. That
// an older one goes on serving says nothing of those that fail.
func (p *pass) recovered() (yes bool) {
	p.mine.serving.Reverse(func(t *task.Task) bool {
		since := *t.Observed.HealthySince
		switch {
		case since.Before(p.Failures.FailedAt):
			return false
		case p.lasting(t):
			yes = true
			return false
		}
		p.lookAgain(since.Add(steady))
		return true
	})
	return yes
}

// allowed is how many of n tasks may be started now, after earlier ones have failed: none before their time,
// and then one at a time until one lasts, unless a circuit breaker has to come to its verdict.
func (p *pass) allowed(n int) int {
	switch f := &p.Failures; {
	case p.now.Before(f.RetryAt):
		p.lookAgain(f.RetryAt)
		return 0
	case f.FailedTasks > 0 && !p.watched():
		return 1
	}
	return min(n, batch)
}

// fails decides whether the rollout ends without success: somebody has asked for it, or the circuit breaker
// has counted enough failures. There is nothing to roll back to while no deployment of the service was ever
// completed, and a rollback is not rolled back.
func (p *pass) fails() bool {
	b, d := p.svc.Breaker, p.primary
	switch {
	case d.Rollout != task.InProgress:
		return false
	case d.Stop != "":
		p.Fail, p.RollBack = Stopped, d.Stop == task.StopRollback
	case b != nil && p.Failures.FailedTasks >= b.Threshold(p.Desired):
		p.Fail, p.RollBack = Tripped, b.Rollback
	}
	p.RollBack = p.RollBack && !d.RollsBack && p.svc.Earlier() != nil
	return p.Fail != None
}
