package agent

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bakingclouds/rollcall/internal/task"
)

// Action is what the agent asks of the runtime next.
type Action int

// The actions. Each is idempotent, so a crash repeats it.
const (
	Nothing Action = iota
	Create
	StartContainers
	StopContainers
	Remove
)

// Step is one move of a task toward what is wanted of it.
type Step struct {
	Observed   task.Observed // what the row shall say, before the action
	Do         Action
	Containers []string // of StartContainers and StopContainers
	// Again is when to look again though nothing happens; 0 is not at all.
	Again time.Duration
	// StopCode and StopReason decide that the task shall stop; empty leaves what is wanted as it is.
	StopCode   task.StopCode
	StopReason string
}

// Next decides a task's next step from its row, its definition and its sandbox, nil when there is none. It
// reads no clock and calls nothing.
//
// A task that shall stop and is registered waits in DEACTIVATING until the register loop has released it:
// its address leaves every answer before SIGTERM.
func Next(t *task.Task, def *task.Definition, box *Sandbox, now time.Time) Step {
	s := Step{Observed: observe(t, def, box)}
	switch {
	case t.Observed.State == task.Stopped:
		if box != nil {
			s.Do = Remove
		}
	case t.Desired == task.DesiredStopped:
		s.stop(t, def, box, now)
	case box == nil && t.Observed.State >= task.Activating:
		s.fail(task.EssentialContainerExited, "The task's containers are gone: something else removed them, or the host was restarted")
	case box == nil && def.Unmet != "":
		s.fail(task.TaskFailedToStart, def.Unmet)
	case box == nil:
		s.Observed.State = task.Pending
		s.Do = Create
	default:
		s.run(t, def, box, now)
	}
	return s
}

// run brings a task with a sandbox toward RUNNING.
func (s *Step) run(t *task.Task, def *task.Definition, box *Sandbox, now time.Time) {
	for i, c := range box.Containers {
		if c.Ended() && def.Containers[i].Essential {
			s.fail(ending(c))
			return
		}
	}
	waiting := false
	for _, d := range def.Containers {
		c := container(box, d.Name)
		if !c.StartedAt.IsZero() || c.Ended() {
			continue
		}
		switch w := waitsFor(d, def, box, now); {
		case w.never != "":
			s.fail(task.TaskFailedToStart, w.never)
			return
		case w.ready:
			s.Do = StartContainers
			s.Containers = append(s.Containers, d.Name)
		default:
			waiting = true
			if w.again > 0 && (s.Again == 0 || w.again < s.Again) {
				s.Again = w.again
			}
		}
	}
	switch {
	case s.Do == StartContainers || waiting:
		s.Observed.State = max(s.Observed.State, task.Pending)
	case len(t.Registries) > 0 && t.Registration == task.Unregistered:
		s.Observed.State = max(s.Observed.State, task.Activating)
	default:
		if s.Observed.State < task.Running {
			s.Observed.StartedAt = &now
		}
		s.Observed.State = max(s.Observed.State, task.Running)
	}
	s.Observed.HealthySince = healthySince(t, s.Observed, now)
}

// healthySince is when the task last turned healthy: by its health check, or by running.
func healthySince(t *task.Task, o task.Observed, now time.Time) *time.Time {
	healthy := o.State == task.Running
	if t.Checked {
		healthy = o.Health == task.HealthHealthy
	}
	switch {
	case !healthy:
		return nil
	case t.Observed.HealthySince != nil:
		return t.Observed.HealthySince
	}
	return &now
}

// stop brings a task toward STOPPED.
func (s *Step) stop(t *task.Task, def *task.Definition, box *Sandbox, now time.Time) {
	s.Observed.HealthySince = nil
	running := runningContainers(box)
	if len(running) == 0 && s.Observed.EndedAt == nil && (box != nil || t.Observed.State >= task.Activating) {
		s.Observed.EndedAt = &now
	}
	if len(t.Registries) > 0 && t.Registration != task.Released {
		s.Observed.State = max(s.Observed.State, task.Deactivating)
		return
	}
	switch {
	case len(running) > 0:
		s.Observed.State = max(s.Observed.State, task.Stopping)
		s.Do = StopContainers
		s.Containers = stoppable(def, running)
	case box != nil:
		s.Observed.State = max(s.Observed.State, task.Deprovisioning)
		s.Do = Remove
	default:
		s.Observed.State = task.Stopped
		s.Observed.StoppedAt = &now
	}
}

// fail decides that the task shall stop.
func (s *Step) fail(code task.StopCode, reason string) { s.StopCode, s.StopReason = code, reason }

// ending is the stop code and reason for an essential container that ended.
func ending(c ContainerStatus) (code task.StopCode, reason string) {
	if c.StartedAt.IsZero() || strings.HasPrefix(c.Reason, "Cannot") {
		return task.TaskFailedToStart, c.Reason
	}
	return task.EssentialContainerExited, "Essential container in task exited"
}

// wait is how a container stands with those that it depends on.
type wait struct {
	ready bool
	never string        // why it never can start
	again time.Duration // until one of them is late; 0 is never
}

// waitsFor reports whether a container may start, or why it never can (ECS Developer Guide, "Container dependency"). Only
// a startTimeout ends a wait ("ContainerDefinition": without one ECS's agent waits as long as it takes); it counts from the
// start of the container that has it.
func waitsFor(d task.ContainerDefinition, def *task.Definition, box *Sandbox, now time.Time) wait {
	w := wait{ready: true}
	for _, dep := range d.DependsOn {
		c := container(box, dep.Container)
		never := func(format string, args ...any) wait {
			return wait{never: "TaskDependencyError: container " + d.Name + " depends on " + fmt.Sprintf(format, args...)}
		}
		ready, ended := false, c.Ended()
		switch dep.Condition {
		case "COMPLETE":
			ready = ended
		case "SUCCESS":
			ready = ended
			if ended && (c.ExitCode == nil || *c.ExitCode != 0) {
				return never("the success of %s, which failed", dep.Container)
			}
		case "HEALTHY":
			ready = c.Health == HealthHealthy
			if !ready && ended {
				return never("the health of %s, which has ended", dep.Container)
			}
		default: // START
			ready = !c.StartedAt.IsZero()
			if !ready && ended {
				return never("%s, which could not be started", dep.Container)
			}
		}
		if ready {
			continue
		}
		w.ready = false
		on, known := def.Container(dep.Container)
		if !known || on.Options.StartTimeout == 0 || c.StartedAt.IsZero() {
			continue
		}
		left := c.StartedAt.Add(on.Options.StartTimeout).Sub(now)
		if left <= 0 {
			return never("%s, which was not %s within its startTimeout of %v", dep.Container, dep.Condition, on.Options.StartTimeout)
		}
		if w.again == 0 || left < w.again {
			w.again = left
		}
	}
	return w
}

// stoppable are the running containers that no other running one depends on: those stop first.
func stoppable(def *task.Definition, running []string) []string {
	needed := map[string]bool{}
	for _, d := range def.Containers {
		if slices.Contains(running, d.Name) {
			for _, dep := range d.DependsOn {
				needed[dep.Container] = true
			}
		}
	}
	first := slices.DeleteFunc(slices.Clone(running), func(name string) bool { return needed[name] })
	if len(first) == 0 {
		return running // a cycle: registration refuses those
	}
	return first
}

func runningContainers(box *Sandbox) []string {
	var names []string
	if box != nil {
		for _, c := range box.Containers {
			if c.Running() {
				names = append(names, c.Name)
			}
		}
	}
	return names
}

// container is a container's status, zero when the sandbox does not know it.
func container(box *Sandbox, name string) ContainerStatus {
	if box != nil {
		for _, c := range box.Containers {
			if c.Name == name {
				return c
			}
		}
	}
	return ContainerStatus{Name: name}
}

// observe writes down what the sandbox shows.
func observe(t *task.Task, def *task.Definition, box *Sandbox) task.Observed {
	o := t.Observed
	o.Containers = nil
	if box != nil {
		o.Address, o.Address6 = box.Address, box.Address6
	}
	for i, d := range def.Containers {
		seen := task.Container{ID: task.ContainerID(t.ID, d.Name), Name: d.Name, Status: "PENDING", Health: task.HealthUnknown}
		if box == nil && i < len(t.Observed.Containers) {
			seen = t.Observed.Containers[i] // the last that was known
			if t.Observed.State >= task.Activating {
				seen.Status = "STOPPED"
			}
		}
		if box != nil {
			fill(&seen, container(box, d.Name))
		}
		o.Containers = append(o.Containers, seen)
	}
	o.Health = taskHealth(def, o.Containers)
	return o
}

func fill(seen *task.Container, c ContainerStatus) {
	switch {
	case c.Ended():
		seen.Status = "STOPPED"
	case c.Running():
		seen.Status = "RUNNING"
	}
	seen.RuntimeID, seen.Image, seen.ExitCode, seen.Reason = c.RuntimeID, c.Image, c.ExitCode, c.Reason
	if c.Health != "" {
		seen.Health = task.Health(c.Health)
	}
	if c.Health == HealthUnhealthy && seen.Reason == "" && c.HealthOutput != "" {
		seen.Reason = "Health check: " + c.HealthOutput[:min(len(c.HealthOutput), 1000)] // ECS shows up to 1024 characters
	}
	for _, p := range c.Ports {
		seen.Bindings = append(seen.Bindings, task.Binding{
			HostIP: p.HostIP.String(), ContainerPort: int(p.Container), HostPort: int(p.Host), Protocol: p.Protocol,
		})
	}
}

// taskHealth is the verdict over the essential containers that have a health check.
func taskHealth(def *task.Definition, cs []task.Container) task.Health {
	verdict := task.HealthUnknown
	for i, d := range def.Containers {
		if !d.Essential || d.HealthCheck == nil {
			continue
		}
		switch cs[i].Health {
		case task.HealthUnhealthy:
			return task.HealthUnhealthy
		case task.HealthUnknown:
			return task.HealthUnknown
		}
		verdict = task.HealthHealthy
	}
	return verdict
}
