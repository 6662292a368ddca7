package etcd

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// dropPages removes a mapped file's pages from this process's resident memory. The caller must prevent the file from
// being unmapped meanwhile. Pages count as the process's memory once they have been read, although they also stay in
// the kernel's page cache, which serves the next read.
func dropPages(file string) error {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	start, end, err := mapping(string(maps), file)
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_MADVISE, start, end-start, unix.MADV_DONTNEED); errno != 0 {
		return errno
	}
	return nil
}

// mapping finds the address range at which a file is mapped. maps has the format of proc_pid_maps(5). It is an error if
// the file is mapped twice, which happens if an engine could not be stopped and another one has been started after it.
func mapping(maps, path string) (start, end uintptr, err error) {
	n := 0
	for line := range strings.Lines(maps) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 6)
		if len(fields) < 6 || strings.TrimLeft(fields[5], " ") != path || !strings.HasSuffix(fields[1], "s") {
			continue
		}
		n++
		if _, err := fmt.Sscanf(fields[0], "%x-%x", &start, &end); err != nil {
			return 0, 0, err
		}
	}
	if n != 1 {
		return 0, 0, fmt.Errorf("%s is mapped %d times", path, n)
	}
	return start, end, nil
}
