package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bakingclouds/rollcall/internal/app"
)

// asRollcall is the variable that makes the test binary run the command line. Commands such as aws replace their
// process, so they cannot run in the process of the test.
const asRollcall = "ROLLCALL_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asRollcall) != "" {
		os.Exit(Main(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// environ returns an environment in which the commands find no running server, and no AWS CLI except those in bin.
func environ(t *testing.T, bin string, more ...string) []string {
	t.Helper()
	return append([]string{
		asRollcall + "=1", "PATH=" + bin + ":/usr/bin:/bin", "HOME=" + t.TempDir(), "XDG_DATA_HOME=" + t.TempDir(),
		"XDG_RUNTIME_DIR=" + t.TempDir(), "TMPDIR=" + t.TempDir(),
	}, more...)
}

// command prepares a run of the command line.
func command(t *testing.T, environ []string, args ...string) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.CommandContext(t.Context(), self, args...)
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	cmd.Env, cmd.Stdout, cmd.Stderr = environ, stdout, stderr
	return cmd, stdout, stderr
}

// run runs the command line to its end.
func run(t *testing.T, environ []string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	cmd, out, errs := command(t, environ, args...)
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// pretendServer writes the files of a running server to a data folder. The process id in them is that of the test.
func pretendServer(t *testing.T, dir, accessKey, secret string) {
	t.Helper()
	keys := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", accessKey, secret)
	if err := os.WriteFile(filepath.Join(dir, "credentials"), []byte(keys), 0o600); err != nil {
		t.Fatal(err)
	}
	writeInfo(t, filepath.Join(dir, "server.json"), dir, os.Getpid())
}

// writeInfo writes the file by which commands find a server. It replaces the file atomically, as a server does.
func writeInfo(t *testing.T, file, dir string, pid int) {
	t.Helper()
	info, err := json.Marshal(app.Info{
		DataDir: dir, PID: pid, API: "http://127.0.0.1:7070", DNS: []string{"127.0.0.1:7053"}, Region: "eu-west-3",
		Account: "000000000000",
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+".new", info, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// fakeAWS returns a new folder with an AWS CLI that prints its version, or its arguments and environment.
func fakeAWS(t *testing.T, version string) (bin string) {
	t.Helper()
	bin = t.TempDir()
	script := "#!/bin/sh\nif [ \"$1\" = --version ]; then echo '" + version + "'; exit; fi\n" +
		"printf 'arg %s\\n' \"$@\"; env | sed 's/^/env /'; echo failed >&2; exit 254\n"
	if err := os.WriteFile(filepath.Join(bin, "aws"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return bin
}

const (
	currentCLI = "aws-cli/2.31.2 Python/3.13.7 Linux/6.1 exe/x86_64.debian.12"
	oldCLI     = "aws-cli/2.9.19 Python/3.11.2 Linux/6.1 source/x86_64.debian.12 prompt/off"
)

// TestExitStatuses checks the contract: 0 for success, 1 for a failure, 2 for wrong usage, and one line on stderr.
func TestExitStatuses(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().String()
	for _, tc := range []struct {
		args   string
		status int
		stderr string // contained in the one line on stderr
	}{
		{"", 0, ""},
		{"help", 0, ""},
		{"version", 0, ""},
		{"serve --help", 0, ""},
		{"aws --help", 0, ""},
		{"nonsense", 2, `unknown command "nonsense"; rollcall help lists the commands`},
		{"version extra", 2, `takes no arguments, but got "extra"`},
		{"serve --nonsense", 2, "rollcall serve --help lists the flags"},
		{"serve --account 12", 2, "--account"},
		{"serve --region US", 2, "--region"},
		{"serve --runtime rkt", 2, "choose auto, docker, process or none"},
		{"serve --vpc nonsense", 2, "vpc-a=10.1.0.0/16,subnet-1"},
		{"serve --log-level loud", 2, "choose debug, info, warn or error"},
		{"serve --log-format xml", 2, "choose text or json"},
		{"serve --upstream resolver", 2, "--upstream"},
		{"serve --api 0.0.0.0:0", 2, "--runtime process"},
		{"serve --data /dev/null/data", 1, "--data"},
		{"serve --data DATA --api " + port, 1, "--api"},
		{"demo --api " + port, 1, "--api 127.0.0.1:0"},
		{"env", 1, "start one with `rollcall serve`"},
		{"env --wait 60ms", 1, "start one with `rollcall serve`"},
		{"env --wait soon", 2, "rollcall env --help lists the flags"},
		{"env --data nowhere", 1, "--data DIR"},
		{"aws sts get-caller-identity", 1, "start one with `rollcall serve`"},
		{"aws --data", 2, "--data needs a folder"},
		{"sample", 2, "sample"},
	} {
		args := strings.Fields(strings.ReplaceAll(tc.args, "DATA", t.TempDir()))
		status, stdout, stderr := run(t, environ(t, "/none"), args...)
		if status != tc.status {
			t.Errorf("rollcall %s: exit status %d, want %d; stderr: %s", tc.args, status, tc.status, stderr)
		}
		if tc.status == 0 && (stderr != "" || stdout == "") {
			t.Errorf("rollcall %s: stdout %q, stderr %q; want output on stdout only", tc.args, stdout, stderr)
		}
		if tc.status != 0 && (!strings.HasPrefix(stderr, "rollcall: ") || strings.Count(stderr, "\n") != 1 ||
			!strings.Contains(stderr, tc.stderr)) {
			t.Errorf("rollcall %s: stderr %q, want one line from rollcall that contains %q", tc.args, stderr, tc.stderr)
		}
	}
}

// TestFlagsFromEnvironment checks that each flag has a variable, and that the command line takes precedence.
func TestFlagsFromEnvironment(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ variable, args, stderr string }{
		{"ROLLCALL_ACCOUNT=12", "serve", `--account "12"`},
		{"ROLLCALL_LOG_LEVEL=loud", "serve", `--log-level "loud"`},
		{"ROLLCALL_DRAIN_CAP=long", "serve", "ROLLCALL_DRAIN_CAP"},
		{"ROLLCALL_ACCOUNT=12", "serve --account 34", `--account "34"`},
	} {
		status, _, stderr := run(t, environ(t, "/none", tc.variable), strings.Fields(tc.args)...)
		if status != exitUsage || !strings.Contains(stderr, tc.stderr) {
			t.Errorf("%s rollcall %s: exit status %d, %q; want %d and %q", tc.variable, tc.args, status, stderr, exitUsage,
				tc.stderr)
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	_, stdout, _ := run(t, environ(t, "/none"), "version")
	if fields := strings.Fields(stdout); len(fields) < 5 || fields[0] != "rollcall" ||
		!slices.Contains(fields, "commit") || !strings.Contains(stdout, " go1.") {
		t.Errorf("version prints %q; want version, commit and Go version", stdout)
	}
}
