//go:build unix && !linux

package etcd

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// On systems other than Linux, a full disk does not end the process either, but an engine that cannot be stopped keeps
// its files until the process restarts.

func statDisk(dir string) (disk, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return disk{}, err
	}
	return disk{total: int64(st.Blocks) * int64(st.Bsize), free: int64(st.Bavail) * int64(st.Bsize)}, nil
}

func reserveBlocks(*os.File, int64, int64) error { return errors.ErrUnsupported }

func fence(string) (int, error) { return 0, nil }

func dropPages(string) error { return errors.ErrUnsupported }
