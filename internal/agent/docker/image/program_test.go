package image

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/agent/docker/dockertest"
)

// checkFiles is a program that prints what it finds in its image.
const checkFiles = `package main

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
`

// TestProgram makes the image of one program in several goroutines of two servers. They make one image, which runs and
// has the files that programs need.
func TestProgram(t *testing.T) {
	engine := dockertest.Engine(t)
	program := dockertest.Build(t, checkFiles)
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
			t.Errorf("one program has several images: %v", ids)
		}
	}
	want := "dtrwxrwxrwx <nil>\n65534 65534 <nil>\n0 <nil>\n" + strconv.FormatBool(certificates() != nil)
	if got := dockertest.Run(t, engine, ids[0], "rollcall"); got != want {
		t.Errorf("the container prints %q, want %q", got, want)
	}
	// The sample is this image, also if the engine has another image of that name.
	failOnPull := func() { t.Error("the sample is pulled") }
	if err := servers[0].Prepare(t.Context(), "rollcall/sample", nil, failOnPull); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"rollcall/sample", "docker.io/rollcall/sample:latest"} {
		if id, digest, err := servers[1].Local(t.Context(), name); err != nil || id != ids[0] || digest != id {
			t.Errorf("Local(%s) returned %s, %s, %v; want %s", name, id, digest, err, ids[0])
		}
	}
	// An image that was removed is made again.
	if _, err := engine.ImageRemove(t.Context(), ids[0], client.ImageRemoveOptions{Force: true}); err != nil {
		t.Error(err)
	} else if id, err := servers[0].Program(t.Context()); err != nil || id != ids[0] {
		t.Errorf("after the image was removed: %s, %v; want %s", id, err, ids[0])
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if id, err := servers[0].Program(ctx); err == nil && id != ids[0] {
		t.Errorf("with a canceled context: %q without an error", id)
	}
}

// TestUnusableBinary checks that a binary that cannot run in a container is rejected, with advice.
func TestUnusableBinary(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		file, want string
		advice     bool
	}{
		{"/bin/ls", "linked dynamically", true},
		{script, "not a Linux program", true},
		{"/nonexistent", "no such file", false},
	} {
		_, err := openBinary(tc.file)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want an error with %q", tc.file, err, tc.want)
		}
		if err != nil && strings.Contains(err.Error(), "CGO_ENABLED=0") != tc.advice {
			t.Errorf("%s: error %q suggests another build: want %v", tc.file, err, tc.advice)
		}
	}
}
