package app

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// machineMemory is the memory in MiB that this process and its children can have: the machine's, or the limit of a
// control group around it. 0 is unknown, and then no bound.
func machineMemory() int {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	bytes := uint64(info.Totalram) * uint64(info.Unit) //nolint:unconvert // other types on other processors
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return int(bytes >> 20)
	}
	// The unified hierarchy's line is 0::PATH (cgroups(7)); every group up to the root limits what is in it.
	for line := range strings.Lines(string(text)) {
		group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		for ; ok; group = filepath.Dir(group) {
			if limit, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", group, "memory.max")); err == nil {
				if n, err := strconv.ParseUint(strings.TrimSpace(string(limit)), 10, 64); err == nil { // "max" is none
					bytes = min(bytes, n)
				}
			}
			if group == "/" || group == "." {
				break
			}
		}
	}
	return int(bytes >> 20)
}
