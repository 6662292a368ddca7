package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
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

// containerUmask is the umask of a container's programs, as in Docker.
const containerUmask = 0o022

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

// limit sets a resource limit, or as much of it as this process may: without privileges, no limit can be raised beyond what
// the server was started with. By way of package syscall, which restores the soft limit on open files at exec unless it was
// set here.
func limit(u ulimit) error {
	err := syscall.Setrlimit(u.Number, &syscall.Rlimit{Cur: u.Soft, Max: u.Hard})
	if !errors.Is(err, syscall.EPERM) {
		return err
	}
	var have syscall.Rlimit
	if err := syscall.Getrlimit(u.Number, &have); err != nil {
		return err
	}
	return syscall.Setrlimit(u.Number, &syscall.Rlimit{Cur: min(u.Soft, have.Max), Max: min(u.Hard, have.Max)})
}

func carryOut(o order) error {
	syscall.Umask(containerUmask)
	for _, m := range o.Mounts {
		if err := unix.Mount(m.Source, m.Target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount a private %s: %w", m.Target, err)
		}
	}
	for _, u := range o.Ulimits {
		if err := limit(u); err != nil {
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

// become replaces this process by the program.
func become(argv, env []string) error {
	path, err := findProgram(argv[0], env)
	if err == nil {
		err = syscall.Exec(path, argv, env)
	}
	return programError(argv[0], err)
}

// findProgram looks a program up in the PATH that it will see. A name with a slash is a path already, from the working
// directory; parts of PATH that mean the working directory are left out.
func findProgram(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	var path string
	for _, entry := range env {
		if value, found := strings.CutPrefix(entry, "PATH="); found {
			path = value
		}
	}
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); filepath.IsAbs(dir) && err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("it is not in PATH (%s)", path)
}

func programError(name string, err error) error {
	return fmt.Errorf("the program %q cannot be run: %w", name, err)
}
