package logcopy

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/agent/docker/dockertest"
	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"
	"github.com/bakingclouds/rollcall/internal/agent/docker/image"
	"github.com/bakingclouds/rollcall/internal/containerlog"
)

// roleVariable makes the test's binary act as a server that copies a log until it is killed.
const roleVariable = "ROLLCALL_TEST_ROLE"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Getenv(roleVariable) != "" {
		os.Exit(copyUntilKilled(os.Args[1], os.Args[2]))
	}
	os.Exit(m.Run())
}

// copyUntilKilled copies a container's log and does not return.
func copyUntilKilled(id, folder string) int {
	engine, err := engineapi.Dial(context.Background(), "")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	New(engine, slog.Default()).Start("task", "main", id, folder, false)
	fmt.Println("copying")
	select {}
}

// printer is the program of the tests' containers. It prints a line each to standard output and standard error, a
// number of lines with a pause after each, a long line, and a line without an end.
const printer = `package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	fmt.Println("out")
	fmt.Fprintln(os.Stderr, "err")
	lines, _ := strconv.Atoi(os.Args[1])
	pause, _ := time.ParseDuration(os.Args[2])
	for n := range lines {
		fmt.Println("line", n)
		time.Sleep(pause)
	}
	fmt.Println("<" + strings.Repeat("x", 50000) + ">")
	fmt.Print("last words")
}
`

// printed returns what printer prints.
func printed(lines int) string {
	text := "out\nerr\n"
	for n := range lines {
		text += fmt.Sprintln("line", n)
	}
	return text + "<" + strings.Repeat("x", 50000) + ">\nlast words\n"
}

// createPrinter creates a container that runs printer. change, unless nil, changes its configuration.
func createPrinter(
	t *testing.T, engine *client.Client, lines int, pause time.Duration,
	change func(*container.Config, *container.HostConfig),
) string {
	t.Helper()
	id, err := image.NewStore(engine, dockertest.Build(t, printer), slog.Default()).Program(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dockertest.RemoveImage(t, engine, id) })
	config := &container.Config{Image: id, Cmd: []string{"rollcall", strconv.Itoa(lines), pause.String()}}
	host := &container.HostConfig{NetworkMode: "none"}
	if change != nil {
		change(config, host)
	}
	return dockertest.Create(t, engine, client.ContainerCreateOptions{Config: config, HostConfig: host})
}

// readLog returns all lines of a container log.
func readLog(t *testing.T, folder string) string {
	t.Helper()
	var text strings.Builder
	for pos := int64(0); ; {
		lines, next, err := containerlog.Read(folder, pos)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range lines {
			text.Write(append(l.Text, '\n'))
		}
		if next == pos {
			return text.String()
		}
		pos = next
	}
}

// compareLogs reports where two logs differ. It ignores the place of the line of standard error, which the engine may
// put anywhere among the lines of standard output.
func compareLogs(t *testing.T, got, want string) {
	t.Helper()
	if g, w := strings.Count(got, "err\n"), strings.Count(want, "err\n"); g != w {
		t.Errorf("the log has %d lines of standard error, want %d", g, w)
	}
	got, want = strings.ReplaceAll(got, "err\n", ""), strings.ReplaceAll(want, "err\n", "")
	if got == want {
		return
	}
	n := 0
	for n < min(len(got), len(want)) && got[n] == want[n] {
		n++
	}
	around := func(s string) string { return s[max(0, n-30):min(len(s), n+60)] }
	t.Errorf("the log has %d bytes, want %d; they differ at byte %d: %q, want %q", len(got), len(want), n, around(got),
		around(want))
}

// awaitExit waits for the end of a container, which must exit with status 0.
func awaitExit(t *testing.T, engine *client.Client, id string) {
	t.Helper()
	if status := dockertest.AwaitEnd(t, engine, id); status != 0 {
		t.Errorf("the container exits with %d, want 0", status)
	}
}

// TestCopy checks that everything that a container prints is in its log, in order, for each way in which the engine
// stores and returns it.
func TestCopy(t *testing.T) {
	t.Parallel()
	engine := dockertest.Engine(t)
	for name, tc := range map[string]struct {
		driver string
		tty    bool
		want   string
	}{
		"no terminal":       {want: printed(100)},
		"terminal":          {tty: true, want: printed(100)},
		"driver local":      {driver: "local", want: printed(100)},
		"unreadable driver": {driver: "none", want: unreadable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id := createPrinter(t, engine, 100, 0, func(c *container.Config, h *container.HostConfig) {
				c.Tty, h.LogConfig.Type = tc.tty, tc.driver
			})
			dockertest.Start(t, engine, id)
			copiers, folder := New(engine, slog.Default()), filepath.Join(t.TempDir(), "log")
			copiers.Start("task", "main", id, folder, tc.tty)
			copiers.Start("task", "main", id, folder, tc.tty) // has no effect
			awaitExit(t, engine, id)
			copiers.Wait("task", "main", time.Minute)
			read := func() string {
				text := readLog(t, folder)
				if tc.driver == "local" { // Docker 20.10 loses the end of a long line
					text = strings.NewReplacer(">last", ">\nlast", ">err\n", ">\nerr\n").Replace(text)
				}
				return text
			}
			compareLogs(t, read(), tc.want)
			if !containerlog.Ended(folder) {
				t.Error("the log has not ended")
			}
			if left, err := filepath.Glob(filepath.Join(folder, "copied*")); err != nil || len(left) > 0 {
				t.Errorf("progress files are left: %v, %v", left, err)
			}
			copiers.Start("task", "main", id, folder, tc.tty) // as after a late event
			copiers.Close()
			compareLogs(t, read(), tc.want)
		})
	}
}

// TestCloseAndWait checks that Close and Wait return while a container runs, also if its log cannot be read. Only Wait
// ends the log.
func TestCloseAndWait(t *testing.T) {
	t.Parallel()
	engine := dockertest.Engine(t)
	folders := map[string]string{}
	copiers := New(engine, slog.New(slog.DiscardHandler))
	for _, driver := range []string{"json-file", "none"} {
		id := createPrinter(t, engine, 1, time.Hour, func(_ *container.Config, h *container.HostConfig) {
			h.LogConfig.Type = driver
		})
		dockertest.Start(t, engine, id)
		for _, name := range []string{driver + " closed", driver + " waited"} {
			folders[name] = filepath.Join(t.TempDir(), "log")
			copiers.Start("task", name, id, folders[name], false)
			dockertest.Eventually(t, name+" has begun", func() bool { return readLog(t, folders[name]) != "" })
		}
		copiers.Wait("task", driver+" waited", 10*time.Millisecond)
	}
	copiers.Close()
	for name, folder := range folders {
		if got, want := containerlog.Ended(folder), strings.HasSuffix(name, "waited"); got != want {
			t.Errorf("%s: the log has ended: %v, want %v", name, got, want)
		}
	}
}

// TestCopyAcrossRestarts restarts a container. Its log continues.
func TestCopyAcrossRestarts(t *testing.T) {
	t.Parallel()
	engine := dockertest.Engine(t)
	id := createPrinter(t, engine, 3, 0, nil)
	copiers, folder := New(engine, slog.Default()), filepath.Join(t.TempDir(), "log")
	want := ""
	for range 3 {
		dockertest.Start(t, engine, id)
		copiers.Start("task", "main", id, folder, false)
		awaitExit(t, engine, id)
		want += strings.TrimSuffix(printed(3), "\n") // the last line has no end
		dockertest.Eventually(t, "the output of this run is in the log", func() bool {
			return strings.Count(readLog(t, folder), "<") == strings.Count(want, "<")
		})
		if containerlog.Ended(folder) {
			t.Fatal("the log has ended")
		}
	}
	copiers.Wait("task", "main", time.Minute)
	copiers.Close()
	compareLogs(t, readLog(t, folder), want+"\n")
}

// TestCopyAcrossKills kills the server at twelve different points. Each line is in the log once.
func TestCopyAcrossKills(t *testing.T) {
	t.Parallel()
	engine := dockertest.Engine(t)
	const lines = 4000
	id := createPrinter(t, engine, lines, 500*time.Microsecond, nil)
	folder := filepath.Join(t.TempDir(), "log")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dockertest.Start(t, engine, id)
	for n := range 12 {
		cmd := exec.Command(self, id, folder)
		cmd.Env = append(os.Environ(), roleVariable+"=1")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if s, err := bufio.NewReader(out).ReadString('\n'); s != "copying\n" {
			t.Errorf("the server prints %q, %v; want copying", s, err)
		}
		time.Sleep(time.Duration(3+17*n%90) * time.Millisecond) // any point will do
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // reports that it was killed
	}
	copiers := New(engine, slog.Default())
	copiers.Start("task", "main", id, folder, false)
	awaitExit(t, engine, id)
	copiers.Wait("task", "main", time.Minute)
	copiers.Close()
	compareLogs(t, readLog(t, folder), printed(lines))
}

// TestCopyOverflow runs a container that prints faster than its log is copied, so that the engine drops lines. The
// container is not slowed down, and the log has the other lines in order, each once.
func TestCopyOverflow(t *testing.T) {
	t.Parallel()
	engine := dockertest.Engine(t)
	const lines = 200_000
	id := createPrinter(t, engine, lines, 0, func(_ *container.Config, h *container.HostConfig) {
		h.LogConfig.Type, h.LogConfig.Config = "json-file", map[string]string{"max-size": "1m", "max-file": "2"}
	})
	copiers, folder := New(engine, slog.Default()), filepath.Join(t.TempDir(), "log")
	dockertest.Start(t, engine, id)
	copiers.Start("task", "main", id, folder, false)
	awaitExit(t, engine, id)
	copiers.Wait("task", "main", time.Minute)
	copiers.Close()
	last, count := -1, 0
	text := readLog(t, folder)
	for line := range strings.Lines(text) {
		n := 0
		if _, err := fmt.Sscanf(line, "line %d\n", &n); err != nil {
			continue
		}
		if n <= last {
			t.Fatalf("line %d comes after line %d", n, last)
		}
		last, count = n, count+1
	}
	if last != lines-1 || !strings.HasSuffix(text, ">\nlast words\n") {
		t.Errorf("the last number is %d, want %d, and the log ends with %q", last, lines-1, text[max(0, len(text)-20):])
	}
	t.Logf("%d of %d lines were copied", count, lines)
}

// twoStreams is a program that prints lines to standard output and standard error at the same time.
const twoStreams = `package main

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
`

// TestCopyTwoStreams copies two streams that are written at the same time, with several copiers one after the other.
// The engine assigns times to each stream on its own, so the times in the log do not always rise. No line is lost or
// repeated, and each stream is in order.
func TestCopyTwoStreams(t *testing.T) {
	t.Parallel()
	engine := dockertest.Engine(t)
	const lines = 20000
	program := dockertest.Build(t, fmt.Sprintf(twoStreams, lines))
	imageID, err := image.NewStore(engine, program, slog.New(slog.DiscardHandler)).Program(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dockertest.RemoveImage(t, engine, imageID) })
	id := dockertest.Create(t, engine, client.ContainerCreateOptions{
		Config:     &container.Config{Image: imageID, Cmd: []string{"rollcall"}},
		HostConfig: &container.HostConfig{NetworkMode: "none"},
	})
	dockertest.Start(t, engine, id)
	folder := t.TempDir()
	size := func() int64 {
		_, _, n, _, err := containerlog.Span(folder)
		if err != nil {
			return 0 // the log is being created
		}
		return n
	}
	copiers := New(engine, slog.Default())
	copiers.Start("task", "main", id, folder, false)
	for n := range 4 {
		dockertest.Eventually(t, "some of the log is copied", func() bool { return size() > int64(n+1)*100_000 })
		copiers.Close()
		copiers = New(engine, slog.Default())
		copiers.Start("task", "main", id, folder, false)
	}
	awaitExit(t, engine, id)
	copiers.Wait("task", "main", time.Minute)
	copiers.Close()
	if !containerlog.Ended(folder) {
		t.Fatal("the log has not ended")
	}
	next := map[string]int{"out": 0, "err": 0}
	for line := range strings.Lines(readLog(t, folder)) {
		words := strings.Fields(line)
		if len(words) < 2 || words[1] != fmt.Sprint(next[words[0]]) {
			t.Fatalf("line %.60q follows %v lines", line, next)
		}
		next[words[0]]++
	}
	if next["out"] != lines || next["err"] != lines {
		t.Errorf("the log has %v lines, want %d of each stream", next, lines)
	}
}
