package rollout

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/bakingclouds/rollcall/internal/task"
)

// Changes are the changes that bring a service closer to its desired state. One plan starts, stops and counts at most
// batch tasks each; the next plan continues.
type Changes struct {
	Start       int          // number of tasks of the primary deployment to start
	StartOn     []string     // for a DAEMON service: the node of each task to start
	Stop        []Stop       // in this order
	CountFailed []*task.Task // the failed tasks that Failures now includes
	// Failures are the primary deployment's failures, including CountFailed.
	Failures task.Failures
	// UnableToStart reports that the service has to report that it cannot start tasks.
	UnableToStart bool
	// FailedBy is the cause for which the primary deployment's rollout fails now. RollBack reports whether the
	// service's earlier deployment is deployed again.
	FailedBy FailureCause
	RollBack bool
	// KeepDeployments are the ids of the deployments that stay in the service, the primary first.
	KeepDeployments []string
	// Completed reports that the primary deployment's rollout completes now, Steady that the service is in a steady
	// state.
	Completed, Steady bool
	DesiredCount      int    // for a DAEMON service: the number of eligible nodes
	Blocked           string // the event that reports why the service cannot proceed
	Inactive          bool   // the service is being deleted and all its tasks are stopping or have stopped
	// PlanAgainAt is the earliest time at which the plan may change although no row has changed; zero means never.
	PlanAgainAt time.Time
}

// Stop is a task to stop, and the reason.
type Stop struct {
	Task   *task.Task
	Reason string
}

// FailureCause is the cause for which a rollout fails.
type FailureCause int

// The causes.
const (
	NotFailed      FailureCause = iota
	BreakerTripped              // the deployment circuit breaker has counted enough failed tasks
	StopRequested               // StopServiceDeployment
)

// batch is the maximum number of tasks that one plan, and so one transaction, starts, stops and counts.
const batch = 100

// ReasonUnhealthy is ECS's reason for stopping a task that fails its health check.
const ReasonUnhealthy = "Task failed container health checks"

// Plan returns the next changes of a service. It reads neither clock nor store and does not change its arguments. Only
// DAEMON services use nodes.
//
// With a desired count D, at least ceil(D * minimumHealthyPercent / 100) serving tasks stay while others are
// replaced, and at most floor(D * maximumPercent / 100) tasks exist at once, including those that are still stopping
// (ECS Developer Guide, "Rolling update"). A task that fails its health check is stopped when its replacement serves,
// or when there is no room for a replacement. Neither a scale-in nor a deployment stops a protected task.
//
// A rollout that has failed without a rollback starts nothing: the serving tasks stay, up to the desired count.
func Plan(svc *task.Service, tasks *ServiceTasks, nodes Nodes, now time.Time) Changes {
	if svc.Status != task.Active {
		return planDeletion(svc, tasks)
	}
	p := newPlanner(svc, tasks, nodes, now)
	p.countFailures()
	switch {
	case p.checkFailed():
	case svc.Daemon:
		p.coverNodes(nodes)
	case p.primary.Rollout == task.Failed:
		p.holdFailedRollout()
	default:
		p.startMissing()
		p.stopSurplus()
		p.replaceUnhealthy()
		p.stopOlder()
	}
	p.conclude()
	return p.Changes
}

// planner collects the changes of one plan. Its counts change with each task that it stops.
type planner struct {
	Changes
	svc        *task.Service
	primary    *task.Deployment
	now        time.Time
	minServing int
	maxTasks   int
	present    int // tasks that have not stopped, including those that are to stop

	primaryTasks *deploymentTasks
	olderTasks   []*deploymentTasks // of the older deployments, the oldest first
	// unhealthy and inGracePeriod are the unhealthy tasks of all deployments after and within their grace period, the
	// newest first. One within its grace period counts as pending.
	unhealthy, inGracePeriod []*task.Task

	serving        int // serving tasks of all deployments
	proven         int // serving tasks that are proven: they may replace an older one
	protected      int // tasks that stay only because they are protected
	primaryCount   int // live tasks of the primary deployment, without the unhealthy ones
	olderRemaining map[string]int
}

func newPlanner(svc *task.Service, tasks *ServiceTasks, nodes Nodes, now time.Time) *planner {
	p := &planner{svc: svc, primary: svc.Primary(), now: now, olderRemaining: map[string]int{}}
	p.DesiredCount = svc.DesiredCount
	if svc.Daemon {
		p.DesiredCount = nodes.eligible()
	}
	p.present = tasks.present()
	p.minServing = (p.DesiredCount*svc.MinimumHealthy + 99) / 100
	p.maxTasks = p.DesiredCount * svc.Maximum / 100
	p.primaryTasks = tasks.deployments[p.primary.ID]
	if p.primaryTasks == nil {
		p.primaryTasks = newDeploymentTasks()
	}
	ids := slices.Sorted(maps.Keys(tasks.deployments))
	slices.SortStableFunc(ids, func(a, b string) int { return cmp.Compare(p.age(b), p.age(a)) })
	for _, id := range ids {
		d := tasks.deployments[id]
		d.unhealthy.Scan(func(t *task.Task) bool { p.classifyUnhealthy(t); return true })
		p.serving += d.serving.Len()
		if id != p.primary.ID {
			p.olderTasks = append(p.olderTasks, d)
			p.olderRemaining[id] = d.live()
		}
	}
	slices.SortFunc(p.unhealthy, newestFirst)
	slices.SortFunc(p.inGracePeriod, newestFirst)
	p.primaryCount = p.primaryTasks.serving.Len() + p.primaryTasks.pending.Len() + p.countPrimary(p.inGracePeriod)
	p.proven = p.serving - p.countUnproven()
	return p
}

// age returns a deployment's index in the service's list, in which the newest is first. A deployment that is not listed
// is older than all others.
func (p *planner) age(id string) int {
	for i := range p.svc.Deployments {
		if p.svc.Deployments[i].ID == id {
			return i
		}
	}
	return len(p.svc.Deployments)
}

// classifyUnhealthy decides whether an unhealthy task is still within its grace period.
func (p *planner) classifyUnhealthy(t *task.Task) {
	if t.Observed.StartedAt != nil && p.svc.GracePeriod > 0 {
		if end := t.Observed.StartedAt.Add(p.svc.GracePeriod); end.After(p.now) {
			p.planAgainAt(end)
			p.inGracePeriod = append(p.inGracePeriod, t)
			return
		}
	}
	p.unhealthy = append(p.unhealthy, t)
}

func newestFirst(a, b *task.Task) int {
	if createdBefore(a, b) {
		return 1
	}
	return -1
}

func (p *planner) isPrimary(t *task.Task) bool { return t.Deployment == p.primary.ID }

// countPrimary counts the tasks of the primary deployment.
func (p *planner) countPrimary(ts []*task.Task) (n int) {
	for _, t := range ts {
		if p.isPrimary(t) {
			n++
		}
	}
	return n
}

// planAgainAt sets PlanAgainAt to at unless it is already earlier.
func (c *Changes) planAgainAt(at time.Time) {
	if c.PlanAgainAt.IsZero() || at.Before(c.PlanAgainAt) {
		c.PlanAgainAt = at
	}
}

// startMissing starts tasks of the primary deployment up to the desired count, as far as the maximum allows.
func (p *planner) startMissing() {
	if n := min(p.DesiredCount-p.primaryCount, p.maxTasks-p.present); n > 0 {
		p.Start = p.startsAllowed(n)
	}
}

// stopSurplus stops the tasks of the primary deployment that exceed the desired count: first those that do not serve,
// then those that have served for the shortest time.
func (p *planner) stopSurplus() {
	surplus := p.primaryCount - p.DesiredCount
	surplus -= p.stopInGracePeriod(surplus, p.isPrimary)
	surplus -= p.stopLast(surplus, p.primaryTasks.pending)
	// Fewer are stopped if too few proven tasks would be left, or if some are protected.
	p.stopLast(min(surplus, p.proven-p.minServing), p.primaryTasks.serving)
}

// replaceUnhealthy stops all unhealthy tasks when enough others serve. Until then it stops only as many as are needed
// to make room for their replacements, the newest first: for a client, an unhealthy instance is better than none.
func (p *planner) replaceUnhealthy() {
	n := len(p.unhealthy)
	if p.serving < p.DesiredCount {
		n = p.DesiredCount - p.primaryCount - max(p.maxTasks-p.present, 0)
	}
	p.stopUnhealthy(n)
}

// stopUnhealthy stops up to n unhealthy tasks, the newest first.
func (p *planner) stopUnhealthy(n int) {
	for _, t := range p.unhealthy[:min(max(n, 0), len(p.unhealthy))] {
		p.stop(t, ReasonUnhealthy)
	}
}

// stopOlder stops the tasks of older deployments: immediately those that do not serve, the others as far as the minimum
// of serving tasks allows, those of the oldest deployment first.
func (p *planner) stopOlder() {
	p.stopInGracePeriod(len(p.inGracePeriod), func(t *task.Task) bool { return !p.isPrimary(t) })
	for _, d := range p.olderTasks {
		p.stopLast(d.pending.Len(), d.pending)
	}
	for _, d := range p.olderTasks {
		p.stopLast(p.proven-p.minServing, d.serving)
	}
}

// holdFailedRollout keeps the tasks of a failed rollout and of the deployments before it. If they exceed the desired
// count, which may be lower now, it first stops tasks that do not serve, then tasks of the failed deployment, then
// older ones.
func (p *planner) holdFailedRollout() {
	surplus := p.primaryCount - p.DesiredCount
	all := append([]*deploymentTasks{p.primaryTasks}, p.olderTasks...)
	for _, d := range p.olderTasks {
		surplus += d.live()
	}
	surplus -= len(p.unhealthy) - p.countPrimary(p.unhealthy)
	surplus -= p.stopInGracePeriod(surplus, func(*task.Task) bool { return true })
	for _, d := range all {
		surplus -= p.stopLast(surplus, d.pending)
	}
	for _, d := range all {
		surplus -= p.stopLast(min(surplus, p.proven-p.minServing), d.serving)
	}
	if p.serving >= p.DesiredCount {
		p.stopUnhealthy(len(p.unhealthy))
	}
}

// stopLast stops up to n tasks of a set, from its end, and skips protected ones. It returns the number of tasks
// stopped.
func (p *planner) stopLast(n int, set taskSet) (stopped int) {
	set.Reverse(func(t *task.Task) bool {
		if stopped >= n || len(p.Stop) >= batch {
			return false
		}
		if p.stopUnlessProtected(t) {
			stopped++
		}
		return true
	})
	return stopped
}

// stopInGracePeriod stops up to n of the tasks within their grace period that match. It returns the number of tasks
// stopped.
func (p *planner) stopInGracePeriod(n int, matches func(*task.Task) bool) (stopped int) {
	for _, t := range p.inGracePeriod {
		if stopped < n && matches(t) && p.stopUnlessProtected(t) {
			stopped++
		}
	}
	return stopped
}

// stopUnlessProtected stops a task and reports whether it did.
func (p *planner) stopUnlessProtected(t *task.Task) bool {
	if t.Protected(p.now) {
		p.protected++
		p.planAgainAt(*t.ProtectedUntil)
		return false
	}
	if len(p.Stop) >= batch {
		return false
	}
	p.stop(t, scalingReason(p.primary))
	return true
}

func (p *planner) stop(t *task.Task, reason string) {
	if len(p.Stop) >= batch {
		return
	}
	p.Stop = append(p.Stop, Stop{t, reason})
	if t.Serving() {
		p.serving--
		if p.isProven(t) {
			p.proven--
		}
	}
	if !p.isPrimary(t) {
		p.olderRemaining[t.Deployment]--
	} else if reason != ReasonUnhealthy {
		p.primaryCount--
	}
}

// scalingReason is ECS's reason for stopping a task because of a scaling or a deployment.
func scalingReason(d *task.Deployment) string {
	return "Scaling activity initiated by (deployment " + d.ID + ")"
}

// conclude drops the deployments without tasks and decides whether the rollout is completed, steady or blocked.
func (p *planner) conclude() {
	for i := range p.svc.Deployments {
		if id := p.svc.Deployments[i].ID; i == 0 || p.olderRemaining[id] > 0 {
			p.KeepDeployments = append(p.KeepDeployments, id)
		}
	}
	reached := p.FailedBy == NotFailed && p.primary.Rollout != task.Failed && len(p.KeepDeployments) == 1 &&
		p.proven >= p.DesiredCount
	p.Completed = reached && p.primary.Rollout == task.InProgress
	idle := p.Start == 0 && len(p.Stop) == 0
	p.Steady = reached && idle && p.present == p.DesiredCount
	p.UnableToStart = p.unableToStart()
	if idle && !p.Steady && p.FailedBy == NotFailed {
		p.Blocked = p.blockedEvent()
	}
}

// blockedEvent returns the event that reports why an idle plan cannot proceed, empty if nothing blocks it.
func (p *planner) blockedEvent() string {
	switch {
	case p.protected > 0:
		return fmt.Sprintf(blockedByProtection, p.primary.ID)
	case p.isBlocked():
		return blockedByBounds
	}
	return ""
}

// isBlocked reports whether the minimum and the maximum allow the rollout neither to start nor to stop a task, and no
// task is about to change that.
func (p *planner) isBlocked() bool {
	underWay := p.present > p.serving || p.proven < p.serving || p.now.Before(p.Failures.RetryAt)
	return p.primary.Rollout == task.InProgress && !underWay && p.primaryCount < p.DesiredCount
}

// planDeletion stops all tasks. The service becomes inactive when every task is stopping or has stopped.
func planDeletion(svc *task.Service, tasks *ServiceTasks) Changes {
	ch := Changes{
		Failures: svc.Primary().Failures, DesiredCount: svc.DesiredCount, Inactive: svc.Status == task.DrainingStatus,
	}
	for _, id := range slices.Sorted(maps.Keys(tasks.deployments)) {
		d := tasks.deployments[id]
		d.stopping.Scan(func(t *task.Task) bool {
			ch.Inactive = ch.Inactive && t.Observed.State >= task.Stopping
			return ch.Inactive
		})
		ch.Inactive = ch.Inactive && d.live() == 0
		for _, set := range []taskSet{d.unhealthy, d.pending, d.serving} {
			set.Scan(func(t *task.Task) bool {
				if len(ch.Stop) < batch {
					ch.Stop = append(ch.Stop, Stop{t, scalingReason(svc.Primary())})
				}
				return len(ch.Stop) < batch
			})
		}
	}
	for i := range svc.Deployments {
		ch.KeepDeployments = append(ch.KeepDeployments, svc.Deployments[i].ID)
	}
	return ch
}
