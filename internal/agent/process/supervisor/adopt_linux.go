package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/addrlease"
	"github.com/bakingclouds/rollcall/internal/agent/process/procfs"
	"github.com/bakingclouds/rollcall/internal/agent/process/protocol"
	"github.com/bakingclouds/rollcall/internal/atomicfile"
	"github.com/bakingclouds/rollcall/internal/containerlog"
)

// The reasons of containers whose end no supervisor observed. Their exit code is unknown.
const (
	reasonAdopted     = "Exit code unknown: the supervisor was restarted while the container ran."
	reasonUnseen      = "Exit code unknown: the container ended while no supervisor ran."
	reasonStartUnseen = startFailure + "the supervisor ended while it started the container, whose program may have run."
	reasonRebooted    = "Exit code unknown: the machine was restarted while the container ran."
)

// load reads the tasks that an earlier supervisor left, and adopts their containers.
func (s *supervisor) load() error {
	entries, err := os.ReadDir(protocol.TasksFolder(s.dir))
	if err != nil {
		return fmt.Errorf("read the folder of tasks: %w", err)
	}
	for _, entry := range entries {
		t := &task{
			folder: filepath.Join(protocol.TasksFolder(s.dir), entry.Name()),
			logs:   filepath.Join(containerlog.Root(s.dir), entry.Name()),
		}
		err := atomicfile.Read(t.sandboxFile(), &t.sandbox)
		if errors.Is(err, os.ErrNotExist) {
			if err := os.RemoveAll(t.folder); err != nil {
				s.log.Error("cannot remove the folder of a removed task", "task", entry.Name(), "err", err)
			}
			continue
		}
		if err == nil {
			err = t.makeContainers()
		}
		if err != nil {
			s.log.Error("cannot read an earlier task; leaving it alone", "task", entry.Name(), "err", err)
			continue
		}
		s.tasks[t.sandbox.Spec.ID] = t
	}
	s.killUnrecorded()
	for _, t := range s.tasks {
		s.acquireLeases(t)
		for _, c := range t.containers {
			switch {
			case c.record.Status.Ended():
				close(c.ended)
			case c.record.Process.PID != 0:
				s.adopt(t, c)
			}
		}
	}
	return nil
}

// killUnrecorded kills processes of containers that do not run according to their records: the earlier supervisor died
// while it started or ended them.
func (s *supervisor) killUnrecorded() {
	all, err := procfs.Processes()
	if err != nil {
		s.log.Error("cannot look for processes that containers left", "err", err)
		return
	}
	for _, t := range s.tasks {
		for _, c := range t.containers {
			left := func(p procfs.Process) bool { return p.BelongsTo(c.tag, 0) }
			if !c.record.Process.Alive(s.bootID) && slices.ContainsFunc(all, left) {
				s.killAll(c.tag, procfs.Identity{})
			}
		}
	}
}

// acquireLeases acquires the leases of an earlier supervisor's task. They were free since that one died, so another
// Rollcall may have acquired one. The task cannot move, so a conflict is only logged.
func (s *supervisor) acquireLeases(t *task) {
	var names []string
	if t.sandbox.Spec.NetworkMode == agent.NetworkAWSVPC {
		names = append(names, "address/"+t.sandbox.Address.String())
	} else {
		for _, bindings := range t.sandbox.Ports {
			for _, b := range bindings {
				names = append(names, fmt.Sprintf("port/%s/%d", b.Protocol, b.Host))
			}
		}
	}
	for _, name := range names {
		lease, err := addrlease.Acquire(name)
		if err != nil {
			s.log.Error("another task uses the address or port of an adopted task; stop one of the two",
				"task", t.sandbox.Spec.ID, "err", err)
			continue
		}
		t.leases = append(t.leases, lease)
	}
}

// adopt continues to manage a container that, by its record, has not ended.
func (s *supervisor) adopt(t *task, c *container) {
	id := c.record.Process
	if !id.Alive(s.bootID) {
		reason := reasonUnseen
		switch {
		case id.Boot != s.bootID:
			reason = reasonRebooted
			c.record.Process = procfs.Identity{} // since the reboot, other processes have its numbers
		case c.record.Status.StartedAt.IsZero():
			reason = reasonStartUnseen
		}
		s.finish(t, c, func(st *agent.ContainerStatus) { st.Reason = reason })
		return
	}
	if c.record.Status.StartedAt.IsZero() {
		// The supervisor died between sending the order to container-init and reading the result. If container-init got no
		// order, it is about to exit.
		c.record.Status.StartedAt = now()
	}
	log := s.log.With("task", t.sandbox.Spec.ID, "container", c.spec.Name)
	log.Info("adopted a running container", "pid", id.PID)
	if err := s.logs.open(c); err != nil {
		log.Error("cannot keep the log of an adopted container", "err", err)
	}
	go func() {
		if err := awaitAdopted(id); err != nil {
			log.Error("cannot wait for an adopted container; it counts as ended", "err", err)
		}
		s.finish(t, c, func(st *agent.ContainerStatus) { st.Reason = reasonAdopted })
	}()
}
