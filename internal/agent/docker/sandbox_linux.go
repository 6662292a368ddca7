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
	record record
	status map[string]agent.ContainerStatus
	leases []addrlease.Lease
	// stopping are the containers that the agent stops, so that their end does not restart them.
	stopping map[string]bool
}

// newSandbox returns the sandbox of a record. Its containers have not started, as far as it knows.
func newSandbox(dir string, r record) *sandbox {
	sb := &sandbox{
		dir: dir, record: r, locks: map[string]*sync.Mutex{translate.PauseName: {}},
		status: map[string]agent.ContainerStatus{}, stopping: map[string]bool{},
	}
	for i, c := range r.Containers {
		name := r.Spec.Containers[i].Name
		sb.locks[name] = &sync.Mutex{}
		sb.status[name] = c.status(name, agent.ContainerStatus{Health: agent.HealthUnknown})
	}
	return sb
}

// containerLocked returns a container's record, or nil if the task has no such container.
func (sb *sandbox) containerLocked(name string) *containerRecord {
	if name == translate.PauseName {
		return sb.record.Pause
	}
	for i := range sb.record.Spec.Containers {
		if sb.record.Spec.Containers[i].Name == name {
			return sb.record.Containers[i]
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

// update changes a container's record and stores it.
func (sb *sandbox) update(name string, change func(*containerRecord)) error {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	change(sb.containerLocked(name))
	return sb.saveLocked()
}

// saveLocked stores the record. It does not wait for the disk: if the machine crashes before an engine id is stored, the
// container is found by its name.
func (sb *sandbox) saveLocked() error {
	if err := atomicfile.Write(recordFile(sb.dir, sb.record.Spec.ID), sb.record, false); err != nil {
		return fmt.Errorf("store the record of task %s: %w", sb.record.Spec.ID, err)
	}
	return nil
}

// setStatus records a container's status and reports whether it has changed. A container that has ended keeps its
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
	sb.containerLocked(name).End = &ending{at, reason}
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
		TaskID: sb.record.Spec.ID, Address: sb.record.Address, Address6: sb.record.Address6,
		Resolver: sb.record.Spec.Resolver != nil,
	}
	for _, c := range sb.record.Spec.Containers {
		v.Containers = append(v.Containers, sb.status[c.Name])
	}
	return v
}

// createFiles writes the files of a new task: last the record, from which the task exists.
func (sb *sandbox) createFiles() error {
	spec := &sb.record.Spec
	if err := os.MkdirAll(taskFolder(sb.dir, spec.ID), 0o700); err != nil {
		return fmt.Errorf("create the folder of task %s: %w", spec.ID, err)
	}
	if spec.Resolver != nil {
		if err := os.WriteFile(resolvConfFile(sb.dir, spec.ID), []byte(spec.Resolver.Conf()), 0o644); err != nil {
			return fmt.Errorf("write the resolv.conf of task %s: %w", spec.ID, err)
		}
	}
	if err := atomicfile.Write(recordFile(sb.dir, spec.ID), sb.record, true); err != nil {
		return fmt.Errorf("store the record of task %s: %w", spec.ID, err)
	}
	return nil
}

// removeFiles removes the files of a task, the record first.
func (sb *sandbox) removeFiles() error {
	id := sb.record.Spec.ID
	if err := os.Remove(recordFile(sb.dir, id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the record of task %s: %w", id, err)
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
		var rec record
		err := atomicfile.Read(recordFile(r.config.Dir, id), &rec)
		if errors.Is(err, os.ErrNotExist) {
			// The server died in Create or Remove. The agent removes what the engine still has of the task.
			if err := os.RemoveAll(taskFolder(r.config.Dir, id)); err != nil {
				r.log.Error("cannot remove the folder of a removed task", "task", id, "err", err)
			}
			continue
		}
		if err != nil {
			r.log.Error("cannot read the record of a task; leaving the task alone", "task", id, "err", err)
			continue
		}
		sb := newSandbox(r.config.Dir, rec)
		for _, name := range rec.leaseNames() {
			lease, err := addrlease.Take(name)
			if err != nil {
				r.log.Error("an address or port of a task is used by another task; stop one of the two", "task", id, "err", err)
				continue
			}
			sb.leases = append(sb.leases, lease)
		}
		r.tasks[rec.Spec.ID] = sb
	}
	return nil
}
