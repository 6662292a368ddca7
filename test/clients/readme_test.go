package clients

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/test/harness"
	"github.com/bakingclouds/rollcall/test/harness/source"
)

var (
	shBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")
	// oldCLI matches the command that the documents have for users of an old AWS CLI.
	oldCLI = regexp.MustCompile("`(aws\\(\\) {[^`]*})`")
)

// shell follows documents as a reader does: it runs all their sh blocks, in order, in one bash that ends at the first
// failure. Its folder has the examples and no binary.
type shell struct {
	t       *testing.T
	dir     string
	aws     awsCLI
	runtime string
	script  strings.Builder
	blocks  []string
	outputs []string // the output of each block
}

const (
	// The documents name the default DNS port, which may be in use here, so dig queries the port that the server has.
	// For ECS a service may be stable before its tasks have passed their first health check, so dig waits for that; a
	// reader is never fast enough to notice.
	shellStart = `set -euo pipefail
trap 'kill %1; wait' EXIT
make() { [ "$*" = build ] && mkdir -p bin && cp "$BUILT" bin/rollcall; }
dig() {
  port=$(sed -n 's/^ *"127.0.0.1:\([0-9]*\)".*/\1/p' .rollcall/server.json)
  until bin/rollcall status | awk '$1 ~ "^[^/]+/[^/]+/[^/]+$" && $2 != $4 { exit 1 }'; do :; done
  args=(); for arg; do args+=("${arg/#7053/$port}"); done
  command dig "${args[@]}"
}
`
	blockMark = "==== block "
)

// newShell returns a shell that has not been started.
func newShell(t *testing.T, aws awsCLI, runtime string) *shell {
	t.Helper()
	for _, tool := range []string{"bash", "dig", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			harness.SkipMissing(t, tool)
		}
	}
	s := &shell{t: t, dir: t.TempDir(), aws: aws, runtime: runtime}
	examples, err := filepath.Abs(filepath.Join(source.Root(), "examples"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(examples, filepath.Join(s.dir, "examples")); err != nil {
		t.Fatal(err)
	}
	s.script.WriteString(shellStart)
	return s
}

// add adds commands that are in no document.
func (s *shell) add(commands string) { s.script.WriteString(commands) }

// follow adds the blocks of a document. After its first block, which points the AWS CLI at the server, it does what the
// document describes for an old CLI.
func (s *shell) follow(file string) {
	s.t.Helper()
	text, _ := source.ReadText(s.t, file)
	for i, m := range shBlock.FindAllStringSubmatch(text, -1) {
		fmt.Fprintf(&s.script, "echo '%s%d'\n%s", blockMark, len(s.blocks), m[1])
		s.blocks = append(s.blocks, m[1])
		if remedy := oldCLI.FindStringSubmatch(text); i == 0 && remedy != nil {
			fmt.Fprintf(&s.script, "if bin/rollcall env 2>&1 >/dev/null | grep -q 'too old'; then %s; fi\n", remedy[1])
		}
	}
}

// run runs all commands. At their end the server is being stopped.
func (s *shell) run() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Minute)
	defer cancel()
	s.add("trap wait EXIT\n")
	data := filepath.Join(s.dir, ".rollcall")
	cmd := exec.CommandContext(ctx, "bash", "-c", s.script.String())
	cmd.Dir = s.dir
	cmd.Env = harness.UserEnviron("PATH="+s.aws.path, "BUILT="+harness.BuiltBinary(s.t), "ROLLCALL_API=127.0.0.1:0",
		"ROLLCALL_DNS=127.0.0.1:0", "ROLLCALL_RUNTIME="+s.runtime,
		"ROLLCALL_DATA="+data, "XDG_RUNTIME_DIR="+s.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the server is in the shell's group
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	s.t.Cleanup(func() {
		if s.runtime == "docker" {
			if err := (&harness.Engine{}).Remove(data); err != nil {
				s.t.Error(err)
			}
			return
		}
		harness.EndTasks(s.t, data)
	})
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	parts := strings.Split("\n"+stdout.String(), "\n"+blockMark)
	for _, part := range parts[1:] {
		_, output, _ := strings.Cut(part, "\n")
		s.outputs = append(s.outputs, output)
	}
	if err != nil || len(s.outputs) != len(s.blocks) {
		last := "no block"
		if len(s.outputs) > 0 {
			last = s.blocks[len(s.outputs)-1]
		}
		s.t.Fatalf("%v, in:\n%s\nstdout:\n%s\nstderr:\n%s", err, last, &stdout, &stderr)
	}
	if s.t.Failed() {
		s.t.Logf("stderr:\n%s", &stderr)
	}
}

// output returns the output of the block that contains a command.
func (s *shell) output(command string) string {
	s.t.Helper()
	i := slices.IndexFunc(s.blocks, func(b string) bool { return strings.Contains(b, command) })
	if i < 0 {
		s.t.Fatalf("no document has the command %q", command)
	}
	return s.outputs[i]
}

// TestReadme follows README.md, with processes and with containers.
func TestReadme(t *testing.T) {
	t.Parallel()
	eachCLI(t, func(t *testing.T, aws awsCLI) {
		t.Helper()
		followReadme(t, aws, "process", `127\.[0-9.]+`)
	})
	t.Run("docker", func(t *testing.T) {
		t.Parallel()
		harness.RequireEngine(t)
		followReadme(t, awsCLIs(t)[0], "docker", `10\.[0-9.]+`)
	})
}

// followReadme follows README.md. Tasks have addresses that match the pattern.
func followReadme(t *testing.T, aws awsCLI, runtime, address string) {
	t.Helper()
	s := newShell(t, aws, runtime)
	s.follow("README.md")
	s.run()
	if output := s.output("get-caller-identity"); !strings.Contains(output, `"Account": "000000000000"`) {
		t.Errorf("get-caller-identity does not show the account: %s", output)
	}
	two := s.output("+noall +answer")
	record := regexp.MustCompile(`(?m)^cart\.shop\.\s+10\s+IN\s+A\s+` + address + `$`)
	if got := record.FindAllString(two, -1); len(got) != 2 || got[0] == got[1] {
		t.Errorf("dig does not print two addresses with a TTL of 10:\n%s", two)
	}
	five := s.output("--desired-count 5")
	got := regexp.MustCompile(`(?m)^`+address+`$`).FindAllString(five, -1)
	slices.Sort(got)
	if got = slices.Compact(got); len(got) != 5 {
		t.Errorf("dig does not print five addresses:\n%s", five)
	}
	for _, address := range got {
		if !strings.Contains(five, fmt.Sprintf(`"AWS_INSTANCE_IPV4": "%s"`, address)) {
			t.Errorf("discover-instances does not show %s:\n%s", address, five)
		}
	}
	if output := s.output("delete-namespace"); !strings.Contains(output, `"status": "DRAINING"`) &&
		!strings.Contains(output, `"status": "INACTIVE"`) || !strings.Contains(output, "OperationId") {
		t.Errorf("want a service that is being deleted, and the operation that deletes the namespace:\n%s", output)
	}
}

// TestExamples follows examples/README.md with the built-in samples, and then the Flask examples with Python.
func TestExamples(t *testing.T) {
	t.Parallel()
	s := newShell(t, awsCLIs(t)[0], "process")
	s.add("make build\nbin/rollcall serve &\nbin/rollcall env --wait 30s >/dev/null\n")
	s.follow("examples/README.md")
	inPython := haveFlask() && harness.CheckTaskResolver(t) == nil // TestFlaskTasks reports the reason otherwise
	if inPython {
		s.follow("examples/flask/README.md")
	}
	s.add("kill %1\n")
	s.run()
	work := regexp.MustCompile(`(?m)^Worker Message: 1229 primes below 10000 From: 127\.[0-9.]+$`)
	if output := s.output("--desired-count 2"); !work.MatchString(output) {
		t.Errorf("the worker did no work:\n%s", output)
	}
	if !inPython {
		return
	}
	if output := s.output("curl -i"); !work.MatchString(output) {
		t.Errorf("the Python worker did no work:\n%s", output)
	}
	if output := s.output("curl -i"); !strings.Contains(output, "Server: Werkzeug") {
		t.Errorf("the backend is not the Python one:\n%s", output)
	}
}
