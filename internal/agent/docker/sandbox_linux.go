package docker

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/addrlease"
	"github.com/bakingclouds/rollcall/internal/agent/docker/translate"
	"github.com/bakingclouds/rollcall/internal/atomicfile"
)

// sandbox is a task of this data folder. Its maps and locks are by the container's name; [translate.PauseName] is the
// pause container.
type sandbox struct {
	dir   string                 // the data folder
	locks map[string]*sync.Mutex // held while the engine is asked to create or start a container

	// created reports that the volumes and the pause container exist. The pause container's lock guards it.
	created bool

	mu     sync.Mutex // guards all fields below
	stored storedTask
	status map[string]agent.ContainerStatus
	leases []addrlease.Lease
	// stopping are the containers that the agent stops, so that their end does not restart them.
	stopping map[string]bool
}

// newSandbox returns the sandbox of a stored task. Its containers have not started, as far as it knows.
func newSandbox(dir string, stored storedTask) *sandbox {
	sb := &sandbox{
		dir: dir, stored: stored, locks: map[string]*sync.Mutex{translate.PauseName: {}},
		status: map[string]agent.ContainerStatus{}, stopping: map[string]bool{},
	}
	for i, c := range stored.Containers {
		name := stored.Spec.Containers[i].Name
		sb.locks[name] = &sync.Mutex{}
		sb.status[name] = c.status(name, agent.ContainerStatus{Health: agent.HealthUnknown})
	}
	return sb
}

// containerLocked returns what is stored of a container, or nil if the task has no such container.
func (sb *sandbox) containerLocked(name string) *storedContainer {
	if name == translate.PauseName {
		return sb.stored.Pause
	}
	for i := range sb.stored.Spec.Containers {
		if sb.stored.Spec.Containers[i].Name == name {
			return sb.stored.Containers[i]
		}
	}
	return nil
}

// has reports whether the task has a container of the name. Not every task has a pause container.
func (sb *sandbox) has(name string) bool {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return sb.containerLocked(name) != nil
}

// engineID returns the engine's id of a container. It is empty until the container is created.
func (sb *sandbox) engineID(name string) string {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return sb.containerLocked(name).Engine
}

// update changes what is stored of a container.
func (sb *sandbox) update(name string, change func(*storedContainer)) error {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	change(sb.containerLocked(name))
	return sb.saveLocked()
}

// saveLocked stores the task file. It does not wait for the disk: if the machine crashes before an engine id is stored,
// the container is found by its name.
func (sb *sandbox) saveLocked() error {
	if err := atomicfile.Write(taskFile(sb.dir, sb.stored.Spec.ID), sb.stored, false); err != nil {
		return fmt.Errorf("store the file of task %s: %w", sb.stored.Spec.ID, err)
	}
	return nil
}

// setStatus sets a container's status and reports whether it has changed. A container that has ended keeps its
// status.
func (sb *sandbox) setStatus(s agent.ContainerStatus) (changed bool) {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	old := sb.status[s.Name]
	if old.Ended() || sameStatus(old, s) {
		return false
	}
	sb.status[s.Name] = s
	return true
}

func sameStatus(a, b agent.ContainerStatus) bool {
	return a.RuntimeID == b.RuntimeID && a.Image == b.Image &&
		a.StartedAt.Equal(b.StartedAt) && a.FinishedAt.Equal(b.FinishedAt) &&
		a.Reason == b.Reason && (a.ExitCode == nil) == (b.ExitCode == nil) &&
		a.Health == b.Health && a.HealthOutput == b.HealthOutput
}

func (sb *sandbox) statusOf(name string) agent.ContainerStatus {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return sb.status[name]
}

// end decides that a container has ended, whatever the engine reports, and must not run again.
func (sb *sandbox) end(name, reason string) (changed bool, err error) {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	s := sb.status[name]
	if s.Ended() {
		return false, nil
	}
	at := time.Now()
	sb.containerLocked(name).End = &decidedEnd{at, reason}
	s.FinishedAt, s.Reason = at, reason
	sb.status[name] = s
	return true, sb.saveLocked()
}

// setStopping marks a container that the agent stops.
func (sb *sandbox) setStopping(name string) {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	sb.stopping[name] = true
}

func (sb *sandbox) isStopping(name string) bool {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return sb.stopping[name]
}

// view returns the task as the agent sees it.
func (sb *sandbox) view() agent.Sandbox {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	v := agent.Sandbox{
		TaskID: sb.stored.Spec.ID, Address: sb.stored.Address, Address6: sb.stored.Address6,
		Resolver: sb.stored.Spec.Resolver != nil,
	}
	for _, c := range sb.stored.Spec.Containers {
		v.Containers = append(v.Containers, sb.status[c.Name])
	}
	return v
}

// createFiles writes the files of a new task: last the task file, from which the task exists.
func (sb *sandbox) createFiles() error {
	spec := &sb.stored.Spec
	if err := os.MkdirAll(taskFolder(sb.dir, spec.ID), 0o700); err != nil {
		return fmt.Errorf("create the folder of task %s: %w", spec.ID, err)
	}
	if spec.Resolver != nil {
		if err := os.WriteFile(resolvConfFile(sb.dir, spec.ID), []byte(spec.Resolver.Conf()), 0o644); err != nil {
			return fmt.Errorf("write the resolv.conf of task %s: %w", spec.ID, err)
		}
	}
	if err := atomicfile.Write(taskFile(sb.dir, spec.ID), sb.stored, true); err != nil {
		return fmt.Errorf("store the file of task %s: %w", spec.ID, err)
	}
	return nil
}

// removeFiles removes the files of a task, the task file first.
func (sb *sandbox) removeFiles() error {
	id := sb.stored.Spec.ID
	if err := os.Remove(taskFile(sb.dir, id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the file of task %s: %w", id, err)
	}
	if err := os.RemoveAll(taskFolder(sb.dir, id)); err != nil {
		return fmt.Errorf("remove the folder of task %s: %w", id, err)
	}
	return nil
}

// loadSandboxes loads the tasks that an earlier server has left.
func (r *Runtime) loadSandboxes() error {
	entries, err := os.ReadDir(tasksFolder(r.config.Dir))
	if err != nil {
		return fmt.Errorf("list the tasks of an earlier server: %w", err)
	}
	for _, entry := range entries {
		id := entry.Name()
		var stored storedTask
		err := atomicfile.Read(taskFile(r.config.Dir, id), &stored)
		if errors.Is(err, os.ErrNotExist) {
			// The server died in Create or Remove. The agent removes what the engine still has of the task.
			if err := os.RemoveAll(taskFolder(r.config.Dir, id)); err != nil {
				r.log.Error("cannot remove the folder of a removed task", "task", id, "err", err)
			}
			continue
		}
		if err != nil {
			r.log.Error("cannot read the file of a task; leaving the task alone", "task", id, "err", err)
			continue
		}
		sb := newSandbox(r.config.Dir, stored)
		for _, name := range stored.leaseNames() {
			lease, err := addrlease.Acquire(name)
			if err != nil {
				r.log.Error("an address or port of a task is used by another task; stop one of the two",
					"task", id, "err", err)
				continue
			}
			sb.leases = append(sb.leases, lease)
		}
		r.tasks[stored.Spec.ID] = sb
	}
	return nil
}
