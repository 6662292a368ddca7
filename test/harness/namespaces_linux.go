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

// insideNamespaces is set in the environment of the processes that InNamespaces starts.
const insideNamespaces = "ROLLCALL_TEST_NAMESPACES"

// InNamespaces runs the test again in a child process that has a new user namespace, in which it is root, and the new
// namespaces that flags name (unix.CLONE_NEW…). It returns true in the child, which then does the test, and false in
// the parent, after the child has done it.
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
		t.Logf("in new namespaces:\n%s", out)
	case errors.As(err, &exit):
		t.Errorf("in new namespaces: %v\n%s", err, out)
	default:
		cannotRun(t, fmt.Errorf("create a user namespace: %w", err))
	}
	return false
}

// SmallDisk mounts a file system of a given size in memory; if this user may not mount, it does so in new namespaces.
// It returns false if the test has been done there.
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
		cannotRun(t, fmt.Errorf("mount a small disk: %w", err))
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir, true
}

// FillDisk fills a disk and returns a function that frees the space again.
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

// cannotRun skips a test that this machine does not allow. With CI=true it fails the test instead.
func cannotRun(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(err)
	}
	t.Skip(err)
}
