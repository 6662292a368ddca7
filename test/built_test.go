package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
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
	cmd.Dir = root
	return cmd.CombinedOutput()
})

// built is the binary that a user builds. Tests need it where a file named rollcall matters, as in the health
// checks of the examples; the others are quicker with the test binary.
func built(t testing.TB) string {
	t.Helper()
	if _, err := exec.LookPath("make"); err != nil {
		missing(t, "make")
	}
	if output, err := build(); err != nil {
		t.Fatalf("make build: %v\n%s", err, output)
	}
	return filepath.Join(builtDir, "rollcall")
}

// userEnviron is this process's environment without what points AWS's clients or Rollcall's commands
// anywhere, and with more.
func userEnviron(more ...string) []string {
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

// awsCLI is an AWS CLI of this machine.
type awsCLI struct {
	version string // aws-cli/2.9.19
	path    string // of a search path on which it comes first
}

// awsCLIs lists the AWS CLIs on the search path, one of each version: on some machines an old one of the
// distribution stands behind a current one.
func awsCLIs(t *testing.T) (found []awsCLI) {
	t.Helper()
	seen := map[string]bool{}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		out, err := exec.Command(filepath.Join(dir, "aws"), "--version").CombinedOutput()
		version, _, _ := strings.Cut(string(out), " ")
		if err != nil || seen[version] || !strings.HasPrefix(version, "aws-cli/") {
			continue
		}
		seen[version] = true
		found = append(found, awsCLI{version, dir + string(filepath.ListSeparator) + os.Getenv("PATH")})
	}
	if len(found) == 0 {
		missing(t, "the AWS CLI")
	}
	return found
}
