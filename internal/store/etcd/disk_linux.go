package etcd

import (
	"os"

	"golang.org/x/sys/unix"
)

func statDisk(dir string) (disk, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return disk{}, err
	}
	return disk{total: int64(st.Blocks) * st.Bsize, free: int64(st.Bavail) * st.Bsize}, nil
}

// reserveBlocks gives f its blocks from off to off+n, beyond its end too, without changing its size or content
// (fallocate(2), FALLOC_FL_KEEP_SIZE). The error is errors.ErrUnsupported where the file system cannot.
func reserveBlocks(f *os.File, off, n int64) error {
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, off, n)
}
