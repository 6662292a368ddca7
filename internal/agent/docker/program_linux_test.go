package docker

import (
	"bytes"
	"context"
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
	"testing"
	"time"

	"github.com/moby/moby/client"
)

// roleVariable makes this test's program play a container: the program of the tests' image is a static build of this very
// test, so that the pause container and the self-test are those of the package.
const roleVariable = "ROLLCALL_TEST_ROLE"

func TestMain(m *testing.M) {
	if status, ok := Main(os.Args[1:]); ok {
		os.Exit(status)
	}
	if len(os.Args) > 1 && os.Getenv(roleVariable) != "" {
		os.Exit(playContainer(os.Args[1:]))
	}
	sweep()
	status := m.Run()
	sweep()
	os.RemoveAll(binaryDir)
	os.Exit(status)
}

// sweep removes what tests have left in the engine, those of an earlier run that was killed too.
func sweep() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	found, err := Leftovers(ctx, "", "")
	if err != nil {
		return // no engine
	}
	if _, err := RemoveLeftovers(ctx, "", found); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	own, err := openOwn(filepath.Join(binaryDir, "docker.test"))
	if err != nil {
		return // no test needed one
	}
	engine, err := dial(ctx, "")
	if err != nil {
		return
	}
	defer engine.Close()
	if image, err := engine.ImageInspect(ctx, own.tag()); err == nil {
		if _, err := engine.ImageRemove(ctx, image.ID, client.ImageRemoveOptions{Force: true}); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
}

// The tests' image is made of this.
var (
	binaryDir = filepath.Join(os.TempDir(), "rollcall-docker-test-"+strconv.Itoa(os.Getpid()))
	buildOnce sync.Once
	buildErr  error
)

// playContainer is what the containers of the tests do.
func playContainer(args []string) int {
	switch args[0] {
	case "serve": // ADDRESS: HTTP, and the environment at /
		l, err := net.Listen("tcp", args[1])
		fmt.Println("serving", err)
		if err != nil {
			return 1
		}
		http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, strings.Join(os.Environ(), "\n")) })
		http.HandleFunc("/die", func(http.ResponseWriter, *http.Request) { os.Exit(7) })
		fmt.Println(http.Serve(l, nil))
	case "get": // URL
		res, err := http.Get(args[1])
		if err == nil && res.StatusCode == http.StatusOK {
			return 0
		}
		fmt.Println(err)
	case "exit": // STATUS
		status, _ := strconv.Atoi(args[1])
		return status
	case "eat": // memory, until there is none
		for held := [][]byte{}; ; fmt.Fprint(io.Discard, len(held)) {
			held = append(held, bytes.Repeat([]byte{1}, 1<<20))
		}
	case "count": // TO, a line each; then it waits
		to, _ := strconv.Atoi(args[1])
		for n := range to {
			fmt.Println("line", n)
		}
		time.Sleep(time.Hour)
	case "slowly": // a line each 2 ms, for ever
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
	case "follow": // ENGINE-ID FOLDER: not in a container, to be killed
		return followUntilKilled(args[1], args[2])
	case "lookup": // NAME
		fmt.Println(net.LookupHost(args[1]))
		return 0
	}
	return 1
}

// testBinary is a static build of this test.
func testBinary(t *testing.T) string {
	t.Helper()
	name := filepath.Join(binaryDir, "docker.test")
	buildOnce.Do(func() {
		if buildErr = os.MkdirAll(binaryDir, 0o700); buildErr != nil {
			return
		}
		cmd := exec.Command("go", "test", "-c", "-ldflags=-s -w", "-o", name, ".")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			buildErr = fmt.Errorf("%w: %s", err, out)
		}
	})
	if buildErr != nil {
		t.Fatal(buildErr)
	}
	return name
}
