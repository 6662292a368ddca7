package docker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent/docker/dockertest"

	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/containerlog"
)

// TestLogGoesOn: every line is there once and in its order, also when the runtime is replaced while the container prints.
func TestLogGoesOn(t *testing.T) {
	t.Parallel()
	r, dir, networks := fresh(t)
	for _, tty := range []bool{false, true} {
		spec := task(agent.NetworkNone, one("main", "slowly"))
		spec.Containers[0].Options.TTY = tty
		launch(t, r, spec)
		seen := func(n int) func() bool {
			return func() bool { return strings.Count(printed(r, spec.ID, "main"), "\n") >= n }
		}
		dockertest.Eventually(t, "it prints", seen(50))
		for n := range 3 {
			letGo(t, r)
			r = open(t, dir, "", networks)
			dockertest.Eventually(t, "it goes on", seen(150+100*n))
		}
		if err := r.StopContainer(t.Context(), spec.ID, "main", 0); err != nil {
			t.Fatal(err)
		}
		folder := containerlog.Folder(containerlog.Root(dir), spec.ID, "main")
		dockertest.Eventually(t, "it is known that nothing more comes", func() bool { return containerlog.Ended(folder) })
		all := strings.Split(strings.TrimSpace(strings.ReplaceAll(printed(r, spec.ID, "main"), "\r", "")), "\n")
		for n, line := range all {
			if want := fmt.Sprint("line ", n); line != want && n < len(all)-1 { // the last may be cut
				t.Fatalf("with a terminal %v, after %q comes %q", tty, all[max(0, n-1)], line)
			}
		}
	}
	letGo(t, r)
}

// TestLogFlood: a container that prints a lot is not held up, and what is kept of it is bounded, the newest last.
func TestLogFlood(t *testing.T) {
	t.Parallel()
	r, dir, _ := fresh(t)
	const lines = 400000
	spec := task(agent.NetworkNone, one("main", "count", fmt.Sprint(lines)))
	launch(t, r, spec)
	last := fmt.Sprintf("line %d\n", lines-1)
	dockertest.Eventually(t, "the last line is there", func() bool { return strings.HasSuffix(printed(r, spec.ID, "main"), last) })
	if err := r.Remove(t.Context(), spec.ID); err != nil {
		t.Fatal(err)
	}
	_, _, size, _, err := containerlog.Span(containerlog.Folder(containerlog.Root(dir), spec.ID, "main"))
	if err != nil || size > 4*containerlog.MaxFile {
		t.Errorf("%d bytes are kept, %v; want at most %d", size, err, 4*containerlog.MaxFile)
	}
	letGo(t, r)
}

// TestUnreadableLog: what a log driver takes elsewhere is not shown, and holds up nothing.
func TestUnreadableLog(t *testing.T) {
	t.Parallel()
	r, dir, _ := fresh(t)
	spec := task(agent.NetworkNone, one("main", "slowly"))
	spec.Containers[0].Options.LogDriver = "none"
	launch(t, r, spec)
	began := time.Now()
	if err := r.Remove(t.Context(), spec.ID); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took >= logsWithin {
		t.Errorf("removing it took %v", took)
	}
	if !containerlog.Ended(containerlog.Folder(containerlog.Root(dir), spec.ID, "main")) {
		t.Error("its log is not known to have ended")
	}
	letGo(t, r)
}

// TestLogAfterRemoval: the lines of a container that somebody else removed are kept as far as they were read.
func TestLogAfterRemoval(t *testing.T) {
	t.Parallel()
	r, dir, _ := fresh(t)
	spec := task(agent.NetworkNone, one("main", "count", "5"))
	launch(t, r, spec)
	want := []string{"line 0", "line 1", "line 2", "line 3", "line 4", ""}
	dockertest.Eventually(t, "its lines are there", func() bool { return slices.Equal(strings.Split(printed(r, spec.ID, "main"), "\n"), want) })
	if _, err := dockertest.Engine(t).ContainerRemove(t.Context(), r.find(spec.ID).engineID("main"), client.ContainerRemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	await(t, r, spec.ID, "main", "ended", ended)
	folder := containerlog.Folder(containerlog.Root(dir), spec.ID, "main")
	dockertest.Eventually(t, "it is known that nothing more comes", func() bool { return containerlog.Ended(folder) })
	letGo(t, r)
}
