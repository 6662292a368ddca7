// Package agenttest has a Runtime in memory, for tests and benchmarks of code that uses runtimes. Its containers start
// immediately, are healthy immediately if they have a health check, and run until they are stopped or a test ends them.
//
// Each task gets its own address out of 10.0.0.0/8, at which nothing can be reached. Start reading at [New]. The
// package does not imitate failures of a runtime.
package agenttest

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// Runtime is an [agent.Runtime] without processes.
type Runtime struct {
	mu      sync.Mutex
	tasks   map[string]*fakeTask
	last    uint32 // the last address, as an offset
	pending []agent.Event
	wake    chan struct{}
	events  chan agent.Event
	closed  chan struct{}
}

type fakeTask struct {
	agent.Sandbox
	spec agent.TaskSpec
}

// New returns a runtime without tasks.
func New() *Runtime {
	r := &Runtime{
		tasks: map[string]*fakeTask{}, wake: make(chan struct{}, 1), events: make(chan agent.Event),
		closed: make(chan struct{}),
	}
	go r.deliver()
	return r
}

// deliver sends events at the speed of their reader.
func (r *Runtime) deliver() {
	defer close(r.events)
	for {
		select {
		case <-r.wake:
		case <-r.closed:
			return
		}
		r.mu.Lock()
		pending := r.pending
		r.pending = nil
		r.mu.Unlock()
		for _, e := range pending {
			select {
			case r.events <- e:
			case <-r.closed:
				return
			}
		}
	}
}

// Name returns "fake".
func (r *Runtime) Name() string { return "fake" }

// Capabilities returns none.
func (r *Runtime) Capabilities() agent.Capabilities { return agent.Capabilities{} }

// Prepare has nothing to fetch.
func (r *Runtime) Prepare(context.Context, agent.TaskSpec, func()) error { return nil }

// Create creates a task with its own address.
func (r *Runtime) Create(_ context.Context, spec agent.TaskSpec) (agent.Sandbox, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t, ok := r.tasks[spec.ID]; ok {
		return t.copy(), nil
	}
	r.last++
	t := &fakeTask{spec: spec, Sandbox: agent.Sandbox{
		TaskID: spec.ID, Address: netip.AddrFrom4([4]byte{10, byte(r.last >> 16), byte(r.last >> 8), byte(r.last)}),
	}}
	for _, c := range spec.Containers {
		status := agent.ContainerStatus{Name: c.Name, Health: agent.HealthUnknown}
		for _, p := range c.Ports {
			status.Ports = append(status.Ports, agent.PortBinding{
				Container: p.Container, Host: p.Container, HostIP: t.Address, Protocol: "tcp",
			})
		}
		t.Containers = append(t.Containers, status)
	}
	r.tasks[spec.ID] = t
	return t.copy(), nil
}

func (t *fakeTask) copy() agent.Sandbox {
	s := t.Sandbox
	s.Containers = slices.Clone(s.Containers)
	return s
}

// change changes a container's status and sends it as an event; it returns false if the container does not exist.
func (r *Runtime) change(
	taskID, container string, change func(c *agent.ContainerStatus, spec agent.ContainerSpec),
) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.tasks[taskID]
	if !ok {
		return false
	}
	for k := range t.Containers {
		if t.Containers[k].Name == container {
			change(&t.Containers[k], t.spec.Containers[k])
			r.pending = append(r.pending, agent.Event{TaskID: taskID, Status: t.Containers[k]})
			select {
			case r.wake <- struct{}{}:
			default:
			}
			return true
		}
	}
	return false
}

// StartContainer starts a container, which is healthy if it has a health check.
func (r *Runtime) StartContainer(_ context.Context, taskID, container string) error {
	known := r.change(taskID, container, func(c *agent.ContainerStatus, spec agent.ContainerSpec) {
		if c.StartedAt.IsZero() && !c.Ended() {
			c.StartedAt, c.RuntimeID = time.Now(), taskID+"/"+container
			if spec.HealthCheck != nil {
				c.Health = agent.HealthHealthy
			}
		}
	})
	if !known {
		return fault.New(fault.NotFound, "container", "CannotStartContainerError: task %s has no container %s", taskID,
			container)
	}
	return nil
}

// StopContainer ends a container as SIGTERM does.
func (r *Runtime) StopContainer(_ context.Context, taskID, container string, _ time.Duration) error {
	r.End(taskID, container, 143)
	return nil
}

// End ends a container with an exit code. It does nothing if the container has ended or does not exist.
func (r *Runtime) End(taskID, container string, code int) {
	r.change(taskID, container, func(c *agent.ContainerStatus, _ agent.ContainerSpec) {
		if !c.Ended() {
			c.FinishedAt, c.ExitCode = time.Now(), &code
		}
	})
}

// SetHealth sets the result of a container's health check.
func (r *Runtime) SetHealth(taskID, container string, h agent.Health) {
	r.change(taskID, container, func(c *agent.ContainerStatus, _ agent.ContainerSpec) { c.Health = h })
}

// Remove removes a task.
func (r *Runtime) Remove(_ context.Context, taskID string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.tasks, taskID)
	return nil
}

// Sandboxes returns the tasks.
func (r *Runtime) Sandboxes(context.Context) ([]agent.Sandbox, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []agent.Sandbox
	for _, t := range r.tasks {
		all = append(all, t.copy())
	}
	slices.SortFunc(all, func(a, b agent.Sandbox) int { return strings.Compare(a.TaskID, b.TaskID) })
	return all, nil
}

// Events returns the channel of status changes.
func (r *Runtime) Events() <-chan agent.Event { return r.events }

// Close closes the channel of events.
func (r *Runtime) Close() error {
	close(r.closed)
	return nil
}
