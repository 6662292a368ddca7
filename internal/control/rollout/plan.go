package rollout

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/bakingclouds/rollcall/internal/task"
)

// Changes are what brings a service to what is wanted of it. One plan starts and stops no more than batch
// tasks; the next goes on.
type Changes struct {
	Start int      // tasks of the primary deployment
	Nodes []string // of a DAEMON service: what each of them is for
	Stop  []Stop   // in this order
	Count []string // ids of failed tasks that Failures now takes into account
	// Failures are the primary's, after Count.
	Failures task.Failures
	// Fail is why the primary's rollout ends without success with this pass; RollBack says that the service's
	// earlier deployment is brought back.
	Fail     Cause
	RollBack bool
	// Keep are the deployments that remain, the primary first.
	Keep []string
	// Completed says that the primary's rollout is done with this pass, and Steady that nothing is to be done.
	Completed, Steady bool
	Desired           int    // count, which a DAEMON service has from its nodes
	Blocked           string // an event: why nothing can be done although it should
	Inactive          bool   // the service is deleted and nothing of it is left
	// LookAgain is when time alone may change the answer; zero is never.
	LookAgain time.Time
}

// Stop is one task to stop and why.
type Stop struct {
	ID     string
	Reason string
}

// Cause is why a rollout ends without success.
type Cause int

// The causes.
const (
	None    Cause = iota
	Tripped       // the circuit breaker has counted enough failed tasks
	Stopped       // StopServiceDeployment
)

// batch bounds how many tasks one plan, and so one transaction, starts, stops and counts.
const batch = 100

// Plan decides the next changes of a service. It reads neither clock nor store and writes nothing, not even
// the fleet. nodes are for a DAEMON service.
//
// With D the desired count, at least ceil(D * minimumHealthyPercent / 100) serving tasks are kept while
// others are replaced, and at most floor(D * maximumPercent / 100) tasks exist at once, those that are
// still stopping among them (ECS Developer Guide, "Rolling update"). A task that fails its health check is
// stopped when its replacement serves, or when there is no room for one. A protected task is stopped by
// neither scale-in nor deployment.
//
// A rollout that has failed without a rollback starts nothing: what serves stays, up to the desired count.
func Plan(svc *task.Service, fleet *ServiceTasks, nodes Nodes, now time.Time) Changes {
	if svc.Status != task.Active {
		return planDeletion(svc, fleet)
	}
	p := newPass(svc, fleet, nodes, now)
	p.countFailures()
	switch {
	case p.fails():
	case svc.Daemon:
		p.coverNodes(nodes)
	case p.primary.Rollout == task.Failed:
		p.hold()
	default:
		p.start()
		p.stopSurplus()
		p.replaceUnhealthy()
		p.stopOld()
	}
	p.judge()
	return p.Changes
}

// pass is one Plan under way.
type pass struct {
	Changes
	svc      *task.Service
	primary  *task.Deployment
	now      time.Time
	min, max int
	present  int // tasks that have not ended, whatever is wanted of them

	mine *squad   // of the primary; those that are sick within their grace period are coming
	old  []*squad // of older deployments, the oldest first
	// sick tasks are unhealthy beyond the grace period, of any deployment; spared are those within it.
	sick, spared []*task.Task
	serving      int // tasks of any deployment
	sure         int // those of them that may stand in for an old one
	protected    int // tasks that would have been stopped
	mineLeft     int // live, not sick, of the primary, after what is stopped
	oldLeft      map[string]int
}

func newPass(svc *task.Service, fleet *ServiceTasks, nodes Nodes, now time.Time) *pass {
	p := &pass{svc: svc, primary: svc.Primary(), now: now, oldLeft: map[string]int{}}
	p.Desired = svc.DesiredCount
	if svc.Daemon {
		p.Desired = nodes.eligible()
	}
	p.present = fleet.present()
	p.min = (p.Desired*svc.MinimumHealthy + 99) / 100
	p.max = p.Desired * svc.Maximum / 100
	p.mine = fleet.deployments[p.primary.ID]
	if p.mine == nil {
		p.mine = newSquad()
	}
	ids := slices.Sorted(maps.Keys(fleet.deployments))
	slices.SortStableFunc(ids, func(a, b string) int { return cmp.Compare(p.rank(b), p.rank(a)) })
	for _, id := range ids {
		s := fleet.deployments[id]
		s.sick.Scan(func(t *task.Task) bool { p.judgeHealth(t); return true })
		p.serving += s.serving.Len()
		if id != p.primary.ID {
			p.old = append(p.old, s)
			p.oldLeft[id] = s.live()
		}
	}
	slices.SortFunc(p.sick, newestFirst)
	slices.SortFunc(p.spared, newestFirst)
	p.mineLeft = p.mine.serving.Len() + p.mine.coming.Len() + count(p.spared, p.primary.ID)
	p.sure = p.serving - p.unproven()
	return p
}

// rank is a deployment's place in the service's list, where the newest is first; those that are not in it are
// older than all.
func (p *pass) rank(id string) int {
	for i := range p.svc.Deployments {
		if p.svc.Deployments[i].ID == id {
			return i
		}
	}
	return len(p.svc.Deployments)
}

// judgeHealth decides whether an unhealthy task's grace period is over.
func (p *pass) judgeHealth(t *task.Task) {
	if t.Observed.StartedAt != nil && p.svc.GracePeriod > 0 {
		if end := t.Observed.StartedAt.Add(p.svc.GracePeriod); end.After(p.now) {
			p.lookAgain(end)
			p.spared = append(p.spared, t)
			return
		}
	}
	p.sick = append(p.sick, t)
}

func newestFirst(a, b *task.Task) int {
	if byCreation(a, b) {
		return 1
	}
	return -1
}

func count(ts []*task.Task, deployment string) (n int) {
	for _, t := range ts {
		if t.Deployment == deployment {
			n++
		}
	}
	return n
}

func (c *Changes) lookAgain(at time.Time) {
	if c.LookAgain.IsZero() || at.Before(c.LookAgain) {
		c.LookAgain = at
	}
}

// start brings the primary to the desired count as far as the maximum allows.
func (p *pass) start() {
	if n := min(p.Desired-p.mineLeft, p.max-p.present); n > 0 {
		p.Start = p.allowed(n)
	}
}

// stopSurplus stops tasks of the primary beyond the desired count: those that do not serve first, then those
// that have served for the shortest time.
func (p *pass) stopSurplus() {
	surplus := p.mineLeft - p.Desired
	surplus -= p.retireSpared(surplus, func(t *task.Task) bool { return t.Deployment == p.primary.ID })
	surplus -= p.retire(surplus, p.mine.coming)
	p.retire(min(surplus, p.sure-p.min), p.mine.serving) // fewer, if protected or unproven ones would be left
}

// replaceUnhealthy stops unhealthy tasks once enough others serve, or, newest first, as many as stand in the
// room of replacements that are still to be started. Until then they stay, since an unhealthy answer is
// better than none.
func (p *pass) replaceUnhealthy() {
	inTheWay := len(p.sick)
	if p.serving < p.Desired {
		inTheWay = p.Desired - p.mineLeft - max(p.max-p.present, 0)
	}
	p.stopSick(inTheWay)
}

func (p *pass) stopSick(n int) {
	for _, t := range p.sick[:min(max(n, 0), len(p.sick))] {
		p.stop(t, ReasonUnhealthy)
	}
}

// stopOld stops tasks of older deployments as far as the minimum of serving tasks allows, those of the
// oldest first; those that do not serve go at once.
func (p *pass) stopOld() {
	p.retireSpared(len(p.spared), func(t *task.Task) bool { return t.Deployment != p.primary.ID })
	for _, s := range p.old {
		p.retire(s.coming.Len(), s.coming)
	}
	for _, s := range p.old {
		p.retire(p.sure-p.min, s.serving)
	}
}

// hold keeps a failed rollout where it is. Beyond the desired count, which may have been lowered since, go
// those tasks first that do not serve, and before the old ones those of the failed deployment.
func (p *pass) hold() {
	surplus := p.mineLeft - p.Desired
	squads := append([]*squad{p.mine}, p.old...)
	for _, s := range p.old {
		surplus += s.live()
	}
	surplus -= len(p.sick) - count(p.sick, p.primary.ID)
	surplus -= p.retireSpared(surplus, func(*task.Task) bool { return true })
	for _, s := range squads {
		surplus -= p.retire(surplus, s.coming)
	}
	for _, s := range squads {
		surplus -= p.retire(min(surplus, p.sure-p.min), s.serving)
	}
	if p.serving >= p.Desired {
		p.stopSick(len(p.sick))
	}
}

// retire stops up to n tasks of a class that the scheduler has no more use for, from its end, protected ones
// left out. It returns how many.
func (p *pass) retire(n int, c class) (stopped int) {
	c.Reverse(func(t *task.Task) bool {
		if stopped >= n || len(p.Stop) >= batch {
			return false
		}
		if p.release(t) {
			stopped++
		}
		return true
	})
	return stopped
}

func (p *pass) retireSpared(n int, which func(*task.Task) bool) (stopped int) {
	for _, t := range p.spared {
		if stopped < n && which(t) && p.release(t) {
			stopped++
		}
	}
	return stopped
}

// release stops a task unless it is protected.
func (p *pass) release(t *task.Task) bool {
	if t.Protected(p.now) {
		p.protected++
		p.lookAgain(*t.ProtectedUntil)
		return false
	}
	if len(p.Stop) >= batch {
		return false
	}
	p.stop(t, scaling(p.primary))
	return true
}

func (p *pass) stop(t *task.Task, reason string) {
	if len(p.Stop) >= batch {
		return
	}
	p.Stop = append(p.Stop, Stop{t.ID, reason})
	if t.Serving() {
		p.serving--
		if p.proven(t) {
			p.sure--
		}
	}
	if t.Deployment != p.primary.ID {
		p.oldLeft[t.Deployment]--
	} else if reason != ReasonUnhealthy {
		p.mineLeft--
	}
}

// scaling is ECS's reason for what the scheduler stops of its own accord.
func scaling(d *task.Deployment) string {
	return "Scaling activity initiated by (deployment " + d.ID + ")"
}

// ReasonUnhealthy is ECS's reason for a task that is replaced because of its health check.
const ReasonUnhealthy = "Task failed container health checks"

// judge drops the deployments that nothing runs of any more, and says where the service stands.
func (p *pass) judge() {
	for i := range p.svc.Deployments {
		if id := p.svc.Deployments[i].ID; i == 0 || p.oldLeft[id] > 0 {
			p.Keep = append(p.Keep, id)
		}
	}
	reached := p.Fail == None && p.primary.Rollout != task.Failed && len(p.Keep) == 1 && p.sure >= p.Desired
	p.Completed = reached && p.primary.Rollout == task.InProgress
	idle := p.Start == 0 && len(p.Stop) == 0
	p.Steady = reached && idle && p.present == p.Desired
	switch {
	case !idle || p.Steady || p.Fail != None:
	case p.protected > 0:
		p.Blocked = fmt.Sprintf(blockedByProtection, p.primary.ID)
	case p.blocked():
		p.Blocked = blockedByBounds
	}
}

// blocked reports whether the bounds of a rollout allow neither to start nor to stop a task, and nothing is
// under way that would change that.
func (p *pass) blocked() bool {
	underWay := p.present > p.serving || p.sure < p.serving || p.now.Before(p.Failures.RetryAt)
	return p.primary.Rollout == task.InProgress && !underWay && p.mineLeft < p.Desired
}

// planDeletion stops everything; the service is inactive once every task is stopping or has stopped.
func planDeletion(svc *task.Service, fleet *ServiceTasks) Changes {
	ch := Changes{Failures: svc.Primary().Failures, Desired: svc.DesiredCount, Inactive: svc.Status == task.DrainingStatus}
	for _, id := range slices.Sorted(maps.Keys(fleet.deployments)) {
		s := fleet.deployments[id]
		s.ending.Scan(func(t *task.Task) bool {
			ch.Inactive = ch.Inactive && t.Observed.State >= task.Stopping
			return ch.Inactive
		})
		ch.Inactive = ch.Inactive && s.live() == 0
		for _, c := range []class{s.sick, s.coming, s.serving} {
			c.Scan(func(t *task.Task) bool {
				if len(ch.Stop) < batch {
					ch.Stop = append(ch.Stop, Stop{t.ID, scaling(svc.Primary())})
				}
				return len(ch.Stop) < batch
			})
		}
	}
	for i := range svc.Deployments {
		ch.Keep = append(ch.Keep, svc.Deployments[i].ID)
	}
	return ch
}
