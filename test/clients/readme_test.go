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
	// oldCLI is what the documents tell users of an old AWS CLI to say.
	oldCLI = regexp.MustCompile("`(aws\\(\\) {[^`]*})`")
)

// shell is a user who follows documents: all their sh blocks, in order, in one bash that ends at the first
// failure, in a folder with the examples and no binary yet.
type shell struct {
	t       *testing.T
	dir     string
	aws     awsCLI
	runtime string
	script  strings.Builder
	blocks  []string
	output  []string // of each block
}

const (
	// The documents name the default DNS port, which may be taken here: dig asks the one that the server has got. And
	// as ECS counts, a service can be stable before its tasks have passed their first health checks, which a reader
	// is too slow to see.
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

// newShell starts nothing yet.
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

// say adds commands that are in no document.
func (s *shell) say(commands string) { s.script.WriteString(commands) }

// follow adds the blocks of a document. After its first block, which points the AWS CLI at the server, an old
// CLI is dealt with as the document says.
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

// run runs all that was added, at the end of which the server is being stopped.
func (s *shell) run() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Minute)
	defer cancel()
	s.say("trap wait EXIT\n")
	data := filepath.Join(s.dir, ".rollcall")
	cmd := exec.CommandContext(ctx, "bash", "-c", s.script.String())
	cmd.Dir = s.dir
	cmd.Env = harness.UserEnviron("PATH="+s.aws.path, "BUILT="+harness.BuiltBinary(s.t), "ROLLCALL_API=127.0.0.1:0", "ROLLCALL_DNS=127.0.0.1:0", "ROLLCALL_RUNTIME="+s.runtime,
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
		s.output = append(s.output, output)
	}
	if err != nil || len(s.output) != len(s.blocks) {
		last := "nothing"
		if len(s.output) > 0 {
			last = s.blocks[len(s.output)-1]
		}
		s.t.Fatalf("%v, in:\n%s\nstdout:\n%s\nstderr:\n%s", err, last, &stdout, &stderr)
	}
	if s.t.Failed() {
		s.t.Logf("stderr:\n%s", &stderr)
	}
}

// said is the output of the one block that contains a command.
func (s *shell) said(command string) string {
	s.t.Helper()
	i := slices.IndexFunc(s.blocks, func(b string) bool { return strings.Contains(b, command) })
	if i < 0 {
		s.t.Fatalf("no document says %q any more", command)
	}
	return s.output[i]
}

// TestReadme follows the tour of README.md to its end, with processes and with containers.
func TestReadme(t *testing.T) {
	t.Parallel()
	eachCLI(t, func(t *testing.T, aws awsCLI) { followReadme(t, aws, "process", `127\.[0-9.]+`) })
	t.Run("docker", func(t *testing.T) {
		t.Parallel()
		harness.RequireEngine(t)
		followReadme(t, awsCLIs(t)[0], "docker", `10\.[0-9.]+`)
	})
}

// followReadme follows it with tasks that have addresses as the pattern says.
func followReadme(t *testing.T, aws awsCLI, runtime, address string) {
	s := newShell(t, aws, runtime)
	s.follow("README.md")
	s.run()
	if said := s.said("get-caller-identity"); !strings.Contains(said, `"Account": "000000000000"`) {
		t.Errorf("the account is not shown: %s", said)
	}
	two := s.said("+noall +answer")
	if got := regexp.MustCompile(`(?m)^cart\.shop\.\s+10\s+IN\s+A\s+`+address+`$`).FindAllString(two, -1); len(got) != 2 || got[0] == got[1] {
		t.Errorf("want two addresses with a TTL of 10:\n%s", two)
	}
	five := s.said("--desired-count 5")
	got := regexp.MustCompile(`(?m)^`+address+`$`).FindAllString(five, -1)
	slices.Sort(got)
	if got = slices.Compact(got); len(got) != 5 {
		t.Errorf("want five addresses:\n%s", five)
	}
	for _, address := range got {
		if !strings.Contains(five, fmt.Sprintf(`"AWS_INSTANCE_IPV4": "%s"`, address)) {
			t.Errorf("discover-instances does not show %s:\n%s", address, five)
		}
	}
	if said := s.said("delete-namespace"); !strings.Contains(said, `"status": "DRAINING"`) && !strings.Contains(said, `"status": "INACTIVE"`) || !strings.Contains(said, "OperationId") {
		t.Errorf("want the service on its way out, and the operation that deletes the namespace:\n%s", said)
	}
}

// TestExamples follows the examples: first with the built-in samples, then rolled to Python.
func TestExamples(t *testing.T) {
	t.Parallel()
	s := newShell(t, awsCLIs(t)[0], "process")
	s.say("make build\nbin/rollcall serve &\nbin/rollcall env --wait 30s >/dev/null\n")
	s.follow("examples/README.md")
	inPython := haveFlask() && harness.CheckTaskResolver(t) == nil // TestFlaskOnServer says what is missing
	if inPython {
		s.follow("examples/flask/README.md")
	}
	s.say("kill %1\n")
	s.run()
	work := regexp.MustCompile(`(?m)^Worker Message: 1229 primes below 10000 From: 127\.[0-9.]+$`)
	if said := s.said("--desired-count 2"); !work.MatchString(said) {
		t.Errorf("no work was done:\n%s", said)
	}
	if !inPython {
		return
	}
	if said := s.said("curl -i"); !work.MatchString(said) {
		t.Errorf("no work was done in Python:\n%s", said)
	}
	if said := s.said("curl -i"); !strings.Contains(said, "Server: Werkzeug") {
		t.Errorf("the backend is not the one in Python:\n%s", said)
	}
}
