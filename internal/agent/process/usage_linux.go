package process

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
)

// clockTick is the unit of times in /proc: USER_HZ, which is 100 on every architecture that Go runs on.
const clockTick = time.Second / 100

// Usage measures the containers with these runtime ids, the pids of their main processes, each as the sum over its session
// (container-init makes one for each container). It reads every process of the machine once.
func (r *Runtime) Usage(pids []string) map[string]agent.Usage {
	sessions := make(map[int]agent.Usage, len(pids))
	for _, pid := range pids {
		if n, err := strconv.Atoi(pid); err == nil {
			sessions[n] = agent.Usage{}
		}
	}
	measure(sessions)
	all := make(map[string]agent.Usage, len(sessions))
	for pid, u := range sessions {
		all[strconv.Itoa(pid)] = u
	}
	return all
}

// measure fills in what each session has used, and drops those that have ended.
func measure(all map[int]agent.Usage) {
	names, err := procNames()
	if err != nil {
		clear(all)
		return
	}
	for _, name := range names {
		if _, err := strconv.Atoi(name); err != nil {
			continue
		}
		text, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue // it ended while we looked
		}
		stat, err := parseStat(text)
		if err != nil || stat.ended() {
			continue
		}
		u, asked := all[stat.session]
		if !asked {
			continue
		}
		// Behind the name: utime and stime are fields 14 and 15, rss is 24 (proc_pid_stat(5)).
		fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
		u.Processes++
		u.User += ticks(fields, 11)
		u.Kernel += ticks(fields, 12)
		if len(fields) > 21 {
			pages, _ := strconv.ParseInt(string(fields[21]), 10, 64)
			u.Memory += pages * int64(os.Getpagesize())
		}
		all[stat.session] = u
	}
	machine := machineTime()
	for pid, u := range all {
		if u.Processes == 0 {
			delete(all, pid)
			continue
		}
		u.Machine = machine
		all[pid] = u
	}
}

func ticks(fields [][]byte, n int) time.Duration {
	if n >= len(fields) {
		return 0
	}
	count, _ := strconv.ParseInt(string(fields[n]), 10, 64)
	return time.Duration(count) * clockTick
}

// machineTime sums the first line of /proc/stat up to the time stolen by other machines; what guests had is in the
// user time already (proc_stat(5)).
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
