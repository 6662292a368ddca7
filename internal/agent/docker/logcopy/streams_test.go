package logcopy

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent/docker/dockertest"
	"github.com/bakingclouds/rollcall/internal/agent/docker/image"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/containerlog"
)

// TestLogStreams: of two streams that are written at once no line is lost, none comes twice, and each keeps its order, also
// where followers are replaced meanwhile. The engine stamps the two apart, so that times fall here and there.
func TestLogStreams(t *testing.T) {
	t.Parallel()
	engine := dockertest.Engine(t)
	const lines = 20000
	program := dockertest.Build(t, fmt.Sprintf(`package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

func main() {
	var all sync.WaitGroup
	for name, f := range map[string]*os.File{"out": os.Stdout, "err": os.Stderr} {
		all.Add(1)
		go func() {
			defer all.Done()
			for n := 0; n < %d; n++ {
				fmt.Fprintf(f, "%%s %%d %%s\n", name, n, strings.Repeat("x", n%%97))
				if n%%100 == 0 {
					time.Sleep(5 * time.Millisecond)
				}
			}
		}()
	}
	all.Wait()
}
`, lines))
	i := image.NewStore(engine, program, slog.New(slog.DiscardHandler))
	image, err := i.Program(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dockertest.RemoveImage(t, engine, image) })
	id := dockertest.Create(t, engine, client.ContainerCreateOptions{Config: &container.Config{Image: image, Cmd: []string{"rollcall"}}, HostConfig: &container.HostConfig{NetworkMode: "none"}})
	t.Cleanup(func() { // before the image
		_, _ = engine.ContainerRemove(context.Background(), id, client.ContainerRemoveOptions{Force: true})
	})
	dockertest.Start(t, engine, id)
	folder := t.TempDir()
	size := func() int64 {
		_, _, n, _, err := containerlog.Span(folder)
		if err != nil {
			return 0 // it is just being written
		}
		return n
	}
	f := New(engine, slog.Default())
	f.Start("t", "c", id, folder, false)
	for n := range 4 {
		dockertest.Eventually(t, "it is copied", func() bool { return size() > int64(n+1)*100_000 })
		f.Close()
		f = New(engine, slog.Default())
		f.Start("t", "c", id, folder, false)
	}
	if status := dockertest.AwaitEnd(t, engine, id); status != 0 {
		t.Fatalf("it ends with %d", status)
	}
	f.Wait("t", "c", time.Minute)
	f.Close()
	if !containerlog.Ended(folder) {
		t.Fatal("the log has not ended")
	}
	next := map[string]int{"out": 0, "err": 0}
	for pos := int64(0); ; {
		got, more, err := containerlog.Read(folder, pos)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range got {
			words := strings.Fields(string(l.Text))
			if len(words) < 2 || words[1] != fmt.Sprint(next[words[0]]) {
				t.Fatalf("%.60q comes where line %v should", l.Text, next)
			}
			next[words[0]]++
		}
		if more == pos {
			break
		}
		pos = more
	}
	if next["out"] != lines || next["err"] != lines {
		t.Errorf("%v lines are there, want %d of each", next, lines)
	}
}
