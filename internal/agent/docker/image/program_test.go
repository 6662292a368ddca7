package image

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/bakingclouds/rollcall/internal/agent/docker/dockertest"

	"github.com/moby/moby/client"
)

// TestOwnImage: many at once, of two servers, make one image, which runs, and has what programs look for.
func TestOwnImage(t *testing.T) {
	engine := dockertest.Engine(t)
	program := dockertest.Build(t, `package main

import (
	"fmt"
	"os"
	"os/user"
)

func main() {
	tmp, err := os.Stat("/tmp")
	fmt.Println(tmp.Mode(), err)
	u, err := user.Lookup("nobody")
	fmt.Println(u.Uid, u.Gid, err)
	g, err := user.LookupGroup("root")
	fmt.Println(g.Gid, err)
	_, err = os.Stat("/etc/ssl/certs/ca-certificates.crt")
	fmt.Println(err == nil)
}
`)
	servers := []*Store{NewStore(engine, program, slog.Default()), NewStore(engine, program, slog.Default())}
	ids := make([]string, 6)
	var all sync.WaitGroup
	for n := range ids {
		all.Go(func() {
			var err error
			if ids[n], err = servers[n%2].Program(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	t.Cleanup(func() { dockertest.RemoveImage(t, engine, ids[0]) })
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("there are two images of one program: %v", ids)
		}
	}
	want := "dtrwxrwxrwx <nil>\n65534 65534 <nil>\n0 <nil>\n" + map[bool]string{true: "true", false: "false"}[certificates() != nil]
	if got := dockertest.Run(t, engine, ids[0], "rollcall"); got != want {
		t.Errorf("the container prints %q, want %q", got, want)
	}
	// The sample is this image, whatever else has the name in the engine.
	if err := servers[0].Prepare(t.Context(), "rollcall/sample", nil, func() { t.Error("the sample is pulled") }); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"rollcall/sample", "docker.io/rollcall/sample:latest"} {
		if id, digest, err := servers[1].Local(t.Context(), name); err != nil || id != ids[0] || digest != id {
			t.Errorf("%s is %s, %s, %v, want %s", name, id, digest, err, ids[0])
		}
	}
	// Removed by somebody, it is made again.
	if _, err := engine.ImageRemove(t.Context(), ids[0], client.ImageRemoveOptions{Force: true}); err == nil {
		if id, err := servers[0].Program(t.Context()); err != nil || id != ids[0] {
			t.Errorf("made again it is %s, %v", id, err)
		}
	} else {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if id, err := servers[0].Program(ctx); err == nil && id != ids[0] {
		t.Errorf("who has given up gets %q and no error", id)
	}
}

// TestNoOwnImage: what could not run in a container is refused with what to do.
func TestNoOwnImage(t *testing.T) {
	text := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"/bin/ls": "linked dynamically", text: "not a Linux program", "/nonexistent": "no such file"} {
		_, err := openBinary(name)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
		if err != nil && name != "/nonexistent" && !strings.Contains(err.Error(), "CGO_ENABLED=0") {
			t.Errorf("%s: %v does not say what to do", name, err)
		}
	}
}
