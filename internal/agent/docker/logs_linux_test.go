package docker

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/docker/dockertest"
	"github.com/bakingclouds/rollcall/internal/containerlog"
)

func logFolder(dir string, spec agent.TaskSpec) string {
	return containerlog.Folder(containerlog.Root(dir), spec.ID, "main")
}

func awaitLogEnd(t *testing.T, folder string) {
	t.Helper()
	dockertest.Eventually(t, "the log has ended", func() bool { return containerlog.Ended(folder) })
}

// TestLogAcrossRuntimes replaces the runtime while a container prints. Each line is in the log once, in order.
func TestLogAcrossRuntimes(t *testing.T) {
	t.Parallel()
	r, dir, networks := newRuntime(t)
	for _, tty := range []bool{false, true} {
		spec := newTask(agent.NetworkNone, containerSpec("main", "slowly"))
		spec.Containers[0].Options.TTY = tty
		run(t, r, spec)
		awaitLines := func(n int) {
			t.Helper()
			dockertest.Eventually(t, fmt.Sprintf("the log has %d lines", n), func() bool {
				return strings.Count(logOf(r, spec.ID, "main"), "\n") >= n
			})
		}
		awaitLines(50)
		for n := range 3 {
			closeRuntime(t, r)
			r = openRuntime(t, dir, "", networks)
			awaitLines(150 + 100*n)
		}
		if err := r.StopContainer(t.Context(), spec.ID, "main", 0); err != nil {
			t.Fatal(err)
		}
		awaitLogEnd(t, logFolder(dir, spec))
		all := strings.Split(strings.TrimSpace(strings.ReplaceAll(logOf(r, spec.ID, "main"), "\r", "")), "\n")
		for n, line := range all {
			if want := fmt.Sprint("line ", n); line != want && n < len(all)-1 { // the last line may be cut
				t.Fatalf("with tty %v, line %d is %q after %q, want %q", tty, n, line, all[max(0, n-1)], want)
			}
		}
	}
	closeRuntime(t, r)
}

// TestLogLimit runs a container that prints more than the log may hold. The container is not slowed down, and the log
// keeps the newest lines.
func TestLogLimit(t *testing.T) {
	t.Parallel()
	r, dir, _ := newRuntime(t)
	const lines = 400000
	spec := newTask(agent.NetworkNone, containerSpec("main", "count", fmt.Sprint(lines)))
	run(t, r, spec)
	last := fmt.Sprintf("line %d\n", lines-1)
	dockertest.Eventually(t, "the log ends with the last line", func() bool {
		return strings.HasSuffix(logOf(r, spec.ID, "main"), last)
	})
	if err := r.Remove(t.Context(), spec.ID); err != nil {
		t.Fatal(err)
	}
	_, _, size, _, err := containerlog.Span(logFolder(dir, spec))
	if err != nil || size > 4*containerlog.MaxFile {
		t.Errorf("the log has %d bytes, %v; want at most %d", size, err, 4*containerlog.MaxFile)
	}
	closeRuntime(t, r)
}

// TestLogOfUnreadableDriver checks that the log of a container whose log driver cannot be read ends with the container,
// so that the removal of the task does not wait for it.
func TestLogOfUnreadableDriver(t *testing.T) {
	t.Parallel()
	r, dir, _ := newRuntime(t)
	spec := newTask(agent.NetworkNone, containerSpec("main", "slowly"))
	spec.Containers[0].Options.LogDriver = "none"
	run(t, r, spec)
	if err := r.StopContainer(t.Context(), spec.ID, "main", 0); err != nil {
		t.Fatal(err)
	}
	awaitLogEnd(t, logFolder(dir, spec))
	if err := r.Remove(t.Context(), spec.ID); err != nil {
		t.Fatal(err)
	}
	closeRuntime(t, r)
}

// TestLogAfterRemoval removes a container outside of Rollcall. The log keeps the lines that were copied, and ends.
func TestLogAfterRemoval(t *testing.T) {
	t.Parallel()
	r, dir, _ := newRuntime(t)
	spec := newTask(agent.NetworkNone, containerSpec("main", "count", "5"))
	run(t, r, spec)
	want := []string{"line 0", "line 1", "line 2", "line 3", "line 4", ""}
	dockertest.Eventually(t, "the log has all lines", func() bool {
		return slices.Equal(strings.Split(logOf(r, spec.ID, "main"), "\n"), want)
	})
	id := r.find(spec.ID).engineID("main")
	_, err := dockertest.Engine(t).ContainerRemove(t.Context(), id, client.ContainerRemoveOptions{Force: true})
	if err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, r, spec.ID, "main")
	awaitLogEnd(t, logFolder(dir, spec))
	closeRuntime(t, r)
}
