package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// order is what container-init is asked to do, in this order of its fields, before it becomes the program. The
// supervisor sends it after it has written down the pid: a supervisor that dies before leaves a container-init
// that reads the end of its input and gives up, never a program that nobody knows of.
type order struct {
	Mounts  []bindMount
	Ulimits []ulimit
	User    *account // nil: as the supervisor runs
	Dir     string
	// PrivateDir says that Dir is the container's own folder, entered before the user changes: the folders above it are
	// closed to others.
	PrivateDir bool
	Env        []string
	Argv       []string // empty: end with status 0, for trying out the mounts
}

// bindMount puts one file in the place of another, for this container alone.
type bindMount struct{ Source, Target string }

type ulimit struct {
	Name       string
	Number     int
	Soft, Hard uint64
}

// account is whom a container runs as.
type account struct {
	UID, GID int
	Groups   []int
}

// The descriptors that container-init is started with, beside the program's own 0 to 2.
const (
	orderFD   = 3
	failureFD = 4 // closes by itself when the program starts, so that reading its end without text means success
)

// containerInit is the role between fork and exec. It returns only to say that it failed.
func containerInit() int {
	// Capabilities belong to a thread, and exec keeps those of the thread that calls it.
	runtime.LockOSThread()
	unix.CloseOnExec(orderFD)
	unix.CloseOnExec(failureFD)
	failures := os.NewFile(failureFD, "failures")
	var o order
	err := json.NewDecoder(os.NewFile(orderFD, "order")).Decode(&o)
	if errors.Is(err, io.EOF) {
		return 1 // the supervisor is gone
	}
	if err == nil {
		err = carryOut(o)
	}
	if err != nil {
		fmt.Fprint(failures, err.Error())
		return 1
	}
	return 0
}

func carryOut(o order) error {
	syscall.Umask(0o022)
	for _, m := range o.Mounts {
		if err := unix.Mount(m.Source, m.Target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount a private %s: %w", m.Target, err)
		}
	}
	for _, u := range o.Ulimits {
		// By way of package syscall, which restores the soft limit on open files at exec unless it was set here.
		if err := syscall.Setrlimit(u.Number, &syscall.Rlimit{Cur: u.Soft, Max: u.Hard}); err != nil {
			return fmt.Errorf("set the ulimit %s to %d:%d: %w", u.Name, int64(u.Soft), int64(u.Hard), err)
		}
	}
	if o.PrivateDir {
		if err := enter(o.Dir); err != nil {
			return err
		}
	}
	if o.User != nil {
		if err := becomeUser(*o.User); err != nil {
			return err
		}
	} else if err := dropMountCapability(); err != nil {
		return err
	}
	if !o.PrivateDir {
		if err := enter(o.Dir); err != nil {
			return err
		}
	}
	if len(o.Argv) == 0 {
		return nil
	}
	return become(o.Argv, o.Env)
}

func enter(dir string) error {
	if err := os.Chdir(dir); err != nil {
		return fmt.Errorf("the working directory %s cannot be entered: %w", dir, errors.Unwrap(err))
	}
	return nil
}

func becomeUser(a account) error {
	err := syscall.Setgroups(a.Groups)
	if err == nil {
		err = syscall.Setgid(a.GID)
	}
	if err == nil {
		err = syscall.Setuid(a.UID)
	}
	if err != nil {
		return fmt.Errorf("become user %d:%d: %w", a.UID, a.GID, err)
	}
	return nil
}

// dropMountCapability gives up the capability that an ordinary user's container-init was lent for the mounts (an
// ambient one, see startAttributes), so that the program has none.
func dropMountCapability() error {
	if os.Geteuid() == 0 {
		return nil
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("give up capabilities: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	none := [2]unix.CapUserData{}
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("give up capabilities: %w", err)
	}
	return nil
}

// become replaces this process by the program, looked up in the PATH that the program will see.
func become(argv, env []string) error {
	os.Clearenv()
	for _, entry := range env {
		if len(entry) > 5 && entry[:5] == "PATH=" {
			os.Setenv("PATH", entry[5:])
		}
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		var lookup *exec.Error
		if errors.As(err, &lookup) && errors.Is(lookup.Err, exec.ErrNotFound) {
			return fmt.Errorf("the program %q is not in PATH (%s)", argv[0], os.Getenv("PATH"))
		}
		return fmt.Errorf("the program %q cannot be run: %w", argv[0], err)
	}
	return fmt.Errorf("the program %q cannot be run: %w", argv[0], syscall.Exec(path, argv, env))
}
