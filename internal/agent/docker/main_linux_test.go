package docker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/docker/dockertest"
	"github.com/bakingclouds/rollcall/internal/agent/docker/image"
	"github.com/bakingclouds/rollcall/internal/agent/docker/network"
	"github.com/bakingclouds/rollcall/internal/agent/docker/translate"
	"github.com/bakingclouds/rollcall/internal/containerlog"

	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"
	"github.com/bakingclouds/rollcall/internal/agent/docker/leftovers"
	"github.com/bakingclouds/rollcall/internal/agent/docker/role"
)

// roleVariable makes the test's binary act as the program of a container. The image of the tests is made of a static
// build of this test, so that pause containers and self-tests run the package's own code.
const roleVariable = "ROLLCALL_TEST_ROLE"

func TestMain(m *testing.M) {
	if status, ok := role.Main(os.Args[1:]); ok {
		os.Exit(status)
	}
	if len(os.Args) > 1 && os.Getenv(roleVariable) != "" {
		os.Exit(containerMain(os.Args[1:]))
	}
	sweep()
	status := m.Run()
	sweep()
	os.RemoveAll(binaryDir)
	os.Exit(status)
}

// dataFolderPrefix begins the names of the tests' data folders. The process id of the test run follows, so that a sweep
// can tell which runs have ended.
const dataFolderPrefix = "rollcall-docker-runtime-test-"

// dataFolder returns a new data folder, which is removed at the end of the test.
func dataFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", dataFolderPrefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// sweep removes from the engine what this test run has created, and what earlier runs of these tests have left. It does
// not touch the objects of other tests that run at the same time.
func sweep() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	found, err := leftovers.Find(ctx, "", "")
	if err != nil {
		return // there is no engine
	}
	var ended []leftovers.Leftover
	for _, l := range found {
		if of, ok := strings.CutPrefix(filepath.Base(l.Data), dataFolderPrefix); ok && !runsElsewhere(of) {
			ended = append(ended, l)
		}
	}
	if _, err := leftovers.Remove(ctx, "", ended); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err := removeTestImage(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// runsElsewhere reports whether another test run that still runs has made a data folder with this suffix.
func runsElsewhere(suffix string) bool {
	text, _, _ := strings.Cut(suffix, "-")
	pid, err := strconv.Atoi(text)
	return err == nil && pid != os.Getpid() && syscall.Kill(pid, 0) == nil
}

// removeTestImage removes the image that was made of the test's binary, if there is one.
func removeTestImage(ctx context.Context) error {
	binary, err := os.ReadFile(testBinaryFile)
	if err != nil {
		return nil // no test needed the image
	}
	engine, err := engineapi.Dial(ctx, "")
	if err != nil {
		return err
	}
	defer engine.Close()
	sum := sha256.Sum256(binary)
	label := engineapi.LabelBinary + "=" + hex.EncodeToString(sum[:])
	images, err := engine.ImageList(ctx, client.ImageListOptions{Filters: make(client.Filters).Add("label", label)})
	if err != nil {
		return err
	}
	for _, i := range images.Items {
		if _, err := engine.ImageRemove(ctx, i.ID, client.ImageRemoveOptions{Force: true}); err != nil {
			return err
		}
	}
	return nil
}

// The static build of this test.
var (
	binaryDir      = filepath.Join(os.TempDir(), "rollcall-docker-test-binary-"+strconv.Itoa(os.Getpid()))
	testBinaryFile = filepath.Join(binaryDir, "docker.test")
	buildTest      = sync.OnceValue(func() error {
		if err := os.MkdirAll(binaryDir, 0o700); err != nil {
			return err
		}
		cmd := exec.Command("go", "test", "-c", "-ldflags=-s -w", "-o", testBinaryFile, ".")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
)

// testBinary returns the file name of a static build of this test.
func testBinary(t *testing.T) string {
	t.Helper()
	if err := buildTest(); err != nil {
		t.Fatal(err)
	}
	return testBinaryFile
}

// containerMain is the program of the tests' containers.
func containerMain(args []string) int {
	switch args[0] {
	case "serve": // ADDRESS: serves HTTP; / returns the environment
		l, err := net.Listen("tcp", args[1])
		fmt.Println("serving", err)
		if err != nil {
			return 1
		}
		http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintln(w, strings.Join(os.Environ(), "\n"))
		})
		fmt.Println(http.Serve(l, nil))
	case "get": // URL: succeeds if the server answers 200
		res, err := http.Get(args[1])
		if err == nil && res.StatusCode == http.StatusOK {
			return 0
		}
		fmt.Println(err)
	case "exit": // STATUS
		status, _ := strconv.Atoi(args[1])
		return status
	case "eat": // allocates memory until the kernel kills it
		for held := [][]byte{}; ; fmt.Fprint(io.Discard, len(held)) {
			held = append(held, bytes.Repeat([]byte{1}, 1<<20))
		}
	case "count": // N: prints N lines, then waits
		to, _ := strconv.Atoi(args[1])
		for n := range to {
			fmt.Println("line", n)
		}
		time.Sleep(time.Hour)
	case "slowly": // prints a line every 2 ms
		for n := 0; ; n++ {
			fmt.Println("line", n)
			time.Sleep(2 * time.Millisecond)
		}
	case "write": // FILE TEXT
		if err := os.WriteFile(args[1], []byte(args[2]), 0o600); err == nil {
			return 0
		}
	case "cat": // FILE
		text, err := os.ReadFile(args[1])
		fmt.Println(string(text), err)
		if err == nil {
			return 0
		}
	case "lookup": // NAME
		fmt.Println(net.LookupHost(args[1]))
		return 0
	}
	return 1
}

// hostAddress is the address of tasks in modes bridge and host.
var hostAddress = netip.MustParseAddr("127.0.0.1")

// openRuntime opens a runtime on a data folder. An empty host is this machine's engine.
func openRuntime(t *testing.T, dir, host string, networks []network.Network) *Runtime {
	t.Helper()
	r, err := New(t.Context(), Config{
		Dir: dir, Host: host, Binary: testBinary(t), Networks: networks, HostAddress: hostAddress,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// newRuntime opens a runtime on a new data folder. At the end of the test, everything that the folder has in the engine
// is removed.
func newRuntime(t *testing.T) (r *Runtime, dir string, networks []network.Network) {
	t.Helper()
	dockertest.Engine(t)
	dir = dataFolder(t)
	used, err := network.InUse(t.Context(), dir, "")
	if err != nil {
		t.Fatal(err)
	}
	claims := &network.Claims{}
	t.Cleanup(claims.Close)
	vpc := network.Slices("", netip.MustParsePrefix("10.214.0.0/16"), netip.MustParsePrefix("fd00:214::/64"))
	n, err := claims.Claim(vpc, used)
	if err != nil {
		t.Fatal(err)
	}
	networks = []network.Network{n}
	r = openRuntime(t, dir, "", networks)
	t.Cleanup(func() { removeAll(t, dir, networks) })
	return r, dir, networks
}

// removeAll removes everything that a data folder has in the engine. The test's runtimes must be closed.
func removeAll(t *testing.T, dir string, networks []network.Network) {
	t.Helper()
	r, err := New(context.Background(), Config{
		Dir: dir, Binary: testBinary(t), Networks: networks, HostAddress: hostAddress,
	})
	if err != nil {
		t.Error(err)
		return
	}
	sandboxes, _ := r.Sandboxes(context.Background()) // never fails
	for _, sb := range sandboxes {
		// The engine may report that a container's file system is busy; the agent retries then too.
		dockertest.Eventually(t, "the task "+sb.TaskID+" is removed", func() bool {
			err := r.Remove(context.Background(), sb.TaskID)
			if err != nil {
				t.Log(err)
			}
			return err == nil
		})
	}
	if err := r.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

func closeRuntime(t *testing.T, r *Runtime) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

var taskCount atomic.Int64

// newTask returns a spec with a new id. Its containers run containerMain of the test's binary with their commands.
func newTask(mode string, containers ...agent.ContainerSpec) agent.TaskSpec {
	n := taskCount.Add(1)
	for i := range containers {
		containers[i].Image = image.Sample
		containers[i].Command = append([]string{"rollcall"}, containers[i].Command...)
	}
	return agent.TaskSpec{
		ID: fmt.Sprintf("%020x%012x", time.Now().UnixNano(), n), NetworkMode: mode, Containers: containers,
		Env:    map[string]string{roleVariable: "1"},
		Labels: map[string]string{translate.LabelFamily: "test", translate.LabelRevision: strconv.FormatInt(n, 10)},
	}
}

func containerSpec(name string, command ...string) agent.ContainerSpec {
	return agent.ContainerSpec{Name: name, Command: command}
}

// run creates a task and starts its containers.
func run(t *testing.T, r *Runtime, spec agent.TaskSpec) agent.Sandbox {
	t.Helper()
	if err := r.Prepare(t.Context(), spec, func() {}); err != nil {
		t.Fatal(err)
	}
	sb, err := r.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range spec.Containers {
		if err := r.StartContainer(t.Context(), spec.ID, c.Name); err != nil {
			t.Fatalf("start %s: %v", c.Name, err)
		}
	}
	return sb
}

// await receives events until a container's status is as wanted, for a minute at most. what describes the status.
func await(
	t *testing.T, r *Runtime, taskID, name, what string, wanted func(agent.ContainerStatus) bool,
) agent.ContainerStatus {
	t.Helper()
	sandboxes, _ := r.Sandboxes(t.Context()) // never fails
	var last agent.ContainerStatus
	for _, sb := range sandboxes {
		for _, c := range sb.Containers {
			if sb.TaskID == taskID && c.Name == name {
				last = c
			}
		}
	}
	deadline := time.After(time.Minute)
	for !wanted(last) {
		select {
		case e := <-r.Events():
			if e.TaskID == taskID && e.Status.Name == name {
				last = e.Status
			}
		case <-deadline:
			t.Fatalf("container %s was not %s after a minute; its last status is %+v", name, what, last)
		}
	}
	return last
}

func awaitEnd(t *testing.T, r *Runtime, taskID, name string) agent.ContainerStatus {
	t.Helper()
	return await(t, r, taskID, name, "ended", agent.ContainerStatus.Ended)
}

func awaitRunning(t *testing.T, r *Runtime, taskID, name string) agent.ContainerStatus {
	t.Helper()
	return await(t, r, taskID, name, "running", agent.ContainerStatus.Running)
}

// get returns what a server answers, which may not listen yet.
func get(t *testing.T, url string) string {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		res, err := http.Get(url)
		if err == nil {
			defer res.Body.Close()
			text, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// programImage returns the id of the image of the test's binary.
func programImage(t *testing.T, r *Runtime) string {
	t.Helper()
	id, err := r.images.Program(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// logOf returns the lines in the container log of a container. A log that does not exist yet is empty.
func logOf(r *Runtime, taskID, name string) string {
	var text strings.Builder
	folder := containerlog.Folder(containerlog.Root(r.config.Dir), taskID, name)
	for pos := int64(0); ; {
		lines, next, err := containerlog.Read(folder, pos)
		if err != nil || next == pos {
			return text.String()
		}
		for _, l := range lines {
			text.Write(append(l.Text, '\n'))
		}
		pos = next
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
