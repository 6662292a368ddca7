package docker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

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
