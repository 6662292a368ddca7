package launch

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

// InitRole is the first argument of this binary when it runs as container-init.
const InitRole = "container-init"

// Order is what container-init does, in the order of the fields, before it becomes the program. The caller of [Start]
// sends it after it has recorded the pid. If the caller dies before that, container-init reads the end of its input and
// exits, so that no program runs without a record.
type Order struct {
	Mounts  []Mount
	Ulimits []Ulimit
	User    *Account // nil: the caller's
	Dir     string
	// PrivateDir reports that Dir is the container's own folder. It is entered before the user changes, as other users
	// cannot enter the folders above it.
	PrivateDir bool
	Env        []string
	Argv       []string // empty: exit with status 0, to try out the mounts
}

// Mount covers one file with another, for one container.
type Mount struct{ Source, Target string }

// Ulimit is a resource limit with its number in getrlimit(2).
type Ulimit struct {
	Name       string
	Number     int
	Soft, Hard uint64
}

// Account is the user that a container runs as.
type Account struct {
	UID, GID int
	Groups   []int
}

// umask is the umask of a container's programs, as in Docker.
const umask = 0o022

// The file descriptors of container-init, after the program's own 0 to 2.
const (
	orderFD   = 3
	failureFD = 4 // closed by exec, so that an end without text means that the program runs
)

// Init is the role between fork and exec. It returns the exit status only if it fails or the order has no program.
func Init() int {
	// Capabilities belong to a thread, and exec keeps those of the thread that calls it.
	runtime.LockOSThread()
	unix.CloseOnExec(orderFD)
	unix.CloseOnExec(failureFD)
	failures := os.NewFile(failureFD, "failures")
	var o Order
	err := json.NewDecoder(os.NewFile(orderFD, "order")).Decode(&o)
	if errors.Is(err, io.EOF) {
		return 1 // the supervisor has died
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

// setLimit sets a resource limit, or as much of it as this process may: an unprivileged process cannot raise a limit
// beyond its own. It uses package syscall, which restores the soft limit on open files at exec unless it was set
// through it.
func setLimit(u Ulimit) error {
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

func carryOut(o Order) error {
	syscall.Umask(umask)
	for _, m := range o.Mounts {
		if err := unix.Mount(m.Source, m.Target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount a private %s: %w", m.Target, err)
		}
	}
	for _, u := range o.Ulimits {
		if err := setLimit(u); err != nil {
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
	return execProgram(o.Argv, o.Env)
}

func enter(dir string) error {
	if err := os.Chdir(dir); err != nil {
		return fmt.Errorf("enter the working directory %s: %w", dir, errors.Unwrap(err))
	}
	return nil
}

func becomeUser(a Account) error {
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

// dropMountCapability gives up the ambient capability that an ordinary user's container-init has for the mounts (see
// startAttributes), so that the program has none.
func dropMountCapability() error {
	if os.Geteuid() == 0 {
		return nil
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil &&
		!errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	none := [2]unix.CapUserData{}
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return nil
}

// execProgram replaces this process by the program.
func execProgram(argv, env []string) error {
	path, err := findProgram(argv[0], env)
	if err == nil {
		err = syscall.Exec(path, argv, env)
	}
	return programError(argv[0], err)
}

// findProgram finds a program in the PATH of its environment. A name with a slash is a path, relative to the working
// directory. It skips entries of PATH that are relative to the working directory.
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
	return fmt.Errorf("cannot run the program %q: %w", name, err)
}
