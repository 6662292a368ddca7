package harness

import (
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// WithT is the server as a subtest sees it.
func (s *Server) WithT(t testing.TB) *Server {
	c := *s
	c.T = t
	return &c
}

// ClosedPort is a port of 127.0.0.1 on which nobody listens any more.
func ClosedPort() string {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	return gone.URL[strings.LastIndex(gone.URL, ":")+1:]
}

// RunCommand runs a command against the server and returns what it prints.
func (s *Server) RunCommand(args ...string) string {
	s.T.Helper()
	cmd := Rollcall(s.T, append(args, "--data", s.Dir)...)
	out, err := cmd.Output()
	if exit, failed := err.(*exec.ExitError); failed {
		s.T.Fatalf("rollcall %v: %v: %s", args, err, exit.Stderr)
	} else if err != nil {
		s.T.Fatal(err)
	}
	return string(out)
}

// WantLine holds that one line of a text matches a pattern.
func WantLine(t *testing.T, text, pattern string) {
	t.Helper()
	if !regexp.MustCompile("(?m)" + pattern).MatchString(text) {
		t.Errorf("no line like %q in:\n%s", pattern, text)
	}
}
