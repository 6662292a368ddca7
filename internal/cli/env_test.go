package cli

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/app"
)

// TestSettingsInShells evaluates what `env` prints in the shells of this machine.
func TestSettingsInShells(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{
		"plain", "", "it's", "'", "''", `"double"`, "$HOME", "`id`", "$(id)", "a b\tc", "line\nbreak", `back\slash`,
		"semi;colon&|<>", "*?[a]", "~", "#", "!history", "é…", "-n",
	} {
		var script bytes.Buffer
		printSettings(&script, settings(app.Info{API: "http://127.0.0.1:7070", Region: "us-east-1"},
			awsapi.Pair{AccessKeyID: "AKIA", Secret: secret}))
		for _, shell := range []string{"sh", "bash", "dash", "zsh", "ksh"} {
			path, err := exec.LookPath(shell)
			if err != nil {
				continue
			}
			cmd := exec.CommandContext(t.Context(), path, "-c",
				`eval "$1" && printf '%s|%s|%s|%s' "$AWS_SECRET_ACCESS_KEY" "$AWS_ENDPOINT_URL" `+
					`"${AWS_PROFILE-unset}" "${AWS_PAGER-unset}"`, shell, script.String())
			cmd.Env = []string{"PATH=/usr/bin:/bin", "AWS_PROFILE=work", "AWS_PAGER=less"}
			out, err := cmd.CombinedOutput()
			if want := secret + "|http://127.0.0.1:7070|unset|"; err != nil || string(out) != want {
				t.Errorf("%s reads %q, %v; want %q", shell, out, err, want)
			}
		}
	}
}

// TestEnv checks the output of `env`, and its warning if the installed CLI does not read all of it.
func TestEnv(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pretendServer(t, dir, "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
	const want = "export AWS_ENDPOINT_URL=http://127.0.0.1:7070\n" +
		"export AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE\n" +
		"export AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY\n" +
		"export AWS_REGION=eu-west-3\n" +
		"export AWS_DEFAULT_REGION=eu-west-3\n" +
		"export AWS_DISABLE_HOST_PREFIX_INJECTION=true\n" +
		"export AWS_PAGER=''\n"
	for _, tc := range []struct {
		name, cli string
		variables []string
		args      []string
		warns     bool
	}{
		{"current AWS CLI", currentCLI, nil, []string{"--data", dir}, false},
		{"old AWS CLI", oldCLI, nil, []string{"--data", dir}, true},
		{"AWS CLI of an unknown version", "aws version unknown", nil, []string{"--data", dir}, false},
		{"data folder from the environment", currentCLI, []string{"ROLLCALL_DATA=" + dir}, nil, false},
		{"flag takes precedence over the environment", currentCLI, []string{"ROLLCALL_DATA=/nowhere"},
			[]string{"--data", dir}, false},
		{"wait while a server is running", currentCLI, nil, []string{"--data", dir, "--wait", "1m"}, false},
	} {
		status, stdout, stderr := run(t, environ(t, fakeAWS(t, tc.cli), tc.variables...),
			append([]string{"env"}, tc.args...)...)
		unset, exports, _ := strings.Cut(stdout, "\n")
		if status != 0 || exports != want || !strings.HasPrefix(unset, "unset AWS_PROFILE ") {
			t.Errorf("%s: exit status %d, stdout %q; want %q", tc.name, status, stdout, want)
		}
		if warned := strings.Contains(stderr, "use `rollcall aws …`"); warned != tc.warns || !tc.warns && stderr != "" {
			t.Errorf("%s: stderr %q; want a warning: %v", tc.name, stderr, tc.warns)
		}
	}
}

// TestEnvWaits starts `env --wait` before the server.
func TestEnvWaits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd, stdout, stderr := command(t, environ(t, fakeAWS(t, currentCLI)), "env", "--data", dir, "--wait", "1m")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pretendServer(t, dir, "AKIAIOSFODNN7EXAMPLE", "secret")
	if err := cmd.Wait(); err != nil || !strings.Contains(stdout.String(), "AKIAIOSFODNN7EXAMPLE") {
		t.Errorf("env --wait: %v, stdout %q, stderr %q; want the settings", err, stdout, stderr)
	}
}

// TestAWS checks that the AWS CLI runs with the server's settings and the user's arguments, and sets the exit status.
func TestAWS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pretendServer(t, dir, "AKIAIOSFODNN7EXAMPLE", "secret")
	bin := fakeAWS(t, currentCLI)
	user := environ(t, bin, "ROLLCALL_DATA="+dir, "AWS_PROFILE=work", "AWS_ENDPOINT_URL=https://elsewhere",
		"AWS_SESSION_TOKEN=old",
		"HTTP_PROXY=http://proxy", "NO_PROXY=*", "AWS_CA_BUNDLE=/kept")
	for _, args := range [][]string{
		{"ecs", "list-clusters", "--query", "a b"},
		{"--data", dir, "ecs", "list-clusters", "--query", "a b"},
		{"--data=" + dir, "ecs", "list-clusters", "--query", "a b"},
	} {
		status, stdout, stderr := run(t, user, append([]string{"aws"}, args...)...)
		lines := strings.Split(stdout, "\n")
		var got []string
		for _, line := range lines {
			if arg, ok := strings.CutPrefix(line, "arg "); ok {
				got = append(got, arg)
			}
		}
		if want := []string{"--endpoint-url", "http://127.0.0.1:7070", "ecs", "list-clusters", "--query",
			"a b"}; !slices.Equal(got, want) {
			t.Errorf("rollcall aws %q: the CLI got %q, want %q", args, got, want)
		}
		if status != 254 || stderr != "failed\n" {
			t.Errorf("rollcall aws %q: exit status %d, stderr %q; want 254 and \"failed\" from the CLI", args, status, stderr)
		}
		for _, want := range []string{
			"AWS_ENDPOINT_URL=http://127.0.0.1:7070", "AWS_SECRET_ACCESS_KEY=secret", "AWS_REGION=eu-west-3", "AWS_PAGER=",
			"HTTP_PROXY=http://127.0.0.1:7070", "http_proxy=http://127.0.0.1:7070", "AWS_CA_BUNDLE=/kept",
		} {
			if !slices.Contains(lines, "env "+want) {
				t.Errorf("rollcall aws %q: the CLI's environment lacks %s", args, want)
			}
		}
		for _, line := range lines {
			for _, gone := range []string{"AWS_PROFILE=", "AWS_SESSION_TOKEN=", "NO_PROXY=", "HTTP_PROXY=http://proxy"} {
				if strings.HasPrefix(line, "env "+gone) {
					t.Errorf("rollcall aws %q: the CLI's environment has %s", args, line)
				}
			}
		}
	}

	status, _, stderr := run(t, []string{asRollcall + "=1", "PATH=" + t.TempDir(), "ROLLCALL_DATA=" + dir}, "aws", "s3",
		"ls")
	if status != exitFailure || !strings.Contains(stderr, "apt-get install awscli") {
		t.Errorf("without the AWS CLI: exit status %d, stderr %q", status, stderr)
	}
}

func TestReadsSettings(t *testing.T) {
	for version, want := range map[cliVersion]bool{
		{1, 22, 34}: false, {1, 29, 0}: false, {1, 38, 9}: false, {1, 39, 0}: true, {1, 45, 11}: true,
		{2, 9, 19}: false, {2, 13, 0}: false, {2, 24, 9}: false, {2, 25, 0}: true, {2, 31, 2}: true, {3, 0, 0}: true,
	} {
		if got := version.readsSettings(); got != want {
			t.Errorf("%v: readsSettings() = %v, want %v", version, got, want)
		}
	}
}

// TestFindsServerWithoutData checks that commands without --data find a running server, and report that none is running
// after it has ended.
func TestFindsServerWithoutData(t *testing.T) {
	t.Parallel()
	dir, runtimeDir := t.TempDir(), t.TempDir()
	pretendServer(t, dir, "AKIAIOSFODNN7EXAMPLE", "secret")
	user := environ(t, fakeAWS(t, currentCLI), "XDG_RUNTIME_DIR="+runtimeDir)
	infoFile := filepath.Join(runtimeDir, fmt.Sprintf("rollcall-%d.json", os.Getuid()))

	writeInfo(t, infoFile, dir, os.Getpid())
	if status, stdout, stderr := run(t, user, "env"); status != exitOK ||
		!strings.Contains(stdout, "AKIAIOSFODNN7EXAMPLE") {
		t.Errorf("exit status %d, stdout %q, stderr %q; want the settings", status, stdout, stderr)
	}

	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	writeInfo(t, infoFile, dir, ended.Process.Pid)
	if status, stdout, stderr := run(t, user, "env"); status != exitFailure || stdout != "" ||
		!strings.Contains(stderr, "no running server found") {
		t.Errorf("after the server has ended: exit status %d, stdout %q, stderr %q; want an error", status, stdout, stderr)
	}
}
