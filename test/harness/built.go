package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/bakingclouds/rollcall/test/harness/source"
)

// builtDir is the folder of the binary that a user builds, or empty as long as no test has asked for it.
var builtDir string

// build runs `make build` once for all tests.
var build = sync.OnceValues(func() (output []byte, err error) {
	if builtDir, err = os.MkdirTemp("", "rollcall-built-"); err != nil {
		return nil, err
	}
	if err := os.Chmod(builtDir, 0o755); err != nil { // other users run it too
		return nil, err
	}
	cmd := exec.Command("make", "build", "BIN="+builtDir)
	cmd.Dir = source.Root()
	return cmd.CombinedOutput()
})

// CleanUp removes the binary that Built made. A TestMain calls it after the last test.
func CleanUp() {
	if builtDir != "" {
		os.RemoveAll(builtDir)
	}
}

// Built is the binary that a user builds. Tests need it where a file named rollcall matters, as in the health
// checks of the examples; the others are quicker with the test binary.
func Built(t testing.TB) string {
	t.Helper()
	if _, err := exec.LookPath("make"); err != nil {
		Missing(t, "make")
	}
	if output, err := build(); err != nil {
		t.Fatalf("make build: %v\n%s", err, output)
	}
	return filepath.Join(builtDir, "rollcall")
}

// UserEnviron is this process's environment without what points AWS's clients or Rollcall's commands
// anywhere, and with more.
func UserEnviron(more ...string) []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(strings.ToUpper(kv), "=")
		if strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "ROLLCALL_") || strings.HasSuffix(name, "_PROXY") || name == "XDG_RUNTIME_DIR" {
			continue
		}
		env = append(env, kv)
	}
	env = append(env, "AWS_CONFIG_FILE=/nonexistent", "AWS_SHARED_CREDENTIALS_FILE=/nonexistent", "AWS_EC2_METADATA_DISABLED=true")
	return append(env, more...)
}
