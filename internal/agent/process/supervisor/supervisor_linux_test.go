package supervisor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestIdle(t *testing.T) {
	start := time.Now()
	for _, tc := range []struct {
		name           string
		tasks, clients int
		after          time.Duration
		want           bool
	}{
		{"just started", 0, 0, idleTimeout - 1, false},
		{"no tasks and no clients", 0, 0, idleTimeout, true},
		{"a task", 1, 0, time.Hour, false},
		{"a client", 0, 1, time.Hour, false},
	} {
		s := &supervisor{tasks: map[string]*task{}, clients: map[*client]bool{}, idleSince: start}
		for range tc.tasks {
			s.tasks["t"] = &task{}
		}
		for range tc.clients {
			s.clients[&client{}] = true
		}
		if got := s.idle(start.Add(tc.after)); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestRotate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	writer, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600) // as containers open it
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	for _, tc := range []struct{ write, log, first, second string }{
		{"12345678", "12345678", "", ""},
		{"9ab", "", "3456789ab", ""},
		{"short", "short", "3456789ab", ""},
		{"-and-more", "", "-and-more", "3456789ab"},
		{strings.Repeat("long", 10) + "!", "", "longlong!", "-and-more"},
	} {
		if _, err := writer.WriteString(tc.write); err != nil {
			t.Fatal(err)
		}
		if err := rotate(path, 9); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{path: tc.log, path + ".1": tc.first, path + ".2": tc.second} {
			got, _ := os.ReadFile(name)
			if string(got) != want {
				t.Errorf("after %q: %s contains %q, want %q", tc.write, filepath.Base(name), got, want)
			}
		}
	}
	if err := rotate(filepath.Join(t.TempDir(), "none"), 9); err != nil {
		t.Errorf("rotate of a log that does not exist: %v", err)
	}
}
