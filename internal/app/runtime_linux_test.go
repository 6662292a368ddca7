package app

import (
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// TestChooseRuntime checks that auto is Docker if an engine answers, otherwise processes, with the reason.
func TestChooseRuntime(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "docker.sock")
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	kind, why := chooseRuntime(t.Context())
	if kind != RuntimeProcess || !strings.Contains(why, "no engine answers at unix://"+socket) {
		t.Errorf("chooseRuntime without an engine = %s, %q", kind, why)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	engine := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Api-Version", "1.41")
	})}
	defer engine.Close()
	go engine.Serve(l) // ends with Close
	if kind, why := chooseRuntime(t.Context()); kind != RuntimeDocker || why != "a Docker Engine answers" {
		t.Errorf("chooseRuntime with an engine = %s, %q", kind, why)
	}
}
