package docker

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
)

// needEngine is this machine's engine. Without one a test is skipped; where CI=true, that is a failure.
func needEngine(t *testing.T) *client.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	engine, err := dial(ctx, "")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("no container engine answers (docker info): %v", err)
	}
	t.Cleanup(func() { engine.Close() })
	return engine
}

// build makes a static program of Go source, a new one each time.
func build(t *testing.T, source string) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module program\n\ngo 1.24\n")
	write("main.go", source+"\n\nvar build = \""+rand.Text()+"\"\n\nfunc init() { if build == \"\" { panic(build) } }\n")
	name := filepath.Join(dir, "program")
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", name, ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return name
}

func removeImage(t *testing.T, engine *client.Client, id string) {
	t.Helper()
	if _, err := engine.ImageRemove(context.Background(), id, client.ImageRemoveOptions{Force: true, PruneChildren: true}); err != nil {
		t.Error(err)
	}
}

// create makes a container with the labels of an owner, and removes it when the test ends.
func create(t *testing.T, engine *client.Client, o client.ContainerCreateOptions) string {
	t.Helper()
	made, err := engine.ContainerCreate(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = engine.ContainerRemove(context.Background(), made.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true}) // a test may have
	})
	return made.ID
}

func start(t *testing.T, engine *client.Client, id string) {
	t.Helper()
	if _, err := engine.ContainerStart(t.Context(), id, client.ContainerStartOptions{}); err != nil {
		t.Fatal(err)
	}
}

// awaitEnd waits for a container's end and gives its exit status.
func awaitEnd(t *testing.T, engine *client.Client, id string) int64 {
	t.Helper()
	end := engine.ContainerWait(t.Context(), id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select {
	case err := <-end.Error:
		t.Fatal(err)
	case r := <-end.Result:
		return r.StatusCode
	}
	return -1
}

// run runs a container to its end and gives what it has printed.
func run(t *testing.T, engine *client.Client, image string, command ...string) string {
	t.Helper()
	id := create(t, engine, client.ContainerCreateOptions{Config: &container.Config{Image: image, Cmd: command}, HostConfig: &container.HostConfig{NetworkMode: "none"}})
	start(t, engine, id)
	status := awaitEnd(t, engine, id)
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

// eventually waits for what comes by itself.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("never came true: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
