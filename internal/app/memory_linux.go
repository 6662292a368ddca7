package app

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// machineMemory returns the memory in MiB that this process and its children can use: the machine's, or the limit of a
// control group that contains it. 0 is unknown, and means no limit.
func machineMemory() int {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	bytes := uint64(info.Totalram) * uint64(info.Unit) //nolint:unconvert // the types differ between architectures
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return int(bytes >> 20)
	}
	// The line of the unified hierarchy is 0::PATH (cgroups(7)). Every group up to the root has a limit.
	for line := range strings.Lines(string(text)) {
		group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		for ; ok; group = filepath.Dir(group) {
			if limit, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", group, "memory.max")); err == nil {
				if n, err := strconv.ParseUint(strings.TrimSpace(string(limit)), 10, 64); err == nil { // "max" is no limit
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
