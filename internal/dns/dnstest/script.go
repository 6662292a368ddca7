package dnstest

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "replace the expected output in the scripts of testdata by the actual output")

// separator separates a command from its expected output.
const separator = "----"

// Run runs each script whose file name matches the pattern as a subtest. start is called for each script. It returns a
// function that executes the script's commands: do receives the command of a block without comments, and returns the
// output.
func Run(t *testing.T, pattern string, start func(t *testing.T) (do func(t *testing.T, command string) string)) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no script matches %s: %v", pattern, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
		t.Run(name, func(t *testing.T) { runScript(t, file, start(t)) })
	}
}

func runScript(t *testing.T, file string, do func(*testing.T, string) string) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, block := range strings.Split(strings.TrimSpace(string(raw)), "\n\n") {
		command, want, isCommand := strings.Cut(block+"\n", separator+"\n")
		if !isCommand {
			out = append(out, block) // a paragraph of comment
			continue
		}
		got := strings.TrimSpace(do(t, withoutComments(command)))
		if want = strings.TrimSpace(want); got != want && !*update {
			t.Errorf("%s: %sgot\n%s\nwant\n%s\n(run the test with -update to accept the actual output)",
				file, command, got, want)
		}
		out = append(out, strings.TrimSpace(command+separator+"\n"+got))
	}
	if *update {
		if err := os.WriteFile(file, []byte(strings.Join(out, "\n\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func withoutComments(command string) string {
	var lines []string
	for _, line := range strings.Split(command, "\n") {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}
