package app

import (
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// TestChooseRuntime: auto takes Docker where an engine answers, else processes, and says why.
func TestChooseRuntime(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "docker.sock")
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	kind, why := chooseRuntime(t.Context())
	if kind != RuntimeProcess || !strings.Contains(why, "no engine answers at unix://"+socket) {
		t.Errorf("without an engine: %s, since %s", kind, why)
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
		t.Errorf("with an engine: %s, since %s", kind, why)
	}
}
