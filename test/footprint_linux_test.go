package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// footprint is what a process holds.
type footprint struct {
	resident int64 // bytes
	files    int   // open ones, connections among them
}

// memory reads the server's footprint (proc_pid_status(5)).
func (s *server) memory() footprint {
	s.T.Helper()
	pid := s.Cmd.Process.Pid
	b := must[[]byte](s.T)(os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)))
	var f footprint
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kilobytes := must[int64](s.T)(strconv.ParseInt(strings.Fields(value)[0], 10, 64))
			f.resident = kilobytes << 10
		}
	}
	open := must[[]string](s.T)(filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid)))
	f.files = len(open)
	return f
}

// grewAtMost holds that the server has grown by no more than so many bytes, and has closed what it had opened.
func (s *server) grewAtMost(before footprint, bytes int64) {
	s.T.Helper()
	if now := s.memory(); now.resident-before.resident > bytes {
		s.T.Errorf("the server grew from %d MiB to %d MiB", before.resident>>20, now.resident>>20)
	}
	eventually(s.T, 20*time.Second, "the server has closed its connections", func() bool { return s.memory().files <= before.files+20 })
}
