package supervisor

import (
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/process/launch"
	"github.com/bakingclouds/rollcall/internal/agent/process/procfs"
	"github.com/bakingclouds/rollcall/internal/atomicfile"
	"github.com/bakingclouds/rollcall/internal/containerlog"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// startFailure begins the reason of a container whose program could not be started or was killed for breaking a rule,
// as at ECS.
const startFailure = "CannotStartContainerError: "

// container is one container of a task. Its record is written to disk before clients get an update.
type container struct {
	spec      agent.ContainerSpec
	folder    string // status.json and work
	logFolder string // the output, which outlives the task
	tag       string // the value of procfs.TagVariable
	ended     chan struct{}

	startMu sync.Mutex // one start at a time; acquired before supervisor.mu

	// Guarded by supervisor.mu.
	record     record
	stopping   bool   // SIGTERM was sent
	killReason string // why the supervisor itself killed it; becomes the status's reason
}

// record is a container's status.json.
type record struct {
	Status  agent.ContainerStatus
	Process procfs.Identity // zero before the start
}

func (c *container) recordFile() string { return filepath.Join(c.folder, "status.json") }

// changeLocked changes the container's record, writes it, and sends the status to the clients. If the record cannot be
// written, the change is in effect all the same.
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
		code := launch.ExitCode(<-end)
		s.finish(t, c, func(st *agent.ContainerStatus) { st.ExitCode = &code })
	}()
	return nil
}

// run launches the container's program and records the start.
func (s *supervisor) run(t *task, c *container) (<-chan syscall.WaitStatus, error) {
	account, home, err := launch.FindAccount(c.spec.User)
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
	o := t.order(c, c.spec.Argv(), c.tag, account, home)
	if o.PrivateDir {
		if err := makeWorkFolder(o.Dir, account); err != nil {
			return nil, err
		}
	}
	end, err := launch.Start(s.reaper.start, o, output, output, func(pid int) error {
		id, err := procfs.Identify(pid, s.bootID)
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
		s.logRecordFailure(t, c, err)
	}
	s.wildcards.scanSoon()
	return end, nil
}

func (s *supervisor) logRecordFailure(t *task, c *container, err error) {
	s.log.Error("cannot write a container's record", "task", t.sandbox.Spec.ID, "container", c.spec.Name, "err", err)
}

// order returns the order for a program of this container whose processes have the tag. account and home are those of
// the container's user.
func (t *task) order(c *container, argv []string, tag string, account *launch.Account, home string) launch.Order {
	o := launch.Order{
		Mounts:  t.mounts(),
		Ulimits: launch.Ulimits(c.spec.Ulimits),
		User:    account,
		Dir:     c.spec.WorkingDirectory,
		Env: environment(map[string]string{"HOME": home}, t.sandbox.Base, t.sandbox.Spec.Env, c.spec.Env,
			runtimeEnv(&t.sandbox.Spec, t.sandbox.Address, t.sandbox.Ports[c.spec.Name]),
			map[string]string{procfs.TagVariable: tag}),
		Argv: argv,
	}
	if o.Dir == "" {
		o.Dir, o.PrivateDir = filepath.Join(c.folder, "work"), true
	}
	return o
}

func makeWorkFolder(dir string, owner *launch.Account) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if owner == nil {
		return nil
	}
	return os.Chown(dir, owner.UID, owner.GID)
}

// finish ends a container whose main process has ended: it kills the processes that it left, and then reports the end.
func (s *supervisor) finish(t *task, c *container, complete func(*agent.ContainerStatus)) {
	s.mu.Lock()
	id := c.record.Process
	s.mu.Unlock()
	if id.PID != 0 {
		s.killAll(c.tag, id)
	}
	if err := s.logs.close(c); err != nil {
		s.log.Error("cannot complete a log", "task", t.sandbox.Spec.ID, "container", c.spec.Name, "err", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.changeLocked(t, c, func(r *record) {
		complete(&r.Status)
		r.Status.FinishedAt = now()
		if c.killReason != "" {
			r.Status.Reason = c.killReason
		}
	})
	if err != nil {
		s.logRecordFailure(t, c, err)
	}
	close(c.ended)
}

// stop ends a container: it sends SIGTERM to the process group and, after the timeout, SIGKILL to all processes. A
// second call sends no second SIGTERM; its own timeout applies.
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
	if terminate && process.Alive(s.bootID) {
		// While the leader lives, the group's number cannot be reused.
		_ = syscall.Kill(-process.PID, syscall.SIGTERM)
	}
	kill := time.NewTimer(timeout)
	defer kill.Stop()
	select {
	case <-c.ended:
		return
	case <-kill.C:
	}
	if process.Alive(s.bootID) {
		_ = syscall.Kill(-process.PID, syscall.SIGKILL)
	}
	<-c.ended // finish kills the other processes
}

// stopUnstarted ends a container that has not begun to start. It stops one that starts meanwhile like any other.
func (s *supervisor) stopUnstarted(t *task, c *container, timeout time.Duration) {
	c.startMu.Lock()
	s.mu.Lock()
	unstarted := c.record.Process.PID == 0 && !c.record.Status.Ended()
	s.mu.Unlock()
	if unstarted {
		s.finish(t, c, func(*agent.ContainerStatus) {})
	}
	c.startMu.Unlock()
	if !unstarted {
		s.stop(t, c, timeout)
	}
}

// The waits of killAll.
const (
	killFirstWait = 2 * time.Millisecond
	killMaxWait   = 100 * time.Millisecond
	killTimeout   = 10 * time.Second
)

// killAll kills every process that has the tag or is in leader's session, and returns when they have ended. A process
// that forks meanwhile is killed with its child in the next round. killAll gives up after killTimeout if the kernel
// does not end a process, for example one that waits for a dead network file system.
func (s *supervisor) killAll(tag string, leader procfs.Identity) {
	deadline := time.Now().Add(killTimeout)
	for wait := killFirstWait; ; wait = min(2*wait, killMaxWait) {
		all, err := procfs.Processes()
		if err != nil {
			s.log.Error("cannot look for processes that a container left", "tag", tag, "err", err)
			return
		}
		session := leader.Session(s.bootID)
		left := 0
		for _, p := range all {
			if p.BelongsTo(tag, session) {
				left = p.PID
				_ = syscall.Kill(p.PID, syscall.SIGKILL)
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

func now() time.Time { return time.Now().UTC().Round(0) }
