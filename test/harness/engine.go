package harness

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Engine is a Docker Engine, which the tests ask by Docker's own command line.
type Engine struct{ Host string } // empty: the machine's

// Command is docker's command line.
func (e *Engine) Command(args ...string) *exec.Cmd {
	if e.Host != "" {
		args = append([]string{"-H", e.Host}, args...)
	}
	return exec.Command("docker", args...)
}

// Try runs docker and returns what it prints, without the last newline.
func (e *Engine) Try(args ...string) (string, error) {
	out, err := e.Command(args...).CombinedOutput()
	said := strings.TrimRight(string(out), "\n")
	if err != nil {
		err = fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, said)
	}
	return said, err
}

// Docker is Try, where nothing may fail.
func (e *Engine) Docker(t testing.TB, args ...string) string {
	t.Helper()
	return Must(e.Try(args...))(t)
}

// Exec runs a program in a container.
func (e *Engine) Exec(t testing.TB, container string, command ...string) string {
	t.Helper()
	return e.Docker(t, append([]string{"exec", container}, command...)...)
}

// The labels of all that is Rollcall's.
const (
	LabelData = "com.bakingclouds.rollcall.data"
	LabelTask = "com.bakingclouds.rollcall.task"
)

// Remove removes all that the engine has of a data folder.
func (e *Engine) Remove(dir string) error {
	label := "label=" + LabelData + "=" + dir
	for _, kind := range []struct{ list, remove []string }{
		{[]string{"ps", "-aq", "--no-trunc", "--filter", label}, []string{"rm", "-fv"}},
		{[]string{"network", "ls", "-q", "--no-trunc", "--filter", label}, []string{"network", "rm"}},
		{[]string{"volume", "ls", "-q", "--filter", label}, []string{"volume", "rm", "-f"}},
		{[]string{"image", "ls", "-q", "--no-trunc", "--filter", label}, []string{"rmi", "-f"}},
	} {
		ids, err := e.Try(kind.list...)
		if err != nil {
			return err
		}
		for id := range strings.FieldsSeq(ids) {
			if _, err := e.Try(append(kind.remove, id)...); err != nil && !strings.Contains(strings.ToLower(err.Error()), "no such") {
				return err
			}
		}
	}
	return nil
}

// NeedEngine ends a test that cannot run here: it takes an engine, and to be root, who may answer on port 53.
func NeedEngine(t testing.TB) {
	t.Helper()
	if _, err := (&Engine{}).Try("version", "--format", "{{.Server.Version}}"); err != nil {
		Missing(t, "a Docker Engine that answers")
	}
	if os.Getuid() != 0 {
		Missing(t, "being root, which is what answering on port 53 takes,")
	}
}
