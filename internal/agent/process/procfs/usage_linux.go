package procfs

import (
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
)

// clockTick is the unit of times in /proc: USER_HZ, which is 100 on every architecture that Go supports.
const clockTick = time.Second / 100

// Measure returns the usage of sessions, each the sum over its processes; those that have ended are missing. It reads
// every process of the machine once.
func Measure(sessions []int) map[int]agent.Usage {
	used := make(map[int]agent.Usage, len(sessions))
	for _, session := range sessions {
		used[session] = agent.Usage{}
	}
	names, err := entries()
	if err != nil {
		return nil
	}
	for _, name := range names {
		if _, err := strconv.Atoi(name); err != nil {
			continue
		}
		text, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue // the process has ended since
		}
		stat, err := parseStat(text)
		if err != nil || stat.Ended() {
			continue
		}
		if u, ok := used[stat.session]; ok {
			used[stat.session] = addProcess(u, statFields(text))
		}
	}
	machine := machineTime()
	for session, u := range used {
		if u.Processes == 0 {
			delete(used, session)
			continue
		}
		u.Machine = machine
		used[session] = u
	}
	return used
}

// addProcess adds the usage of one process: utime and stime are fields 14 and 15, rss is field 24 (proc_pid_stat(5)).
func addProcess(u agent.Usage, fields [][]byte) agent.Usage {
	u.Processes++
	u.User += ticks(fields, 14-3)
	u.Kernel += ticks(fields, 15-3)
	if len(fields) > 24-3 {
		pages, _ := strconv.ParseInt(string(fields[24-3]), 10, 64)
		u.Memory += pages * int64(os.Getpagesize())
	}
	return u
}

func ticks(fields [][]byte, n int) time.Duration {
	if n >= len(fields) {
		return 0
	}
	count, _ := strconv.ParseInt(string(fields[n]), 10, 64)
	return time.Duration(count) * clockTick
}

// machineTime returns the time that all processors together have had, from the first line of /proc/stat: its first
// eight values. The time of guests is part of the user time (proc_stat(5)).
func machineTime() time.Duration {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	var sum time.Duration
	for i, field := range strings.Fields(line) {
		if i >= 1 && i <= 8 {
			count, _ := strconv.ParseInt(field, 10, 64)
			sum += time.Duration(count) * clockTick
		}
	}
	return sum
}
