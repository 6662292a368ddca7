package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Starter forks a process and returns the channel on which its end arrives.
type Starter func(
	path string, argv []string, attr *syscall.ProcAttr,
) (pid int, end <-chan syscall.WaitStatus, err error)

// Start starts a program through container-init, in a new session and process group, and returns when it runs.
// It calls started with the pid before the program may run; an error from started keeps it from running. If Start
// returns an error, the process has ended or is about to, and end, unless it is nil, reports when.
func Start(
	start Starter, o Order, stdout, stderr *os.File, started func(pid int) error,
) (end <-chan syscall.WaitStatus, err error) {
	stdin, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	orderIn, orderOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer orderOut.Close()
	failureIn, failureOut, err := os.Pipe()
	if err != nil {
		orderIn.Close()
		return nil, err
	}
	defer failureIn.Close()

	// /proc/self/exe is this binary even if a newer one has replaced its file.
	pid, end, err := start("/proc/self/exe", []string{"rollcall", InitRole}, &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{"GOMAXPROCS=1"},
		Files: []uintptr{stdin.Fd(), stdout.Fd(), stderr.Fd(), orderIn.Fd(), failureOut.Fd()},
		Sys:   startAttributes(len(o.Mounts) > 0),
	})
	orderIn.Close()
	failureOut.Close()
	if err != nil {
		return nil, fmt.Errorf("start a process: %w", err)
	}
	if err := started(pid); err != nil {
		return end, err // container-init exits, since it gets no order
	}
	if err := json.NewEncoder(orderOut).Encode(o); err != nil {
		return end, fmt.Errorf("send the order to container-init: %w", err)
	}
	orderOut.Close()
	failure, err := io.ReadAll(failureIn)
	if err != nil {
		return end, fmt.Errorf("read the result of container-init: %w", err)
	}
	if len(failure) > 0 {
		return end, errors.New(string(failure))
	}
	return end, nil
}

// startAttributes returns a new session and, for private mounts, a new mount namespace. Root can have one as it is. An
// ordinary user needs a user namespace as well, in which the user keeps its own number, and container-init gets the one
// capability that the mounts take.
func startAttributes(mounts bool) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setsid: true}
	if !mounts {
		return attr
	}
	if os.Geteuid() == 0 {
		attr.Unshareflags = syscall.CLONE_NEWNS
		return attr
	}
	uid, gid := os.Getuid(), os.Getgid()
	attr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
	attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN}
	return attr
}

// CanMount returns why containers cannot have private files on this machine, nil if they can. It tries it in
// a new process.
func CanMount(ctx context.Context) error { return TryMount(ctx, startAndWait) }

// startAndWait is a [Starter] for a process without a reaper of all children.
func startAndWait(path string, argv []string, attr *syscall.ProcAttr) (int, <-chan syscall.WaitStatus, error) {
	pid, err := syscall.ForkExec(path, argv, attr)
	if err != nil {
		return 0, nil, err
	}
	end := make(chan syscall.WaitStatus, 1)
	go func() {
		var status syscall.WaitStatus
		for {
			if _, err := syscall.Wait4(pid, &status, 0, nil); !errors.Is(err, syscall.EINTR) {
				break
			}
		}
		end <- status
	}()
	return pid, end, nil
}

// resolvConf is the file that TryMount covers; every machine on which a container needs a private one has it.
const resolvConf = "/etc/resolv.conf"

// TryMount mounts /etc/resolv.conf over itself in a new process, and returns why that is not possible.
func TryMount(ctx context.Context, start Starter) error {
	if _, err := os.Stat(resolvConf); err != nil {
		return fmt.Errorf("no private %s: %w; create the file", resolvConf, err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	o := Order{Mounts: []Mount{{resolvConf, resolvConf}}, Dir: "/"}
	end, err := Start(start, o, null, null, func(int) error { return nil })
	var status syscall.WaitStatus
	if end != nil {
		select {
		case status = <-end:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err == nil && status != 0 {
		err = fmt.Errorf("a trial ended with status %d", ExitCode(status))
	}
	if err != nil {
		return fmt.Errorf("no private %s (%w); it needs root with CAP_SYS_ADMIN, or user namespaces for ordinary users "+
			"(sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)",
			resolvConf, err)
	}
	return nil
}

// ExitCode returns a program's exit code, or 128 + the signal that ended it, as shells and Docker do.
func ExitCode(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}
