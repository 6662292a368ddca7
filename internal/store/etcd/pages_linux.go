package etcd

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// dropPages takes a mapped file's pages out of this process's memory; its mapping must stay meanwhile. They count as the
// process's from the first read on, although the kernel's cache holds them anyway, from where the next read takes them.
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

// mapping finds where a file is mapped, in the notation of proc_pid_maps(5). A file that is mapped twice, as by an engine
// that could not be stopped and the one after it, is left alone.
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
