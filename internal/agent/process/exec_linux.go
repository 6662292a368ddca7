package process

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bakingclouds/rollcall/internal/fault"
)

// exec runs a command in a container, with its environment, user, folder and resolver, and kills it with all it
// started at the timeout or when ctx ends.
func (s *supervisor) exec(ctx context.Context, t *task, c *container, argv []string, timeout time.Duration) (execResult, error) {
	s.mu.Lock()
	process, running := c.record.Process, c.record.Status.Running()
	s.execs++
	tag := fmt.Sprintf("%s.exec%d", c.tag, s.execs)
	s.mu.Unlock()
	if !running {
		return execResult{}, fault.New(fault.NotFound, "container", "%s of task %s is not running", c.spec.Name, t.sandbox.Spec.ID)
	}
	user, home, err := runAs(c.spec.User)
	if err != nil {
		return execResult{}, err
	}
	outputIn, outputOut, err := os.Pipe()
	if err != nil {
		return execResult{}, err
	}
	defer outputIn.Close()
	o := t.order(c, argv, tag, home)
	o.User = user
	o.Ulimits = ulimits(c.spec.Ulimits)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	leader, end, err := s.launchInside(process, o, outputOut)
	outputOut.Close()
	if err != nil {
		if end != nil {
			<-end
		}
		return execResult{Code: 127, Output: err.Error()}, nil // as a shell says that it found no such program
	}
	output := collect(outputIn)
	res := execResult{}
	select {
	case status := <-end:
		res.Code = exitCode(status)
		syscall.Kill(-leader.PID, syscall.SIGKILL) // what it left in the background
	case <-ctx.Done():
		syscall.Kill(-leader.PID, syscall.SIGKILL)
		s.killAll(tag, leader)
		res.Code, res.TimedOut = exitCode(<-end), true
	}
	res.Output = output.finish()
	return res, nil
}

// launchInside starts a program beside a container's main process: by container-init like that one or, where nothing
// needs it, straight from a thread that has joined the container's mount namespace. Health checks run every few seconds
// in every container, and starting this large binary for each costs 20 times as much.
func (s *supervisor) launchInside(main identity, o order, output *os.File) (leader identity, end <-chan syscall.WaitStatus, err error) {
	started := func(pid int) error {
		leader, err = identify(pid, s.bootID)
		return err
	}
	if len(o.Ulimits) > 0 || len(o.Mounts) > 0 && os.Geteuid() != 0 {
		end, err = launch(s.reaper.start, o, output, output, started)
		return leader, end, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return leader, nil, err
	}
	defer null.Close()
	attr := &syscall.ProcAttr{
		Env:   o.Env,
		Files: []uintptr{null.Fd(), output.Fd(), output.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	if u := o.User; u != nil {
		attr.Sys.Credential = &syscall.Credential{Uid: uint32(u.UID), Gid: uint32(u.GID)}
		for _, g := range u.Groups {
			attr.Sys.Credential.Groups = append(attr.Sys.Credential.Groups, uint32(g))
		}
	}
	var pid int
	onThreadOfItsOwn(func() {
		if err = joinView(main, o); err != nil {
			return
		}
		var path string
		if path, err = findProgram(o.Argv[0], o.Env); err == nil {
			pid, end, err = s.reaper.start(path, o.Argv, attr)
		}
	})
	if err != nil {
		return leader, nil, programError(o.Argv[0], err)
	}
	if started(pid) != nil {
		leader, err = identity{PID: pid, Boot: s.bootID}, nil // it has ended already
	}
	return leader, end, nil
}

// joinView gives this thread alone the umask, working directory and, where they are private, mounts of a container; a
// child that it forks inherits them.
func joinView(main identity, o order) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("leave the supervisor's working directory: %w", err)
	}
	if len(o.Mounts) > 0 {
		fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/mnt", main.PID), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("join the container's mounts: %w", err)
		}
		defer unix.Close(fd)
		if !main.alive(main.Boot) {
			return fmt.Errorf("join the container's mounts: %w", unix.ESRCH)
		}
		if err := unix.Setns(fd, unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("join the container's mounts: %w", err)
		}
	}
	unix.Umask(containerUmask)
	return enter(o.Dir)
}

// onThreadOfItsOwn runs f on a thread that ends with it, so that what f changes of its thread harms nobody. The process's
// first thread cannot end, and stands for the process in /proc/self: should the scheduler choose it, it is held
// while f runs on another.
func onThreadOfItsOwn(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			onThreadOfItsOwn(f)
			runtime.UnlockOSThread()
			return
		}
		f()
	}()
	<-done
}
