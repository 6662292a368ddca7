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

// play is a service with its tasks, played by random luck. The plan's changes are applied as the loop would
// write them, and each is held against the promises.
type play struct {
	*rapid.T
	svc   *task.Service
	tasks []*task.Task
	nodes Nodes
	now   time.Time
	fleet *ServiceTasks
	ids   int

	unlucky bool // tasks may fail, die, and turn unhealthy
}

func newPlay(t *rapid.T) *play {
	desired := rapid.IntRange(0, 9).Draw(t, "desired")
	p := &play{T: t, now: noon, fleet: NewServiceTasks(), svc: &task.Service{
		Name: "web", Status: task.Active, DesiredCount: desired,
		MinimumHealthy: rapid.IntRange(0, 100).Draw(t, "min"), Maximum: rapid.IntRange(100, 250).Draw(t, "max"),
	}}
	if rapid.Bool().Draw(t, "breaker") {
		p.svc.Breaker = &task.Breaker{Rollback: rapid.Bool().Draw(t, "rollback"), Cumulative: rapid.Bool().Draw(t, "cumulative")}
	}
	if rapid.IntRange(0, 3).Draw(t, "daemon") == 0 {
		p.svc.Daemon, p.svc.Maximum, p.nodes = true, 100, parseNodes("a b c")
	}
	p.svc.GracePeriod = time.Duration(rapid.IntRange(0, 2).Draw(t, "grace")) * time.Minute
	p.deploy()
	return p
}

func (p *play) deploy() {
	p.ids++
	d := task.Deployment{ID: fmt.Sprint("ecs-svc/", p.ids), Family: fmt.Sprint("family", p.ids), Rollout: task.InProgress}
	p.svc.Deployments = append([]task.Deployment{d}, p.svc.Deployments...)
}

// change makes a change to a task, in the fleet too.
func (p *play) change(i int, do func(*task.Task)) {
	old := p.tasks[i]
	next := *old
	do(&next)
	p.fleet.Replace(old, &next)
	p.tasks[i] = &next
}

// round plans, applies, and holds the result against the promises.
func (p *play) round() Changes {
	before := struct{ present, sure int }{present(p.tasks), p.sure()}
	desired := p.svc.DesiredCount
	if p.svc.Daemon {
		desired = p.nodes.eligible()
	}
	least, most := (desired*p.svc.MinimumHealthy+99)/100, desired*p.svc.Maximum/100
	failed := p.svc.Primary().Rollout == task.Failed

	fleet := p.fleet.Copy()
	ch := Plan(p.svc, fleet, p.nodes, p.now)
	if again := Plan(p.svc, NewServiceTasks(p.tasks...), p.nodes, p.now); again.String() != ch.String() {
		p.Fatalf("a fleet that has followed its tasks gives another plan than one made of them:\n%s\n%s", ch, again)
	}
	p.apply(ch)

	switch {
	case ch.Start > 0 && failed:
		p.Fatalf("a failed rollout starts %d tasks", ch.Start)
	case ch.Start > 0 && present(p.tasks) > most && !p.svc.Daemon: // whose maximum is one task on a node
		p.Fatalf("%d tasks, at most %d allowed: %s", present(p.tasks), most, ch)
	case ch.Start == 0 && present(p.tasks) > before.present:
		p.Fatalf("%d tasks after %d", present(p.tasks), before.present)
	case p.sure() < min(least, before.sure) && !p.svc.Daemon:
		p.Fatalf("%d tasks serve after %d, at least %d wanted: %s", p.sure(), before.sure, least, ch)
	case len(p.svc.Deployments) == 0 || len(ch.Keep) == 0:
		p.Fatalf("no deployment is left")
	}
	on := map[string]int{}
	for _, t := range p.tasks {
		if t.Desired == task.DesiredStopped && t.StopCode == task.ServiceSchedulerInitiated && t.StoppedReason != ReasonUnhealthy &&
			t.Protected(*t.StoppingAt) {
			p.Fatalf("the protected task %s was stopped: %s", t.ID, ch)
		}
		if t.Observed.State != task.Stopped {
			on[node(t)]++
		}
	}
	if p.svc.Daemon {
		for name, n := range on {
			if n > 1 {
				p.Fatalf("%d tasks on node %s", n, name)
			}
		}
	}
	return ch
}

// sure counts serving tasks as the plan does for the minimum: of a rollout under a breaker only proven ones.
func (p *play) sure() (n int) {
	watch := &pass{svc: p.svc, primary: p.svc.Primary(), now: p.now}
	for _, t := range p.tasks {
		if t.Serving() && watch.proven(t) {
			n++
		}
	}
	return n
}

// apply does what the loop would write.
func (p *play) apply(ch Changes) {
	for i := range ch.Start {
		p.ids++
		t := &task.Task{
			ID: fmt.Sprint("t", p.ids), Deployment: p.svc.Primary().ID, Desired: task.DesiredRunning, Created: p.now,
			Checked: p.ids%3 == 0, Observed: task.Observed{State: task.Provisioning},
		}
		if ch.Nodes != nil {
			t.OnlyNode = ch.Nodes[i]
		}
		p.tasks = append(p.tasks, t)
		p.fleet.Replace(nil, t)
	}
	for i, t := range p.tasks {
		for _, s := range ch.Stop {
			if s.ID == t.ID {
				p.stop(i, task.ServiceSchedulerInitiated, s.Reason)
			}
		}
		if slices.Contains(ch.Count, t.ID) {
			p.change(i, func(t *task.Task) { t.Counted = true })
		}
	}
	p.svc.Deployments = slices.DeleteFunc(p.svc.Deployments, func(d task.Deployment) bool { return !slices.Contains(ch.Keep, d.ID) })
	d := p.svc.Primary()
	d.Failures, p.svc.DesiredCount = ch.Failures, ch.Desired
	if ch.Completed {
		d.Rollout = task.Completed
		done := *d
		p.svc.Settled = &done
	}
	if ch.Fail != None {
		d.Rollout, d.Stop = task.Failed, ""
	}
	if ch.RollBack {
		earlier := p.svc.Earlier().Family
		p.deploy()
		p.svc.Primary().Family, p.svc.Primary().RollsBack = earlier, true
	}
}

func (p *play) stop(i int, code, reason string) {
	p.change(i, func(t *task.Task) {
		t.Desired, t.StopCode, t.StoppedReason, t.StoppingAt = task.DesiredStopped, code, reason, &p.now
		t.Observed.HealthySince = nil
	})
}

// pass lets time pass: tasks come up, fail, die, change their health; those that were told to stop have stopped.
func (p *play) pass() {
	p.now = p.now.Add(time.Duration(rapid.IntRange(1, 60).Draw(p.T, "seconds")) * time.Second)
	now := p.now
	for i, t := range p.tasks {
		if t.Observed.State == task.Stopped || !rapid.Bool().Draw(p.T, "moves") {
			continue
		}
		switch {
		case t.Desired == task.DesiredStopped:
			p.change(i, func(t *task.Task) { t.Observed.State, t.Observed.StoppedAt = task.Stopped, &now })
		case p.unlucky && p.oneIn(4, "fails"):
			code := task.EssentialContainerExited
			if t.Observed.StartedAt == nil {
				code = task.TaskFailedToStart
			}
			p.stop(i, code, "of itself")
		case t.Observed.State < task.Running:
			p.change(i, func(t *task.Task) {
				t.Node = t.OnlyNode
				t.Observed.State, t.Observed.StartedAt = task.Running, &now
				if !t.Checked {
					t.Observed.HealthySince = &now
				}
			})
		case t.Checked && t.Observed.Health != task.HealthHealthy:
			p.change(i, func(t *task.Task) { t.Observed.Health, t.Observed.HealthySince = task.HealthHealthy, &now })
		case t.Checked && p.unlucky && p.oneIn(4, "sick"):
			p.change(i, func(t *task.Task) { t.Observed.Health, t.Observed.HealthySince = task.HealthUnhealthy, nil })
		}
	}
}

func (p *play) oneIn(n int, label string) bool { return rapid.IntRange(1, n).Draw(p.T, label) == 1 }

// disturb does what users and machines do in the middle of it all.
func (p *play) disturb() {
	switch rapid.IntRange(0, 9).Draw(p.T, "disturbance") {
	case 0:
		p.deploy()
	case 1:
		if !p.svc.Daemon {
			p.svc.DesiredCount = rapid.IntRange(0, 9).Draw(p.T, "desired")
		}
	case 2:
		if d := p.svc.Primary(); d.Rollout == task.InProgress {
			d.Stop = task.StopAbort
			if p.svc.Earlier() != nil && !d.RollsBack && rapid.Bool().Draw(p.T, "back") {
				d.Stop = task.StopRollback
			}
		}
	case 3:
		if i, ok := p.someLive(); ok {
			until := p.now.Add(time.Duration(rapid.IntRange(1, 10).Draw(p.T, "minutes")) * time.Minute)
			p.change(i, func(t *task.Task) { t.ProtectedUntil = &until })
		}
	case 4:
		if i, ok := p.someLive(); ok {
			p.stop(i, task.UserInitiated, "by hand")
		}
	case 5:
		if p.svc.Daemon {
			name := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(p.T, "node")
			if _, there := p.nodes[name]; there && rapid.Bool().Draw(p.T, "goes") {
				delete(p.nodes, name)
			} else {
				p.nodes[name] = rapid.Bool().Draw(p.T, "reached")
			}
		}
	}
}

func (p *play) someLive() (int, bool) {
	var live []int
	for i, t := range p.tasks {
		if t.Live() {
			live = append(live, i)
		}
	}
	if len(live) == 0 {
		return 0, false
	}
	return rapid.SampledFrom(live).Draw(p.T, "task"), true
}

// TestPlays: whatever fails and whatever is asked for on the way, no plan goes under the minimum or over the
// maximum, touches a protected task or puts two on a daemon's node; and when the bad luck ends, so does the
// rollout: completed with what is wanted, or failed for good.
func TestPlays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPlay(t)
		p.unlucky = true
		for range rapid.IntRange(0, 40).Draw(t, "rounds") {
			p.round()
			p.pass()
			p.disturb()
		}
		p.unlucky = false
		for name := range p.nodes {
			p.nodes[name] = true
		}
		for quiet := 0; ; quiet++ {
			ch := p.round()
			d := p.svc.Primary()
			switch {
			case ch.Steady:
				if n := serving(p.tasks); n != p.svc.DesiredCount || len(p.svc.Deployments) != 1 || d.Rollout != task.Completed {
					t.Fatalf("steady with %d tasks of %d, deployments %+v", n, p.svc.DesiredCount, p.svc.Deployments)
				}
				return
			case d.Rollout == task.Failed && ch.String() == "" && quiet > 100:
				return
			case ch.Blocked == blockedByBounds:
				return // by its own configuration, as at AWS
			case quiet > 1000:
				t.Fatalf("no end: %s of %d, %d to %d percent, %s", p, p.svc.DesiredCount, p.svc.MinimumHealthy, p.svc.Maximum, ch)
			}
			p.pass()
			if !ch.LookAgain.IsZero() && ch.LookAgain.After(p.now) {
				p.now = ch.LookAgain
			}
		}
	})
}

// String is what is there, for failures.
func (p *play) String() string {
	var parts []string
	for _, d := range p.svc.Deployments {
		parts = append(parts, d.ID+" "+string(d.Rollout))
	}
	for _, t := range p.tasks {
		if t.Observed.State != task.Stopped {
			parts = append(parts, fmt.Sprintf("%s of %s %s %s %s", t.ID, t.Deployment, t.Desired, t.Observed.State, t.Observed.Health))
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
