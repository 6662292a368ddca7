package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// insideNamespaces says that this process was started by inNamespaces.
const insideNamespaces = "ROLLCALL_TEST_NAMESPACES"

// InNamespaces runs the test once more in a child process with a user namespace and those of flags
// (unix.CLONE_NEW…), where it is root without being it. It returns true in the child, which is to do the test, and
// false in the parent, for which it has been done.
func InNamespaces(t *testing.T, flags uintptr) bool {
	t.Helper()
	if os.Getenv(insideNamespaces) != "" {
		return true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), insideNamespaces+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | flags,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		t.Logf("in namespaces of its own:\n%s", out)
	case errors.As(err, &exit):
		t.Errorf("in namespaces of its own: %v\n%s", err, out)
	default:
		cannotRun(t, fmt.Sprintf("make a user namespace: %v", err))
	}
	return false
}

// SmallDisk mounts a file system of this many bytes in memory, in namespaces of its own where this user may not
// mount. It returns false when the test has been done there.
func SmallDisk(t *testing.T, size int64) (dir string, here bool) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size))
	if errors.Is(err, unix.EPERM) && !InNamespaces(t, unix.CLONE_NEWNS) {
		return "", false
	}
	if err != nil {
		cannotRun(t, fmt.Sprintf("mount a small disk: %v", err))
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir, true
}

// FillDisk takes all that is left of a disk, and returns what gives it back.
func FillDisk(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for chunk := make([]byte, 1<<20); len(chunk) > 0; {
		if _, err := f.Write(chunk); errors.Is(err, unix.ENOSPC) {
			chunk = chunk[:len(chunk)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

// cannotRun skips a test because of what this machine does not allow; with CI=true that is a failure.
func cannotRun(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("this machine does not let the test %s", what)
	}
	t.Skipf("this machine does not let the test %s", what)
}
