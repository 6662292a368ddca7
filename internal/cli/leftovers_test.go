package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLeftoversOfServer checks that `leftovers` rejects a data folder on which a server runs, or may be running.
func TestLeftoversOfServer(t *testing.T) {
	dir, damaged := t.TempDir(), t.TempDir()
	pretendServer(t, dir, "key", "secret")
	if err := os.WriteFile(filepath.Join(damaged, "server.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for data, want := range map[string]string{dir: "a server is running on " + dir,
		damaged: "check whether a server is running on "} {
		status, out, errs := run(t, environ(t, t.TempDir(), "DOCKER_HOST=unix:///nonexistent"), "leftovers", "--remove",
			"--data", data)
		if status != exitFailure || out != "" || !strings.Contains(errs, want) {
			t.Errorf("exit status %d, stdout %q, stderr %q; want status 1 and the error %q", status, out, errs, want)
		}
	}
}
