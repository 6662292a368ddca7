package rollout

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bakingclouds/rollcall/internal/task"
)

// simulation is a service whose tasks, users and nodes act at random. It applies each plan as the loop does and checks
// the result against what Plan promises.
type simulation struct {
	*rapid.T
	svc     *task.Service
	tasks   []*task.Task
	nodes   Nodes
	now     time.Time
	grouped *ServiceTasks // the same tasks, updated with each change
	ids     int

	faults bool // tasks may fail, exit and turn unhealthy
}

func newSimulation(t *rapid.T) *simulation {
	desired := rapid.IntRange(0, 9).Draw(t, "desired")
	s := &simulation{T: t, now: noon, grouped: NewServiceTasks(), svc: &task.Service{
		Name: "web", Status: task.Active, DesiredCount: desired,
		MinimumHealthy: rapid.IntRange(0, 100).Draw(t, "min"), Maximum: rapid.IntRange(100, 250).Draw(t, "max"),
	}}
	if rapid.Bool().Draw(t, "breaker") {
		s.svc.Breaker = &task.Breaker{
			Rollback: rapid.Bool().Draw(t, "rollback"), Cumulative: rapid.Bool().Draw(t, "cumulative"),
		}
	}
	if rapid.IntRange(0, 3).Draw(t, "daemon") == 0 {
		s.svc.Daemon, s.svc.Maximum, s.nodes = true, 100, parseNodes("a b c")
	}
	s.svc.GracePeriod = time.Duration(rapid.IntRange(0, 2).Draw(t, "grace")) * time.Minute
	s.deploy()
	return s
}

// deploy adds a primary deployment.
func (s *simulation) deploy() {
	s.ids++
	d := task.Deployment{
		ID: fmt.Sprint("ecs-svc/", s.ids), Family: fmt.Sprint("family", s.ids), Rollout: task.InProgress,
	}
	s.svc.Deployments = append([]task.Deployment{d}, s.svc.Deployments...)
}

// update changes the row of a task.
func (s *simulation) update(i int, edit func(*task.Task)) {
	old := s.tasks[i]
	next := *old
	edit(&next)
	s.grouped.Replace(old, &next)
	s.tasks[i] = &next
}

// plan makes one plan, applies it, and checks the result.
func (s *simulation) plan() Changes {
	presentBefore, provenBefore := present(s.tasks), s.proven()
	desired := s.svc.DesiredCount
	if s.svc.Daemon {
		desired = s.nodes.eligible()
	}
	minServing, maxTasks := (desired*s.svc.MinimumHealthy+99)/100, desired*s.svc.Maximum/100
	failed := s.svc.Primary().Rollout == task.Failed

	ch := Plan(s.svc, s.grouped.Copy(), s.nodes, s.now)
	if again := Plan(s.svc, NewServiceTasks(s.tasks...), s.nodes, s.now); again.String() != ch.String() {
		s.Fatalf("the plan for updated tasks differs from the plan for the same tasks grouped from scratch:\n%s\n%s",
			ch, again)
	}
	s.apply(ch)

	switch {
	case ch.Start > 0 && failed:
		s.Fatalf("a failed rollout starts %d tasks", ch.Start)
	case ch.Start > 0 && present(s.tasks) > maxTasks && !s.svc.Daemon: // the maximum of a daemon is one task per node
		s.Fatalf("%d tasks, want at most %d: %s", present(s.tasks), maxTasks, ch)
	case ch.Start == 0 && present(s.tasks) > presentBefore:
		s.Fatalf("%d tasks after %d without a start", present(s.tasks), presentBefore)
	case s.proven() < min(minServing, provenBefore) && !s.svc.Daemon:
		s.Fatalf("%d proven tasks after %d, want at least %d: %s", s.proven(), provenBefore, minServing, ch)
	case len(s.svc.Deployments) == 0 || len(ch.KeepDeployments) == 0:
		s.Fatalf("no deployment is left")
	}
	s.checkTasks(ch)
	return ch
}

// checkTasks checks that no protected task was stopped and that no node has two tasks of a daemon.
func (s *simulation) checkTasks(ch Changes) {
	perNode := map[string]int{}
	for _, t := range s.tasks {
		byScheduler := t.Desired == task.DesiredStopped && t.StopCode == task.ServiceSchedulerInitiated
		if byScheduler && t.StoppedReason != ReasonUnhealthy && t.Protected(*t.StoppingAt) {
			s.Fatalf("the protected task %s was stopped: %s", t.ID, ch)
		}
		if t.Observed.State != task.Stopped {
			perNode[nodeOf(t)]++
		}
	}
	if s.svc.Daemon {
		for name, n := range perNode {
			if n > 1 {
				s.Fatalf("%d tasks on node %s", n, name)
			}
		}
	}
}

// proven counts the serving tasks that count for the minimum.
func (s *simulation) proven() (n int) {
	p := &planner{svc: s.svc, primary: s.svc.Primary(), now: s.now}
	for _, t := range s.tasks {
		if t.Serving() && p.isProven(t) {
			n++
		}
	}
	return n
}

// apply does to the rows what the loop writes.
func (s *simulation) apply(ch Changes) {
	for i := range ch.Start {
		s.ids++
		t := &task.Task{
			ID: task.ID(fmt.Sprint("t", s.ids)), Deployment: s.svc.Primary().ID, Desired: task.DesiredRunning,
			Created: s.now, Checked: s.ids%3 == 0, Observed: task.Observed{State: task.Provisioning},
		}
		if ch.StartOn != nil {
			t.OnlyNode = ch.StartOn[i]
		}
		s.tasks = append(s.tasks, t)
		s.grouped.Replace(nil, t)
	}
	for i, t := range s.tasks {
		for _, stop := range ch.Stop {
			if stop.Task == t {
				s.stop(i, task.ServiceSchedulerInitiated, stop.Reason)
			}
		}
		if slices.Contains(ch.CountFailed, t) {
			s.update(i, func(t *task.Task) { t.Counted = true })
		}
	}
	s.svc.Deployments = slices.DeleteFunc(s.svc.Deployments, func(d task.Deployment) bool {
		return !slices.Contains(ch.KeepDeployments, d.ID)
	})
	d := s.svc.Primary()
	d.Failures, s.svc.DesiredCount = ch.Failures, ch.DesiredCount
	if ch.Completed {
		d.Rollout = task.Completed
		settled := *d
		s.svc.Settled = &settled
	}
	if ch.FailedBy != NotFailed {
		d.Rollout, d.Stop = task.Failed, ""
	}
	if ch.RollBack {
		earlier := s.svc.RollbackTarget().Family
		s.deploy()
		s.svc.Primary().Family, s.svc.Primary().RollsBack = earlier, true
	}
}

func (s *simulation) stop(i int, code task.StopCode, reason string) {
	s.update(i, func(t *task.Task) {
		t.Desired, t.StopCode, t.StoppedReason, t.StoppingAt = task.DesiredStopped, code, reason, &s.now
		t.Observed.HealthySince = nil
	})
}

// advance moves the clock. Meanwhile tasks start, fail, exit and change their health, and tasks that are to stop may
// stop.
func (s *simulation) advance() {
	s.now = s.now.Add(time.Duration(rapid.IntRange(1, 60).Draw(s.T, "seconds")) * time.Second)
	now := s.now
	for i, t := range s.tasks {
		if t.Observed.State == task.Stopped || !rapid.Bool().Draw(s.T, "moves") {
			continue
		}
		switch {
		case t.Desired == task.DesiredStopped:
			s.update(i, func(t *task.Task) { t.Observed.State, t.Observed.StoppedAt = task.Stopped, &now })
		case s.faults && s.oneIn(4, "fails"):
			code := task.EssentialContainerExited
			if t.Observed.StartedAt == nil {
				code = task.TaskFailedToStart
			}
			s.stop(i, code, "exited")
		case t.Observed.State < task.Running:
			s.update(i, func(t *task.Task) {
				t.Node = t.OnlyNode
				t.Observed.State, t.Observed.StartedAt = task.Running, &now
				if !t.Checked {
					t.Observed.HealthySince = &now
				}
			})
		case t.Checked && t.Observed.Health != task.HealthHealthy:
			s.update(i, func(t *task.Task) {
				t.Observed.Health, t.Observed.HealthySince = task.HealthHealthy, &now
			})
		case t.Checked && s.faults && s.oneIn(4, "unhealthy"):
			s.update(i, func(t *task.Task) {
				t.Observed.Health, t.Observed.HealthySince = task.HealthUnhealthy, nil
			})
		}
	}
}

func (s *simulation) oneIn(n int, label string) bool {
	return rapid.IntRange(1, n).Draw(s.T, label) == 1
}

// disturb does what users and nodes may do during a rollout.
func (s *simulation) disturb() {
	switch rapid.IntRange(0, 9).Draw(s.T, "disturbance") {
	case 0:
		s.deploy()
	case 1:
		if !s.svc.Daemon {
			s.svc.DesiredCount = rapid.IntRange(0, 9).Draw(s.T, "desired")
		}
	case 2:
		if d := s.svc.Primary(); d.Rollout == task.InProgress {
			d.Stop = task.StopAbort
			if s.svc.RollbackTarget() != nil && !d.RollsBack && rapid.Bool().Draw(s.T, "back") {
				d.Stop = task.StopRollback
			}
		}
	case 3:
		if i, ok := s.drawLiveTask(); ok {
			until := s.now.Add(time.Duration(rapid.IntRange(1, 10).Draw(s.T, "minutes")) * time.Minute)
			s.update(i, func(t *task.Task) { t.ProtectedUntil = &until })
		}
	case 4:
		if i, ok := s.drawLiveTask(); ok {
			s.stop(i, task.UserInitiated, "StopTask")
		}
	case 5:
		if s.svc.Daemon {
			name := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(s.T, "node")
			if _, listed := s.nodes[name]; listed && rapid.Bool().Draw(s.T, "removed") {
				delete(s.nodes, name)
			} else {
				s.nodes[name] = rapid.Bool().Draw(s.T, "reachable")
			}
		}
	}
}

// drawLiveTask draws the index of a live task; false means that no task is live.
func (s *simulation) drawLiveTask() (int, bool) {
	var live []int
	for i, t := range s.tasks {
		if t.Live() {
			live = append(live, i)
		}
	}
	if len(live) == 0 {
		return 0, false
	}
	return rapid.SampledFrom(live).Draw(s.T, "task"), true
}

// TestSimulations checks that whatever fails and whatever users do, no plan goes below the minimum or above the
// maximum, stops a protected task, or starts a second task on a daemon's node. When the faults end, the rollout ends
// too: it completes with the desired tasks, or it has failed.
func TestSimulations(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSimulation(t)
		s.faults = true
		for range rapid.IntRange(0, 40).Draw(t, "rounds") {
			s.plan()
			s.advance()
			s.disturb()
		}
		s.faults = false
		for name := range s.nodes {
			s.nodes[name] = true
		}
		for rounds := 0; ; rounds++ {
			ch := s.plan()
			if s.ended(ch, rounds) {
				return
			}
			s.advance()
			if ch.PlanAgainAt.After(s.now) {
				s.now = ch.PlanAgainAt
			}
		}
	})
}

// ended checks a plan made without faults and reports whether the rollout has ended.
func (s *simulation) ended(ch Changes, rounds int) bool {
	d := s.svc.Primary()
	switch {
	case ch.Steady:
		n, ds := serving(s.tasks), s.svc.Deployments
		if n != s.svc.DesiredCount || len(ds) != 1 || d.Rollout != task.Completed {
			s.Fatalf("steady with %d tasks, want %d; deployments %+v", n, s.svc.DesiredCount, ds)
		}
		return true
	case d.Rollout == task.Failed && ch.String() == "" && rounds > 100:
		return true
	case ch.Blocked == blockedByBounds:
		return true // the service's own bounds block it, as at AWS
	case rounds > 1000:
		s.Fatalf("the rollout does not end: %s, desired count %d, minimum %d and maximum %d percent, plan %s",
			s, s.svc.DesiredCount, s.svc.MinimumHealthy, s.svc.Maximum, ch)
	}
	return false
}

// String lists the deployments and the tasks that have not stopped.
func (s *simulation) String() string {
	var parts []string
	for _, d := range s.svc.Deployments {
		parts = append(parts, d.ID+" "+string(d.Rollout))
	}
	for _, t := range s.tasks {
		if o := t.Observed; o.State != task.Stopped {
			parts = append(parts, fmt.Sprintf("%s of %s %s %s %s", t.ID, t.Deployment, t.Desired, o.State, o.Health))
		}
	}
	return strings.Join(parts, ", ")
}

func present(tasks []*task.Task) (n int) {
	for _, t := range tasks {
		if t.Observed.State != task.Stopped {
			n++
		}
	}
	return n
}

func serving(tasks []*task.Task) (n int) {
	for _, t := range tasks {
		if t.Serving() {
			n++
		}
	}
	return n
}
