// Package dockertest is for tests that use this machine's Docker Engine: it builds programs for containers, runs them,
// and serves images as a registry does.
//
// [Engine] comes first: it skips the test if there is no engine.
package dockertest

import (
	"bytes"
	"context"
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"
)

// Engine returns this machine's engine. If there is none it skips the test, or, with CI=true, fails it.
func Engine(t *testing.T) *client.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	engine, err := engineapi.Dial(ctx, "")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("this test needs a Docker Engine (docker info): %v", err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	return engine
}

// Build compiles Go source to a static program. No two programs are equal, so no two have the same image.
func Build(t *testing.T, source string) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module program\n\ngo 1.24\n")
	write("main.go",
		source+"\n\nvar build = \""+rand.Text()+"\"\n\nfunc init() { if build == \"\" { panic(build) } }\n")
	name := filepath.Join(dir, "program")
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", name, ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return name
}

// RemoveImage removes an image.
func RemoveImage(t *testing.T, engine *client.Client, id string) {
	t.Helper()
	options := client.ImageRemoveOptions{Force: true, PruneChildren: true}
	if _, err := engine.ImageRemove(context.Background(), id, options); err != nil {
		t.Error(err)
	}
}

// Create creates a container, and removes it at the end of the test.
func Create(t *testing.T, engine *client.Client, o client.ContainerCreateOptions) string {
	t.Helper()
	created, err := engine.ContainerCreate(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		options := client.ContainerRemoveOptions{Force: true, RemoveVolumes: true}
		_, _ = engine.ContainerRemove(context.Background(), created.ID, options) // the test may have removed it
	})
	return created.ID
}

// Start starts a container.
func Start(t *testing.T, engine *client.Client, id string) {
	t.Helper()
	if _, err := engine.ContainerStart(t.Context(), id, client.ContainerStartOptions{}); err != nil {
		t.Fatal(err)
	}
}

// AwaitEnd waits for the end of a container and returns its exit status.
func AwaitEnd(t *testing.T, engine *client.Client, id string) int64 {
	t.Helper()
	end := engine.ContainerWait(t.Context(), id, client.ContainerWaitOptions{
		Condition: container.WaitConditionNotRunning})
	select {
	case err := <-end.Error:
		t.Fatal(err)
	case r := <-end.Result:
		return r.StatusCode
	}
	return -1
}

// Run runs a container without a network and returns what it has printed. It must exit with status 0.
func Run(t *testing.T, engine *client.Client, image string, command ...string) string {
	t.Helper()
	id := Create(t, engine, client.ContainerCreateOptions{
		Config: &container.Config{Image: image, Cmd: command}, HostConfig: &container.HostConfig{NetworkMode: "none"},
	})
	Start(t, engine, id)
	status := AwaitEnd(t, engine, id)
	logs, err := engine.ContainerLogs(t.Context(), id, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	var text bytes.Buffer
	if _, err := stdcopy.StdCopy(&text, &text, logs); err != nil {
		t.Fatal(err)
	}
	if status != 0 {
		t.Fatalf("exit status %d: %s", status, text.String())
	}
	return strings.TrimSpace(text.String())
}

// Eventually waits until a condition holds, for a minute at most. what names the condition.
func Eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not after a minute: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
