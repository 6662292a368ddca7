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

// reserveBlocks allocates the blocks of f from off to off+n, even beyond its end, without changing its size or content
// (fallocate(2), FALLOC_FL_KEEP_SIZE). It returns an error that is errors.ErrUnsupported if the file system cannot do
// so.
func reserveBlocks(f *os.File, off, n int64) error {
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, off, n)
}
