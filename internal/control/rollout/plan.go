package rollout

import (
	"slices"
	"time"

	"github.com/bakingclouds/rollcall/internal/task"
)

// Changes are what brings a service to what is wanted of it.
type Changes struct {
	Start  int      // tasks of the primary deployment
	Stop   []Stop   // in this order
	Count  []string // ids of failed tasks that Failed now takes into account
	Failed int      // the primary's failures in a row, after Count
	// FailedAt is when the last of them was counted, and RetryAt when the primary may start its next task;
	// zero is now.
	FailedAt, RetryAt time.Time
	// Keep are the deployments that remain, the primary first.
	Keep []string
	// Completed says that the primary's rollout is done with this pass.
	Completed bool
	Inactive  bool // the service is deleted and nothing of it is left
	// LookAgain is when time alone may change the answer; zero is never.
	LookAgain time.Time
}

// Stop is one task to stop and why.
type Stop struct {
	ID     string
	Reason string
}

// Rules of failure and success. A task that ends before it has served for steady counts as a failure; one
// that began to serve after the last failure, and has for that long, ends the row. After the first failure the next task waits firstDelay, twice as
// long after each further one, up to mostDelay (ECS delays in the same way, up to 15 minutes).
const (
	steady     = 10 * time.Second
	firstDelay = time.Second
	mostDelay  = 15 * time.Minute
)

// Plan decides the next changes of a service. It reads neither clock nor store and writes nothing.
//
// With D the desired count, at least ceil(D * minimumHealthyPercent / 100) serving tasks are kept while
// others are replaced, and at most floor(D * maximumPercent / 100) tasks exist at once, those that are
// still stopping among them (ECS Developer Guide, "Rolling update"). A task that fails its health check is
// stopped when its replacement serves, or when there is no room for one.
func Plan(svc *task.Service, tasks []*task.Task, now time.Time) Changes {
	if svc.Status != task.Active {
		return planDeletion(svc, tasks)
	}
	p := newPass(svc, tasks, now)
	p.countFailures()
	p.start()
	p.stopSurplus()
	p.replaceUnhealthy()
	p.stopOld()
	p.keep()
	return p.Changes
}

// pass is one Plan under way.
type pass struct {
	Changes
	svc      *task.Service
	primary  *task.Deployment
	now      time.Time
	tasks    []*task.Task
	mine     []*task.Task // live, of the primary, not unhealthy
	sick     []*task.Task // live, unhealthy beyond the grace period
	old      []*task.Task // live, of older deployments, not unhealthy
	present  int          // tasks that have not ended, whatever is wanted of them
	serving  int          // healthy running ones of any deployment
	min, max int
}

func newPass(svc *task.Service, tasks []*task.Task, now time.Time) *pass {
	d := svc.DesiredCount
	p := &pass{
		svc: svc, primary: svc.Primary(), now: now, tasks: tasks,
		min: (d*svc.MinimumHealthy + 99) / 100,
		max: d * svc.Maximum / 100,
	}
	for _, t := range tasks {
		if t.Observed.State != task.Stopped {
			p.present++
		}
		if !t.Live() {
			continue
		}
		if t.Serving() {
			p.serving++
		}
		switch {
		case p.unhealthy(t):
			p.sick = append(p.sick, t)
		case t.Deployment == p.primary.ID:
			p.mine = append(p.mine, t)
		default:
			p.old = append(p.old, t)
		}
	}
	return p
}

// unhealthy reports whether a task has failed its health check and its grace period is over.
func (p *pass) unhealthy(t *task.Task) bool {
	if t.Observed.Health != task.HealthUnhealthy {
		return false
	}
	if t.Observed.StartedAt == nil || p.svc.GracePeriod == 0 {
		return true
	}
	if end := t.Observed.StartedAt.Add(p.svc.GracePeriod); end.After(p.now) {
		p.lookAgain(end)
		return false
	}
	return true
}

func (p *pass) lookAgain(at time.Time) {
	if p.LookAgain.IsZero() || at.Before(p.LookAgain) {
		p.LookAgain = at
	}
}

// countFailures takes into account the tasks of the primary that ended since the last pass.
func (p *pass) countFailures() {
	p.Failed, p.FailedAt, p.RetryAt = p.primary.FailedTasks, p.primary.FailedAt, p.primary.RetryAt
	for _, t := range p.mine {
		if !t.Serving() || t.Observed.HealthySince.Before(p.FailedAt) {
			continue // that an old task goes on serving says nothing of those that fail
		}
		since := *t.Observed.HealthySince
		if at := since.Add(steady); at.After(p.now) {
			if p.Failed > 0 {
				p.lookAgain(at)
			}
		} else {
			p.Failed, p.FailedAt, p.RetryAt = 0, time.Time{}, time.Time{}
		}
	}
	for _, t := range p.tasks {
		if t.Desired != task.DesiredStopped || t.Counted || t.Deployment != p.primary.ID || !failure(t) {
			continue
		}
		p.Count = append(p.Count, t.ID)
		p.Failed++
		p.FailedAt = p.now
		p.RetryAt = p.now.Add(min(firstDelay<<min(p.Failed-1, 20), mostDelay))
	}
}

// failure reports whether a task's end speaks against its definition: it did not start, ended or turned
// unhealthy before it had served for long.
func failure(t *task.Task) bool {
	switch {
	case t.StopCode == task.TaskFailedToStart:
		return true
	case t.StopCode != task.EssentialContainerExited && t.StoppedReason != ReasonUnhealthy:
		return false
	case t.Observed.StartedAt == nil || t.StoppingAt == nil:
		return true
	}
	return t.StoppingAt.Sub(*t.Observed.StartedAt) < steady || t.StoppedReason == ReasonUnhealthy
}

// start brings the primary to the desired count as far as the maximum allows.
func (p *pass) start() {
	n := min(p.svc.DesiredCount-len(p.mine), p.max-p.present)
	if n <= 0 {
		return
	}
	if p.now.Before(p.RetryAt) {
		p.lookAgain(p.RetryAt)
		return
	}
	p.Start = n
	if p.Failed > 0 {
		p.Start = 1 // one try at a time until one succeeds
	}
}

// stopSurplus stops tasks of the primary beyond the desired count: those that do not serve first, then the
// newest.
func (p *pass) stopSurplus() {
	surplus := len(p.mine) - p.svc.DesiredCount
	if surplus <= 0 {
		return
	}
	order := slices.Clone(p.mine)
	slices.SortStableFunc(order, leastUseful)
	for _, t := range order[:surplus] {
		p.stop(t, p.scaling())
	}
}

// leastUseful orders tasks by how little is lost by stopping them.
func leastUseful(a, b *task.Task) int {
	if a.Serving() != b.Serving() {
		if a.Serving() {
			return 1
		}
		return -1
	}
	return b.Created.Compare(a.Created)
}

// replaceUnhealthy stops unhealthy tasks once enough others serve, or, newest first, as many as stand in the
// room of replacements that are still to be started. Until then they stay, since an unhealthy answer is
// better than none.
func (p *pass) replaceUnhealthy() {
	inTheWay := len(p.sick)
	if p.serving < p.svc.DesiredCount {
		inTheWay = p.svc.DesiredCount - len(p.mine) - max(p.max-p.present, 0)
	}
	order := slices.Clone(p.sick)
	slices.SortStableFunc(order, leastUseful)
	for _, t := range order[:min(max(inTheWay, 0), len(order))] {
		p.stop(t, ReasonUnhealthy)
	}
}

// stopOld stops tasks of older deployments as far as the minimum of serving tasks allows; those that do not
// serve go at once.
func (p *pass) stopOld() {
	order := slices.Clone(p.old)
	slices.SortStableFunc(order, leastUseful)
	for _, t := range order {
		if t.Serving() {
			if p.serving-1 < p.min {
				return
			}
			p.serving--
		}
		p.stop(t, p.scaling())
	}
}

func (p *pass) stop(t *task.Task, reason string) {
	p.Stop = append(p.Stop, Stop{t.ID, reason})
}

// scaling is ECS's reason for what the scheduler stops of its own accord.
func (p *pass) scaling() string {
	return "Scaling activity initiated by (deployment " + p.primary.ID + ")"
}

// ReasonUnhealthy is ECS's reason for a task that is replaced because of its health check.
const ReasonUnhealthy = "Task failed container health checks"

// keep drops the deployments that nothing runs of any more, and says when the rollout is done.
func (p *pass) keep() {
	stopping := map[string]bool{}
	for _, s := range p.Stop {
		stopping[s.ID] = true
	}
	live := map[string]bool{}
	serving := 0
	for _, t := range p.tasks {
		if t.Live() && !stopping[t.ID] {
			live[t.Deployment] = true
			if t.Deployment == p.primary.ID && t.Serving() {
				serving++
			}
		}
	}
	for i, d := range p.svc.Deployments {
		if i == 0 || live[d.ID] {
			p.Keep = append(p.Keep, d.ID)
		}
	}
	p.Completed = p.primary.Rollout == task.InProgress && len(p.Keep) == 1 && serving >= p.svc.DesiredCount
}

// planDeletion stops everything; the service is inactive once every task is stopping or has stopped.
func planDeletion(svc *task.Service, tasks []*task.Task) Changes {
	ch := Changes{Inactive: svc.Status == task.DrainingStatus}
	for _, t := range tasks {
		if t.Live() {
			ch.Stop = append(ch.Stop, Stop{t.ID, "Scaling activity initiated by (deployment " + svc.Primary().ID + ")"})
		}
		if t.Observed.State < task.Stopping {
			ch.Inactive = false
		}
	}
	for _, d := range svc.Deployments {
		ch.Keep = append(ch.Keep, d.ID)
	}
	ch.Failed, ch.FailedAt, ch.RetryAt = svc.Primary().FailedTasks, svc.Primary().FailedAt, svc.Primary().RetryAt
	return ch
}
