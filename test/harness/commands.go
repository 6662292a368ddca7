package harness

import (
	"os/exec"
	"regexp"
	"testing"
)

// WithT returns the server for use in a subtest.
func (s *Server) WithT(t testing.TB) *Server {
	t.Helper()
	c := *s
	c.T = t
	return &c
}

// RunCommand runs a rollcall command against the server and returns what it prints.
func (s *Server) RunCommand(args ...string) string {
	s.T.Helper()
	cmd := Command(s.T, append(args, "--data", s.Dir)...)
	out, err := cmd.Output()
	if exit, failed := err.(*exec.ExitError); failed {
		s.T.Fatalf("rollcall %v: %v: %s", args, err, exit.Stderr)
	} else if err != nil {
		s.T.Fatal(err)
	}
	return string(out)
}

// WantLine checks that one line of a text matches a pattern.
func WantLine(t *testing.T, text, pattern string) {
	t.Helper()
	if !regexp.MustCompile("(?m)" + pattern).MatchString(text) {
		t.Errorf("no line like %q in:\n%s", pattern, text)
	}
}
