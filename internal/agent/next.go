package agent

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bakingclouds/rollcall/internal/task"
)

// Action is a call of the runtime.
type Action int

// The actions. Each is idempotent, so that it can be repeated after a crash.
const (
	Nothing Action = iota
	Create
	StartContainers
	StopContainers
	Remove
)

// Step is the next move of a task toward its desired status.
type Step struct {
	Observed   task.Observed // what the row must contain before the action
	Action     Action
	Containers []string // for StartContainers and StopContainers
	// RecheckAfter is the time after which to call Next again even if nothing changes; 0 is never.
	RecheckAfter time.Duration
	// StopCode and StopReason stop the task; empty leaves its desired status as it is.
	StopCode   task.StopCode
	StopReason string
}

// Next returns a task's next step, from its row, its definition and its sandbox, which is nil if it has none. It reads
// no clock and changes nothing.
//
// A registered task that is being stopped stays in DEACTIVATING until control/registrar has released it, so that its
// address leaves every answer before SIGTERM.
func Next(t *task.Task, def *task.Definition, sandbox *Sandbox, now time.Time) Step {
	s := Step{Observed: observe(t, def, sandbox)}
	switch {
	case t.Observed.State == task.Stopped:
		if sandbox != nil {
			s.Action = Remove
		}
	case t.Desired == task.DesiredStopped:
		s.moveToStopped(t, def, sandbox, now)
	case sandbox == nil && t.Observed.State >= task.Activating:
		s.stopTask(task.EssentialContainerExited,
			"The task's containers are gone: something else removed them, or the host was restarted")
	case sandbox == nil && def.Unmet != "":
		s.stopTask(task.TaskFailedToStart, def.Unmet)
	case sandbox == nil:
		s.Observed.State = task.Pending
		s.Action = Create
	default:
		s.moveToRunning(t, def, sandbox, now)
	}
	return s
}

// moveToRunning moves a task with a sandbox toward RUNNING.
func (s *Step) moveToRunning(t *task.Task, def *task.Definition, sandbox *Sandbox, now time.Time) {
	for i, c := range sandbox.Containers {
		if c.Ended() && def.Containers[i].Essential {
			s.stopTask(essentialEnd(c))
			return
		}
	}
	blocked := s.startReady(def, sandbox, now)
	if s.StopCode != "" {
		return
	}
	switch {
	case s.Action == StartContainers || blocked:
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

// startReady starts the containers whose dependencies are met, and returns whether others are blocked. It stops the
// task if a container can never start.
func (s *Step) startReady(def *task.Definition, sandbox *Sandbox, now time.Time) (blocked bool) {
	for _, d := range def.Containers {
		c := container(sandbox, d.Name)
		if !c.StartedAt.IsZero() || c.Ended() {
			continue
		}
		switch w := dependencies(d, def, sandbox, now); {
		case w.never != "":
			s.stopTask(task.TaskFailedToStart, w.never)
			return false
		case w.met:
			s.Action = StartContainers
			s.Containers = append(s.Containers, d.Name)
		default:
			blocked = true
			if w.timeout > 0 && (s.RecheckAfter == 0 || w.timeout < s.RecheckAfter) {
				s.RecheckAfter = w.timeout
			}
		}
	}
	return blocked
}

// healthySince returns the time since which the task is healthy: by its health checks if it has any, otherwise by
// running.
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

// moveToStopped moves a task toward STOPPED.
func (s *Step) moveToStopped(t *task.Task, def *task.Definition, sandbox *Sandbox, now time.Time) {
	s.Observed.HealthySince = nil
	running := runningContainers(sandbox)
	if len(running) == 0 && s.Observed.EndedAt == nil && (sandbox != nil || t.Observed.State >= task.Activating) {
		s.Observed.EndedAt = &now
	}
	if len(t.Registries) > 0 && t.Registration != task.Released {
		s.Observed.State = max(s.Observed.State, task.Deactivating)
		return
	}
	switch {
	case len(running) > 0:
		s.Observed.State = max(s.Observed.State, task.Stopping)
		s.Action = StopContainers
		s.Containers = stoppable(def, running)
	case sandbox != nil:
		s.Observed.State = max(s.Observed.State, task.Deprovisioning)
		s.Action = Remove
	default:
		s.Observed.State = task.Stopped
		s.Observed.StoppedAt = &now
	}
}

// stopTask stops the task.
func (s *Step) stopTask(code task.StopCode, reason string) { s.StopCode, s.StopReason = code, reason }

// essentialEnd returns the stop code and reason for an essential container that has ended.
func essentialEnd(c ContainerStatus) (code task.StopCode, reason string) {
	if c.StartedAt.IsZero() || strings.HasPrefix(c.Reason, "Cannot") {
		return task.TaskFailedToStart, c.Reason
	}
	return task.EssentialContainerExited, "Essential container in task exited"
}

// dependencyState is the state of the containers that a container depends on.
type dependencyState struct {
	met     bool
	never   string        // why they can never be met
	timeout time.Duration // until one of them exceeds its startTimeout; 0 if none can
}

// dependencies returns the state of a container's dependencies (ECS Developer Guide, "Container dependency"). Only a
// startTimeout ends a wait ("ContainerDefinition": without one, ECS's agent waits as long as it takes). It counts from
// the start of the container that has it.
func dependencies(d task.ContainerDefinition, def *task.Definition, sandbox *Sandbox, now time.Time) dependencyState {
	state := dependencyState{met: true}
	for _, dep := range d.DependsOn {
		c := container(sandbox, dep.Container)
		never := func(problem string) dependencyState {
			return dependencyState{never: "TaskDependencyError: container " + d.Name + " depends on " + problem}
		}
		met, problem := conditionMet(dep, c)
		if problem != "" {
			return never(problem)
		}
		if met {
			continue
		}
		state.met = false
		on, known := def.Container(dep.Container)
		if !known || on.Options.StartTimeout == 0 || c.StartedAt.IsZero() {
			continue
		}
		left := c.StartedAt.Add(on.Options.StartTimeout).Sub(now)
		if left <= 0 {
			return never(fmt.Sprintf("%s, which was not %s within its startTimeout of %v", dep.Container, dep.Condition,
				on.Options.StartTimeout))
		}
		if state.timeout == 0 || left < state.timeout {
			state.timeout = left
		}
	}
	return state
}

// conditionMet reports whether a dependency is met by the status of its container, or returns why it can never be.
func conditionMet(dep task.Dependency, c ContainerStatus) (met bool, never string) {
	switch ended := c.Ended(); dep.Condition {
	case "COMPLETE":
		return ended, ""
	case "SUCCESS":
		if ended && (c.ExitCode == nil || *c.ExitCode != 0) {
			return false, "the success of " + dep.Container + ", which failed"
		}
		return ended, ""
	case "HEALTHY":
		if c.Health != HealthHealthy && ended {
			return false, "the health of " + dep.Container + ", which has ended"
		}
		return c.Health == HealthHealthy, ""
	default: // START
		if c.StartedAt.IsZero() && ended {
			return false, dep.Container + ", which could not be started"
		}
		return !c.StartedAt.IsZero(), ""
	}
}

// stoppable returns the running containers that no other running container depends on. They stop first.
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
		return running // a cycle, which the registration of a definition rejects
	}
	return first
}

func runningContainers(sandbox *Sandbox) []string {
	var names []string
	if sandbox != nil {
		for _, c := range sandbox.Containers {
			if c.Running() {
				names = append(names, c.Name)
			}
		}
	}
	return names
}

// container returns a container's status; only its name is set if the sandbox does not have it.
func container(sandbox *Sandbox, name string) ContainerStatus {
	if sandbox != nil {
		for _, c := range sandbox.Containers {
			if c.Name == name {
				return c
			}
		}
	}
	return ContainerStatus{Name: name}
}

// observe returns what the row must contain about the sandbox.
func observe(t *task.Task, def *task.Definition, sandbox *Sandbox) task.Observed {
	o := t.Observed
	o.Containers = nil
	if sandbox != nil {
		o.Address, o.Address6 = sandbox.Address, sandbox.Address6
	}
	for i, d := range def.Containers {
		seen := task.Container{ID: task.ContainerID(t.ID, d.Name), Name: d.Name, Status: "PENDING",
			Health: task.HealthUnknown}
		if sandbox == nil && i < len(t.Observed.Containers) {
			seen = t.Observed.Containers[i] // as it was last observed
			if t.Observed.State >= task.Activating {
				seen.Status = "STOPPED"
			}
		}
		if sandbox != nil {
			setStatus(&seen, container(sandbox, d.Name))
		}
		o.Containers = append(o.Containers, seen)
	}
	o.Health = taskHealth(def, o.Containers)
	return o
}

// setStatus sets what a container's status shows.
func setStatus(seen *task.Container, c ContainerStatus) {
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

// taskHealth returns the health of a task: that of the essential containers that have a health check.
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
