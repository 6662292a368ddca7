package etcd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// fence makes the files under dir that this process has open inaccessible through their descriptors, and returns their
// number. It is for an engine that could not be stopped: some of its goroutines are parked, its descriptors are open,
// and its locks prevent the next engine from opening the files.
//
// fence releases each descriptor's lock. Closing the descriptor would not release it, because a memory map keeps the
// file open. Then fence replaces the descriptor by one of /dev/null that is open for reading, so that every write
// fails. Finally it waits until no goroutine is inside a system call of etcd's log, snapshots or database, because a
// system call that began earlier could still write.
func fence(dir string) (int, error) {
	fds, err := openFilesUnder(dir)
	if err != nil || len(fds) == 0 {
		return 0, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	var errs []error
	for _, fd := range fds {
		// bbolt locks by flock, the WAL by open file description locks (fcntl(2), F_OFD_SETLK).
		_ = unix.Flock(fd, unix.LOCK_UN)
		wholeFile := unix.Flock_t{Type: unix.F_UNLCK}
		_ = unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &wholeFile)
		if err := unix.Dup3(int(null.Fd()), fd, unix.O_CLOEXEC); err != nil {
			errs = append(errs, fmt.Errorf("replace descriptor %d: %w", fd, err))
		}
	}
	for inFileSyscall() {
		time.Sleep(10 * time.Millisecond)
	}
	return len(fds), errors.Join(errs...)
}

// openFilesUnder returns this process's descriptors of files under dir.
func openFilesUnder(dir string) ([]int, error) {
	const self = "/proc/self/fd"
	names, err := os.ReadDir(self)
	if err != nil {
		return nil, err
	}
	var fds []int
	for _, n := range names {
		target, err := os.Readlink(filepath.Join(self, n.Name()))
		if err != nil || !strings.HasPrefix(target, dir+"/") {
			continue
		}
		fd, err := strconv.Atoi(n.Name())
		if err != nil {
			continue
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

// inFileSyscall reports whether a goroutine is inside a system call on etcd's files. This includes engines of other
// folders, which only makes the wait of fence a little longer.
func inFileSyscall() bool {
	for _, g := range strings.Split(stacks(), "\n\n") {
		state, frames, _ := strings.Cut(g, "\n")
		if !strings.Contains(state, "[syscall") {
			continue
		}
		for _, pkg := range []string{"go.etcd.io/bbolt.", "server/v3/storage/", "etcdserver/api/snap."} {
			if strings.Contains(frames, pkg) {
				return true
			}
		}
	}
	return false
}
