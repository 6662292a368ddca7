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

// builtDir is the folder of the binary that a user builds. It is empty until a test needs it.
var builtDir string

// build runs `make build` once for all tests of the process.
var build = sync.OnceValues(func() (output []byte, err error) {
	if builtDir, err = os.MkdirTemp("", "rollcall-built-"); err != nil {
		return nil, err
	}
	if err := os.Chmod(builtDir, 0o755); err != nil { // the tests of the demo run it as another user
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

// BuiltBinary returns the binary that a user builds. Tests need it where a file named rollcall must exist, as in the
// health checks of the examples. The other tests use the test binary, which needs no second build.
func BuiltBinary(t testing.TB) string {
	t.Helper()
	if _, err := exec.LookPath("make"); err != nil {
		SkipMissing(t, "make")
	}
	if output, err := build(); err != nil {
		t.Fatalf("make build: %v\n%s", err, output)
	}
	return filepath.Join(builtDir, "rollcall")
}

// UserEnviron returns this process's environment without the variables that configure AWS's clients, Rollcall's
// commands or proxies, and with the variables in more.
func UserEnviron(more ...string) []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(strings.ToUpper(kv), "=")
		if strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "ROLLCALL_") ||
			strings.HasSuffix(name, "_PROXY") || name == "XDG_RUNTIME_DIR" {
			continue
		}
		env = append(env, kv)
	}
	env = append(env, "AWS_CONFIG_FILE=/nonexistent", "AWS_SHARED_CREDENTIALS_FILE=/nonexistent",
		"AWS_EC2_METADATA_DISABLED=true")
	return append(env, more...)
}
