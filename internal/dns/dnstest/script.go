package dnstest

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the scripts in testdata anew from what their commands print")

const rule = "----"

// Run runs each script that the pattern names as a subtest. start begins a script and returns what carries
// out its commands: do gets a block's text above the rule without comments, and returns what it prints.
func Run(t *testing.T, pattern string, start func(t *testing.T) (do func(t *testing.T, command string) string)) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no script matches %s (%v)", pattern, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
		t.Run(name, func(t *testing.T) { runScript(t, file, start(t)) })
	}
}

func runScript(t *testing.T, file string, do func(*testing.T, string) string) {
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, block := range strings.Split(strings.TrimSpace(string(raw)), "\n\n") {
		command, want, isCommand := strings.Cut(block+"\n", rule+"\n")
		if !isCommand {
			out = append(out, block) // a paragraph of comment
			continue
		}
		got := strings.TrimSpace(do(t, withoutComments(command)))
		if want = strings.TrimSpace(want); got != want && !*update {
			t.Errorf("%s: %sgot\n%s\nwant\n%s\n(-update takes what it got)", file, command, got, want)
		}
		out = append(out, strings.TrimSpace(command+rule+"\n"+got))
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
