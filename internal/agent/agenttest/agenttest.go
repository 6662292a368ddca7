// Package agenttest is a Runtime in memory, for tests and benchmarks of what stands above runtimes: its containers
// start at once, are healthy at once where they have a health check, run until they are told to stop or a test
// ends them, and cost next to nothing.
//
// Addresses come out of 10.0.0.0/8, each once, so nothing can be reached at them.
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

// Runtime is a runtime without containers.
type Runtime struct {
	mu      sync.Mutex
	boxes   map[string]*box
	last    uint32 // address given out
	pending []agent.Event
	wake    chan struct{}
	events  chan agent.Event
	closed  chan struct{}
}

type box struct {
	agent.Sandbox
	spec agent.TaskSpec
}

// New makes a runtime.
func New() *Runtime {
	r := &Runtime{boxes: map[string]*box{}, wake: make(chan struct{}, 1), events: make(chan agent.Event), closed: make(chan struct{})}
	go r.deliver()
	return r
}

// deliver passes events on, as many as come and as slowly as they are taken.
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

// Name is "fake".
func (r *Runtime) Name() string { return "fake" }

// Capabilities is empty.
func (r *Runtime) Capabilities() agent.Capabilities { return agent.Capabilities{} }

// Prepare has nothing to fetch.
func (r *Runtime) Prepare(context.Context, agent.TaskSpec, func()) error { return nil }

// Create gives a task an address of its own.
func (r *Runtime) Create(_ context.Context, spec agent.TaskSpec) (agent.Sandbox, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b, ok := r.boxes[spec.ID]; ok {
		return b.copy(), nil
	}
	r.last++
	b := &box{spec: spec, Sandbox: agent.Sandbox{
		TaskID: spec.ID, Address: netip.AddrFrom4([4]byte{10, byte(r.last >> 16), byte(r.last >> 8), byte(r.last)}),
	}}
	for _, c := range spec.Containers {
		status := agent.ContainerStatus{Name: c.Name, Health: agent.HealthUnknown}
		for _, p := range c.Ports {
			status.Ports = append(status.Ports, agent.PortBinding{Container: p.Container, Host: p.Container, HostIP: b.Address, Protocol: "tcp"})
		}
		b.Containers = append(b.Containers, status)
	}
	r.boxes[spec.ID] = b
	return b.copy(), nil
}

func (b *box) copy() agent.Sandbox {
	s := b.Sandbox
	s.Containers = slices.Clone(s.Containers)
	return s
}

// change changes a container that is there, and tells of it.
func (r *Runtime) change(taskID, container string, do func(c *agent.ContainerStatus, spec agent.ContainerSpec)) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	b, ok := r.boxes[taskID]
	if !ok {
		return false
	}
	for k := range b.Containers {
		if b.Containers[k].Name == container {
			do(&b.Containers[k], b.spec.Containers[k])
			r.pending = append(r.pending, agent.Event{TaskID: taskID, Status: b.Containers[k]})
			select {
			case r.wake <- struct{}{}:
			default:
			}
			return true
		}
	}
	return false
}

// StartContainer has a container run, healthy where it has a health check.
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
		return fault.New(fault.NotFound, "container", "CannotStartContainerError: there is no container %s of task %s", container, taskID)
	}
	return nil
}

// StopContainer ends a container as SIGTERM does.
func (r *Runtime) StopContainer(_ context.Context, taskID, container string, _ time.Duration) error {
	r.End(taskID, container, 143)
	return nil
}

// End ends a container with an exit code; one that has ended, or is not known, is left alone.
func (r *Runtime) End(taskID, container string, code int) {
	r.change(taskID, container, func(c *agent.ContainerStatus, _ agent.ContainerSpec) {
		if !c.Ended() {
			c.FinishedAt, c.ExitCode = time.Now(), &code
		}
	})
}

// SetHealth has a container's health check say something.
func (r *Runtime) SetHealth(taskID, container string, h agent.Health) {
	r.change(taskID, container, func(c *agent.ContainerStatus, _ agent.ContainerSpec) { c.Health = h })
}

// Remove forgets a task.
func (r *Runtime) Remove(_ context.Context, taskID string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.boxes, taskID)
	return nil
}

// Sandboxes lists the tasks.
func (r *Runtime) Sandboxes(context.Context) ([]agent.Sandbox, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []agent.Sandbox
	for _, b := range r.boxes {
		all = append(all, b.copy())
	}
	slices.SortFunc(all, func(a, b agent.Sandbox) int { return strings.Compare(a.TaskID, b.TaskID) })
	return all, nil
}

// Events tells what happens to containers.
func (r *Runtime) Events() <-chan agent.Event { return r.events }

// Close ends the events.
func (r *Runtime) Close() error {
	close(r.closed)
	return nil
}
