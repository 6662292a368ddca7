package process

import (
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/atomicfile"
	"github.com/bakingclouds/rollcall/internal/containerlog"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// Reasons of ends that nobody saw. The exit code is then unknown.
const (
	reasonAdopted     = "Exit code unknown: the supervisor was started again while the container ran."
	reasonUnseen      = "Exit code unknown: the container ended while no supervisor ran."
	reasonStartUnseen = startFailure + "the supervisor ended while it started the container, whose program may have run."
	reasonRebooted    = "Exit code unknown: the machine was restarted while the container ran."
)

// startFailure begins the reason of a container whose program could not be started or had to be ended at once, in
// the words of ECS.
const startFailure = "CannotStartContainerError: "

// container is one container of a task in the supervisor. Its record is on disk before anybody is told.
type container struct {
	spec   agent.ContainerSpec
	folder string // holds status.json and work
	// logFolder holds what it prints, and outlives the task.
	logFolder string
	tag       string // see tagVariable
	ended     chan struct{}

	startMu sync.Mutex // one start at a time; never held together with supervisor.mu by a waiter

	// Guarded by supervisor.mu.
	record   record
	stopping bool   // SIGTERM was sent
	verdict  string // why the supervisor itself ended it; becomes the reason
}

// record is a container's status.json.
type record struct {
	Status  agent.ContainerStatus
	Process identity // zero before the start
}

func (c *container) recordFile() string { return filepath.Join(c.folder, "status.json") }

// changeLocked applies a change to the container's record, writes it down and tells the clients. A record that cannot be
// written is an error for the caller, but true all the same.
func (s *supervisor) changeLocked(t *task, c *container, change func(*record)) error {
	change(&c.record)
	err := atomicfile.Write(c.recordFile(), c.record, false)
	s.publishLocked(t, c)
	return err
}

// start starts a container, once.
func (s *supervisor) start(t *task, c *container) error {
	c.startMu.Lock()
	defer c.startMu.Unlock()
	s.mu.Lock()
	status := c.record.Status
	s.mu.Unlock()
	switch {
	case status.Running(), !status.StartedAt.IsZero():
		return nil
	case status.Ended() && status.Reason == "":
		return nil // stopped before it started
	case status.Ended():
		return &fault.Error{Kind: fault.Invalid, Msg: status.Reason}
	}
	end, err := s.run(t, c)
	if err != nil {
		if end != nil {
			<-end
		}
		reason := startFailure + err.Error()
		s.finish(t, c, func(st *agent.ContainerStatus) { st.Reason = reason })
		return &fault.Error{Kind: fault.Invalid, Msg: reason}
	}
	go func() {
		code := exitCode(<-end)
		s.finish(t, c, func(st *agent.ContainerStatus) { st.ExitCode = &code })
	}()
	return nil
}

// run launches the container's program and marks it as started.
func (s *supervisor) run(t *task, c *container) (<-chan syscall.WaitStatus, error) {
	user, home, err := runAs(c.spec.User)
	if err != nil {
		return nil, err
	}
	if err := s.logs.open(c); err != nil {
		return nil, err
	}
	output, err := os.OpenFile(containerlog.File(c.logFolder), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	defer output.Close()
	o := t.order(c, c.spec.Argv(), c.tag, home)
	o.User = user
	o.Ulimits = ulimits(c.spec.Ulimits)
	if o.PrivateDir {
		if err := makeWorkFolder(o.Dir, user); err != nil {
			return nil, err
		}
	}
	end, err := launch(s.reaper.start, o, output, output, func(pid int) error {
		id, err := identify(pid, s.bootID)
		if err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		c.record.Process = id
		c.record.Status.RuntimeID = strconv.Itoa(pid)
		return atomicfile.Write(c.recordFile(), c.record, false)
	})
	if err != nil {
		return end, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.changeLocked(t, c, func(r *record) { r.Status.StartedAt = now() }); err != nil {
		s.log.Error("a container's record cannot be written", "task", t.sandbox.Spec.ID, "container", c.spec.Name, "err", err)
	}
	s.listeners.look()
	return end, nil
}

// order is what container-init is to do for a program of this container, marked with tag.
func (t *task) order(c *container, argv []string, tag, home string) order {
	o := order{
		Argv: argv,
		Dir:  c.spec.WorkingDirectory,
		Env: environment(map[string]string{"HOME": home}, t.sandbox.Base, t.sandbox.Spec.Env, c.spec.Env,
			told(t.sandbox.Spec, t.sandbox.Address, t.sandbox.Ports[c.spec.Name]), map[string]string{tagVariable: tag}),
	}
	if o.Dir == "" {
		o.Dir, o.PrivateDir = filepath.Join(c.folder, "work"), true
	}
	o.Mounts = t.mounts()
	return o
}

func makeWorkFolder(dir string, owner *account) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if owner == nil {
		return nil
	}
	return os.Chown(dir, owner.UID, owner.GID)
}

// finish ends a container whose main process is gone: what it left behind is killed, then the end is told.
func (s *supervisor) finish(t *task, c *container, fill func(*agent.ContainerStatus)) {
	s.mu.Lock()
	id := c.record.Process
	s.mu.Unlock()
	if id.PID != 0 {
		s.killAll(c.tag, id)
	}
	if err := s.logs.close(c); err != nil {
		s.log.Error("the end of a log cannot be kept", "task", t.sandbox.Spec.ID, "container", c.spec.Name, "err", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.changeLocked(t, c, func(r *record) {
		fill(&r.Status)
		r.Status.FinishedAt = now()
		if c.verdict != "" {
			r.Status.Reason = c.verdict
		}
	})
	if err != nil {
		s.log.Error("a container's record cannot be written", "task", t.sandbox.Spec.ID, "container", c.spec.Name, "err", err)
	}
	close(c.ended)
}

// stop ends a container: SIGTERM to its process group, after the timeout SIGKILL to all that belongs to it. A second
// call sends no second SIGTERM but brings its own timeout.
func (s *supervisor) stop(t *task, c *container, timeout time.Duration) {
	s.mu.Lock()
	process, status := c.record.Process, c.record.Status
	if process.PID == 0 && !status.Ended() {
		s.mu.Unlock()
		s.stopUnstarted(t, c, timeout)
		return
	}
	terminate := !c.stopping && timeout > 0
	c.stopping = c.stopping || terminate
	s.mu.Unlock()
	if terminate && process.alive(s.bootID) {
		// The group's number cannot be another's while its leader lives.
		syscall.Kill(-process.PID, syscall.SIGTERM)
	}
	kill := time.NewTimer(timeout)
	defer kill.Stop()
	select {
	case <-c.ended:
		return
	case <-kill.C:
	}
	if process.alive(s.bootID) {
		syscall.Kill(-process.PID, syscall.SIGKILL)
	}
	<-c.ended // its finish kills the rest
}

// stopUnstarted ends a container that has not begun to start; one that starts meanwhile is stopped like any other.
func (s *supervisor) stopUnstarted(t *task, c *container, timeout time.Duration) {
	c.startMu.Lock()
	s.mu.Lock()
	fresh := c.record.Process.PID == 0 && !c.record.Status.Ended()
	s.mu.Unlock()
	if fresh {
		s.finish(t, c, func(*agent.ContainerStatus) {})
	}
	c.startMu.Unlock()
	if !fresh {
		s.stop(t, c, timeout)
	}
}

// The patience of killAll.
const (
	killFirstWait = 2 * time.Millisecond
	killMaxWait   = 100 * time.Millisecond
	killGiveUp    = 10 * time.Second
)

// killAll kills every process with this tag or in the session of leader, and returns when they are gone. Processes that
// fork while they are being killed are found in the next round. One that the kernel does not let go of (a dead network
// file system) is given up on after a while, and logged.
func (s *supervisor) killAll(tag string, leader identity) {
	deadline := time.Now().Add(killGiveUp)
	for wait := killFirstWait; ; wait = min(2*wait, killMaxWait) {
		all, err := processes()
		if err != nil {
			s.log.Error("processes left by a container cannot be looked for", "tag", tag, "err", err)
			return
		}
		session := leader.session(s.bootID)
		left := 0
		for _, p := range all {
			if p.belongsTo(tag, session) {
				left = p.pid
				syscall.Kill(p.pid, syscall.SIGKILL)
			}
		}
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			s.log.Error("a process of an ended container does not end by SIGKILL", "tag", tag, "pid", left)
			return
		}
		time.Sleep(wait)
	}
}

// adopt takes over a container that an earlier supervisor recorded as not ended.
func (s *supervisor) adopt(t *task, c *container) {
	id := c.record.Process
	if !id.alive(s.bootID) {
		reason := reasonUnseen
		switch {
		case id.Boot != s.bootID:
			reason = reasonRebooted
			c.record.Process = identity{} // its numbers are other processes' now
		case c.record.Status.StartedAt.IsZero():
			reason = reasonStartUnseen
		}
		s.finish(t, c, func(st *agent.ContainerStatus) { st.Reason = reason })
		return
	}
	if c.record.Status.StartedAt.IsZero() {
		// The supervisor died between telling container-init what to run and hearing that it runs. A container-init that
		// was told nothing is about to end.
		c.record.Status.StartedAt = now()
	}
	s.log.Info("a running container was adopted", "task", t.sandbox.Spec.ID, "container", c.spec.Name, "pid", id.PID)
	if err := s.logs.open(c); err != nil {
		s.log.Error("the log of an adopted container cannot be kept", "task", t.sandbox.Spec.ID, "container", c.spec.Name, "err", err)
	}
	go func() {
		if err := awaitStranger(id); err != nil {
			s.log.Error("an adopted container cannot be followed; it counts as ended", "task", t.sandbox.Spec.ID, "container", c.spec.Name, "err", err)
		}
		s.finish(t, c, func(st *agent.ContainerStatus) { st.Reason = reasonAdopted })
	}()
}

func now() time.Time { return time.Now().UTC().Round(0) }
