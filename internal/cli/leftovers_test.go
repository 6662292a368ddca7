package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLeftoversOfServer: what a server has in the engine is not left over, nor what one may have.
func TestLeftoversOfServer(t *testing.T) {
	dir, damaged := t.TempDir(), t.TempDir()
	pretendServer(t, dir, "key", "secret")
	if err := os.WriteFile(filepath.Join(damaged, "server.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for data, want := range map[string]string{dir: "a server runs on " + dir, damaged: "is not known"} {
		status, out, errs := run(t, environ(t, t.TempDir(), "DOCKER_HOST=unix:///nonexistent"), "leftovers", "--remove", "--data", data)
		if status != exitFailure || out != "" || !strings.Contains(errs, want) {
			t.Errorf("exit status %d, %q, %q, want %q", status, out, errs, want)
		}
	}
}
