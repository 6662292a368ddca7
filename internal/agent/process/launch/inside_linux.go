package launch

import (
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bakingclouds/rollcall/internal/agent/process/procfs"
)

// Inside starts a program in a running container, whose main process is main: through container-init where the order
// needs it, otherwise from a thread that has joined the container's mount namespace. Health checks run every few
// seconds in every container, and starting this large binary for each costs 20 times as much.
func Inside(
	start Starter, main procfs.Identity, o Order, output *os.File,
) (leader procfs.Identity, end <-chan syscall.WaitStatus, err error) {
	if len(o.Ulimits) > 0 || len(o.Mounts) > 0 && os.Geteuid() != 0 {
		end, err = Start(start, o, output, output, func(pid int) error {
			leader, err = procfs.Identify(pid, main.Boot)
			return err
		})
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
	onDisposableThread(func() {
		if err = join(main, o); err != nil {
			return
		}
		var path string
		if path, err = findProgram(o.Argv[0], o.Env); err == nil {
			pid, end, err = start(path, o.Argv, attr)
		}
	})
	if err != nil {
		return leader, nil, programError(o.Argv[0], err)
	}
	if leader, err = procfs.Identify(pid, main.Boot); err != nil {
		leader = procfs.Identity{PID: pid, Boot: main.Boot} // it has ended already
	}
	return leader, end, nil
}

// join sets the umask, the working directory and, if they are private, the mounts of a container for this thread alone.
// A child that the thread forks inherits them.
func join(main procfs.Identity, o Order) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("leave the supervisor's working directory: %w", err)
	}
	if len(o.Mounts) > 0 {
		fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/mnt", main.PID), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("join the container's mounts: %w", err)
		}
		defer unix.Close(fd)
		if !main.Alive(main.Boot) {
			return fmt.Errorf("join the container's mounts: %w", unix.ESRCH)
		}
		if err := unix.Setns(fd, unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("join the container's mounts: %w", err)
		}
	}
	unix.Umask(umask)
	return enter(o.Dir)
}

// onDisposableThread runs f on a thread that ends afterwards, so that f may change the state of its thread. The
// process's first thread cannot end, and /proc/self shows its state: if the scheduler picks that thread, the goroutine
// keeps it busy while f runs on another.
func onDisposableThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			onDisposableThread(f)
			runtime.UnlockOSThread()
			return
		}
		f()
	}()
	<-done
}
