package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bakingclouds/rollcall/internal/agent"
)

// starter forks a process and gives the channel on which its end arrives.
type starter func(path string, argv []string, attr *syscall.ProcAttr) (pid int, end <-chan syscall.WaitStatus, err error)

// launch starts a program by way of container-init, in a session and process group of its own, and returns when it
// runs. started is called with the pid before the program may run, and keeps it from running by an error. When an
// error comes back, the process has ended or is about to, and end (if not nil) will tell.
func launch(start starter, o order, stdout, stderr *os.File, started func(pid int) error) (end <-chan syscall.WaitStatus, err error) {
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

	// /proc/self/exe is this very binary, also when its file has been replaced by a newer one.
	pid, end, err := start("/proc/self/exe", []string{"rollcall", initRole}, &syscall.ProcAttr{
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
		return end, err // without its order, container-init gives up
	}
	if err := json.NewEncoder(orderOut).Encode(o); err != nil {
		return end, fmt.Errorf("tell container-init what to run: %w", err)
	}
	orderOut.Close()
	failure, err := io.ReadAll(failureIn)
	if err != nil {
		return end, fmt.Errorf("hear from container-init: %w", err)
	}
	if len(failure) > 0 {
		return end, errors.New(string(failure))
	}
	return end, nil
}

// startAttributes are a new session and, for private mounts, a mount namespace: root just takes one. An ordinary user
// gets it with a user namespace, in which the user keeps his own number, and container-init is lent the one
// capability that it needs.
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

// CanMountResolver says why containers cannot get a private /etc/resolv.conf here, or nil when they can. It tries it
// out, in a process of its own.
func CanMountResolver(ctx context.Context) error {
	return tryMount(ctx, func(path string, argv []string, attr *syscall.ProcAttr) (int, <-chan syscall.WaitStatus, error) {
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
	})
}

// tryMount mounts /etc/resolv.conf over itself.
func tryMount(ctx context.Context, start starter) error {
	if _, err := os.Stat(resolvConf); err != nil {
		return fmt.Errorf("no private %s: %w; create the file", resolvConf, err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	o := order{Mounts: []bindMount{{resolvConf, resolvConf}}, Dir: "/"}
	end, err := launch(start, o, null, null, func(int) error { return nil })
	var status syscall.WaitStatus
	if end != nil {
		select {
		case status = <-end:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err == nil && status != 0 {
		err = fmt.Errorf("a trial ended with status %d", exitCode(status))
	}
	if err != nil {
		return fmt.Errorf("no private %s (%w); it needs root with CAP_SYS_ADMIN, or user namespaces open to ordinary users (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)", resolvConf, err)
	}
	return nil
}

// exitCode is the program's own, or 128 + the signal that ended it, as shells and Docker count.
func exitCode(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// ulimitNumbers are the limits that ECS knows (Ulimit in the ECS API reference), by getrlimit(2).
var ulimitNumbers = map[string]int{
	"core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA, "fsize": unix.RLIMIT_FSIZE,
	"locks": unix.RLIMIT_LOCKS, "memlock": unix.RLIMIT_MEMLOCK, "msgqueue": unix.RLIMIT_MSGQUEUE,
	"nice": unix.RLIMIT_NICE, "nofile": unix.RLIMIT_NOFILE, "nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS,
	"rtprio": unix.RLIMIT_RTPRIO, "rttime": unix.RLIMIT_RTTIME, "sigpending": unix.RLIMIT_SIGPENDING,
	"stack": unix.RLIMIT_STACK,
}

func ulimits(asked []agent.Ulimit) []ulimit {
	var set []ulimit
	for _, u := range asked {
		set = append(set, ulimit{Name: u.Name, Number: ulimitNumbers[u.Name], Soft: uint64(u.Soft), Hard: uint64(u.Hard)})
	}
	return set
}

// runAs resolves a container's user ("user", "uid", "user:group", "uid:gid") to an account and its home folder. The
// account is nil when it is whom this process runs as; only root can run a container as somebody else.
func runAs(asked string) (*account, string, error) {
	own := strconv.Itoa(os.Geteuid())
	if asked == "" {
		return nil, homeOf(own), nil
	}
	name, group, hasGroup := strings.Cut(asked, ":")
	found, err := user.Lookup(name)
	if err != nil {
		found, err = user.LookupId(name)
	}
	uid := name
	if err == nil {
		uid = found.Uid
	}
	number, err := strconv.Atoi(uid)
	if err != nil || number < 0 {
		return nil, "", fmt.Errorf("no user %q on this machine", name)
	}
	a := account{UID: number, GID: number} // a number without an account: a group of its own, not root's
	if found != nil {
		a.GID, _ = strconv.Atoi(found.Gid)
		ids, _ := found.GroupIds() // an account without supplementary groups has none
		for _, id := range ids {
			gid, _ := strconv.Atoi(id)
			a.Groups = append(a.Groups, gid)
		}
	}
	if hasGroup {
		gid, err := groupNumber(group)
		if err != nil {
			return nil, "", err
		}
		a.GID, a.Groups = gid, []int{gid}
	}
	if os.Geteuid() != 0 {
		if uid != own || hasGroup && a.GID != os.Getegid() {
			return nil, "", fmt.Errorf("user %q: only root can run a container as another user; Rollcall runs as user %s", asked, own)
		}
		return nil, homeOf(own), nil
	}
	if !slices.Contains(a.Groups, a.GID) {
		a.Groups = append(a.Groups, a.GID)
	}
	return &a, homeOf(uid), nil
}

func groupNumber(group string) (int, error) {
	if found, err := user.LookupGroup(group); err == nil {
		group = found.Gid
	}
	gid, err := strconv.Atoi(group)
	if err != nil || gid < 0 {
		return 0, fmt.Errorf("no group %q on this machine", group)
	}
	return gid, nil
}

func homeOf(uid string) string {
	if found, err := user.LookupId(uid); err == nil && found.HomeDir != "" {
		return found.HomeDir
	}
	return "/"
}
