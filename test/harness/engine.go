package harness

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Engine is a Docker Engine, which the tests control with Docker's command line.
type Engine struct{ Host string } // if empty, the machine's

// Command returns a run of the docker command line.
func (e *Engine) Command(args ...string) *exec.Cmd {
	if e.Host != "" {
		args = append([]string{"-H", e.Host}, args...)
	}
	return exec.Command("docker", args...)
}

// TryCommand runs docker and returns its output without the last newline.
func (e *Engine) TryCommand(args ...string) (string, error) {
	out, err := e.Command(args...).CombinedOutput()
	text := strings.TrimRight(string(out), "\n")
	if err != nil {
		err = fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, text)
	}
	return text, err
}

// MustCommand runs docker as TryCommand does, and fails the test if docker fails.
func (e *Engine) MustCommand(t testing.TB, args ...string) string {
	t.Helper()
	return Must(e.TryCommand(args...))(t)
}

// Exec runs a program in a container and returns its output.
func (e *Engine) Exec(t testing.TB, container string, command ...string) string {
	t.Helper()
	return e.MustCommand(t, append([]string{"exec", container}, command...)...)
}

// The labels of every object that Rollcall creates in an engine.
const (
	LabelData = "com.bakingclouds.rollcall.data"
	LabelTask = "com.bakingclouds.rollcall.task"
)

// Remove removes everything that the engine has of a data folder.
func (e *Engine) Remove(dir string) error {
	label := "label=" + LabelData + "=" + dir
	for _, kind := range []struct{ list, remove []string }{
		{[]string{"ps", "-aq", "--no-trunc", "--filter", label}, []string{"rm", "-fv"}},
		{[]string{"network", "ls", "-q", "--no-trunc", "--filter", label}, []string{"network", "rm"}},
		{[]string{"volume", "ls", "-q", "--filter", label}, []string{"volume", "rm", "-f"}},
		{[]string{"image", "ls", "-q", "--no-trunc", "--filter", label}, []string{"rmi", "-f"}},
	} {
		ids, err := e.TryCommand(kind.list...)
		if err != nil {
			return err
		}
		for id := range strings.FieldsSeq(ids) {
			if err := e.removeOne(append(kind.remove, id)); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeOne removes one object. On a busy machine an engine may need several attempts: for a moment after a process has
// ended, its container's file system is still in use.
func (e *Engine) removeOne(command []string) error {
	watch := StartStopwatch()
	for {
		_, err := e.TryCommand(command...)
		if err == nil || strings.Contains(strings.ToLower(err.Error()), "no such") {
			return nil
		}
		if watch.Unstalled() > 20*time.Second {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// RequireEngine skips a test that cannot run here: it needs an engine, and root, which may answer on port 53.
func RequireEngine(t testing.TB) {
	t.Helper()
	if _, err := (&Engine{}).TryCommand("version", "--format", "{{.Server.Version}}"); err != nil {
		SkipMissing(t, "a Docker Engine that answers")
	}
	if os.Getuid() != 0 {
		SkipMissing(t, "the permission to answer on port 53, which root has,")
	}
}
