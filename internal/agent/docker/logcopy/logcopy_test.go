package logcopy

import (
	"bufio"
	"bytes"
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

	"github.com/bakingclouds/rollcall/internal/agent/docker/dockertest"
	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"
	"github.com/bakingclouds/rollcall/internal/agent/docker/image"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/containerlog"
)

// roleVariable makes the test's binary act as a server that copies a log until it is killed.
const roleVariable = "ROLLCALL_TEST_ROLE"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Getenv(roleVariable) != "" {
		os.Exit(followUntilKilled(os.Args[1], os.Args[2]))
	}
	os.Exit(m.Run())
}

// talker is the program of the containers whose logs are followed.
const talker = `package main

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
	to, _ := strconv.Atoi(os.Args[1])
	pause, _ := time.ParseDuration(os.Args[2])
	for n := range to {
		fmt.Println("line", n)
		time.Sleep(pause)
	}
	fmt.Println("<" + strings.Repeat("x", 50000) + ">")
	fmt.Print("last words")
}
`

// talk is what it prints.
func talk(to int) string {
	text := "out\nerr\n"
	for n := range to {
		text += fmt.Sprintln("line", n)
	}
	return text + "<" + strings.Repeat("x", 50000) + ">\nlast words\n"
}

// talks makes a container that prints so many lines at a pace.
func talks(t *testing.T, engine *client.Client, to int, pace time.Duration, change func(*container.Config, *container.HostConfig)) string {
	t.Helper()
	id, err := image.NewStore(engine, dockertest.Build(t, talker), slog.Default()).Program(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dockertest.RemoveImage(t, engine, id) })
	config := &container.Config{Image: id, Cmd: []string{"rollcall", strconv.Itoa(to), pace.String()}}
	host := &container.HostConfig{NetworkMode: "none"}
	if change != nil {
		change(config, host)
	}
	return dockertest.Create(t, engine, client.ContainerCreateOptions{Config: config, HostConfig: host})
}

// book is all that a log holds.
func book(t *testing.T, folder string) string {
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

// sameLog says where two logs differ. Where among the lines of stdout the engine puts one of stderr is its own affair.
func sameLog(t *testing.T, got, want string) {
	t.Helper()
	if g, w := strings.Count(got, "err\n"), strings.Count(want, "err\n"); g != w {
		t.Errorf("the log has %d lines of stderr, want %d", g, w)
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
	t.Errorf("the log has %d bytes, want %d; they differ at %d: %q, want %q", len(got), len(want), n, around(got), around(want))
}

// TestFollow: all that a container prints is in its log, in order, whatever reads it from the engine.
func TestFollow(t *testing.T) {
	t.Parallel()
	engine := dockertest.Engine(t)
	for name, tc := range map[string]struct {
		driver string
		tty    bool
		want   string
	}{
		"pipes":        {want: talk(100)},
		"a terminal":   {tty: true, want: talk(100)},
		"driver local": {driver: "local", want: talk(100)},
		"unreadable":   {driver: "none", want: unreadable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id := talks(t, engine, 100, 0, func(c *container.Config, h *container.HostConfig) { c.Tty, h.LogConfig.Type = tc.tty, tc.driver })
			dockertest.Start(t, engine, id)
			f, folder := New(engine, slog.Default()), filepath.Join(t.TempDir(), "log")
			f.Start("task", "main", id, folder, tc.tty)
			f.Start("task", "main", id, folder, tc.tty) // as often as one likes
			if status := dockertest.AwaitEnd(t, engine, id); status != 0 {
				t.Errorf("exit status %d", status)
			}
			f.Wait("task", "main", time.Minute)
			got := func() string {
				text := book(t, folder)
				if tc.driver == "local" { // of Docker 20.10 forgets that a long line has ended
					text = strings.NewReplacer(">last", ">\nlast", ">err\n", ">\nerr\n").Replace(text)
				}
				return text
			}
			sameLog(t, got(), tc.want)
			if !containerlog.Ended(folder) {
				t.Error("the log has not ended")
			}
			if left, err := filepath.Glob(filepath.Join(folder, "copied*")); err != nil || len(left) > 0 {
				t.Errorf("%v is left, %v", left, err)
			}
			f.Start("task", "main", id, folder, tc.tty) // a late event
			f.Close()
			sameLog(t, got(), tc.want)
		})
	}
}

// TestFollowLetsGo: one that follows what goes on, or cannot be read, ends when it is told to.
func TestFollowLetsGo(t *testing.T) {
	t.Parallel()
	engine := dockertest.Engine(t)
	folders := map[string]string{}
	f := New(engine, slog.New(slog.DiscardHandler))
	for _, driver := range []string{"json-file", "none"} {
		id := talks(t, engine, 1, time.Hour, func(_ *container.Config, h *container.HostConfig) { h.LogConfig.Type = driver })
		dockertest.Start(t, engine, id)
		for _, name := range []string{"closed", "waited"} {
			name = driver + name
			folders[name] = filepath.Join(t.TempDir(), "log")
			f.Start("task", name, id, folders[name], false)
			dockertest.Eventually(t, name+" has begun", func() bool { return book(t, folders[name]) != "" })
		}
		f.Wait("task", driver+"waited", 10*time.Millisecond)
	}
	f.Close()
	for name, folder := range folders {
		if containerlog.Ended(folder) != strings.HasSuffix(name, "waited") {
			t.Errorf("%s: ended %v", name, containerlog.Ended(folder))
		}
	}
}

// TestFollowRestarts: a container that is started again goes on with its log.
func TestFollowRestarts(t *testing.T) {
	t.Parallel()
	engine := dockertest.Engine(t)
	id := talks(t, engine, 3, 0, nil)
	f, folder := New(engine, slog.Default()), filepath.Join(t.TempDir(), "log")
	want := ""
	for range 3 {
		dockertest.Start(t, engine, id)
		f.Start("task", "main", id, folder, false)
		dockertest.AwaitEnd(t, engine, id)
		want += strings.TrimSuffix(talk(3), "\n") // that of the last words is not printed
		dockertest.Eventually(t, "all of a run is in the log", func() bool { return strings.Count(book(t, folder), "<") == strings.Count(want, "<") })
		if containerlog.Ended(folder) {
			t.Fatal("the log has ended")
		}
	}
	f.Wait("task", "main", time.Minute)
	f.Close()
	sameLog(t, book(t, folder), want+"\n")
}

// followUntilKilled is the process of a server that is killed.
func followUntilKilled(id, folder string) int {
	engine, err := engineapi.Dial(context.Background(), "")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	New(engine, slog.Default()).Start("task", "main", id, folder, false)
	fmt.Println("following")
	select {}
}

// TestFollowKilled: whenever the server is killed, and however often, each line is in the log once.
func TestFollowKilled(t *testing.T) {
	t.Parallel()
	engine := dockertest.Engine(t)
	const lines = 4000
	id := talks(t, engine, lines, 500*time.Microsecond, nil)
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
		if s, err := bufio.NewReader(out).ReadString('\n'); s != "following\n" {
			t.Errorf("the other process says %q, %v", s, err)
		}
		time.Sleep(time.Duration(3+17*n%90) * time.Millisecond) // at whatever point it is then
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
	}
	f := New(engine, slog.Default())
	f.Start("task", "main", id, folder, false)
	dockertest.AwaitEnd(t, engine, id)
	f.Wait("task", "main", time.Minute)
	f.Close()
	sameLog(t, book(t, folder), talk(lines))
}

// TestFollowFlood: a container that prints as fast as it can is not held up by a log that nobody reads, and what there is
// of it is read in order and but once.
func TestFollowFlood(t *testing.T) {
	t.Parallel()
	engine := dockertest.Engine(t)
	const lines = 200_000
	id := talks(t, engine, lines, 0, func(_ *container.Config, h *container.HostConfig) {
		h.LogConfig = container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "1m", "max-file": "2"}}
	})
	f, folder := New(engine, slog.Default()), filepath.Join(t.TempDir(), "log")
	dockertest.Start(t, engine, id)
	f.Start("task", "main", id, folder, false)
	if status := dockertest.AwaitEnd(t, engine, id); status != 0 {
		t.Errorf("exit status %d", status)
	}
	f.Wait("task", "main", time.Minute)
	f.Close()
	last, seen := -1, 0
	text := book(t, folder)
	for line := range strings.Lines(text) {
		n := 0
		if _, err := fmt.Sscanf(line, "line %d\n", &n); err != nil {
			continue
		}
		if n <= last {
			t.Fatalf("line %d comes after line %d", n, last)
		}
		last, seen = n, seen+1
	}
	if last != lines-1 || !strings.HasSuffix(text, ">\nlast words\n") {
		t.Errorf("the last line is %d, and the log ends with %q", last, text[max(0, len(text)-20):])
	}
	t.Logf("%d of %d lines were read", seen, lines)
}

// TestCopier: entries with the same time are told apart by their number; what was written but not noted is taken back.
func TestCopier(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "log")
	entry := func(e string) []byte {
		year := map[bool]int{false: 2026, true: 2200}[e[0] == '8']
		return fmt.Appendf(nil, "%d-01-31T12:00:0%s.000000000Z %s", year, e[:1], e[1:])
	}
	streamOf := func(e string) byte { // of stderr are those in capitals
		if e[1:] == strings.ToUpper(e[1:]) {
			return 2
		}
		return 1
	}
	var c *log
	open := func() {
		t.Helper()
		var err error
		if c, err = openLog(folder); err != nil {
			t.Fatal(err)
		}
	}
	copies := func(entries ...string) {
		t.Helper()
		c.resume(func(error) {})
		for _, e := range entries {
			if err := c.append(streamOf(e), entry(e)); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.flush(); err != nil {
			t.Fatal(err)
		}
	}
	open()
	copies("1a\n", "2b", "2c")
	copies("2b", "2c", "2d\n")
	if err := c.writer.Append([]byte("not noted\n")); err != nil {
		t.Fatal(err)
	}
	open()                                                                         // the first one is killed here
	copies("2b", "2c", "2d\n", "3e\n", "1a\n", "2b", "2c", "2d\n", "3e\n", "3f\n") // the engine has rotated
	copies("3e\n", "3f\n", "4g\n", "3X\n", "4Y\n", "4h\n")                         // stderr is stamped before stdout, and comes behind it
	open()
	copies("3e\n", "3f\n", "4g\n", "3X\n", "4Y\n", "4h\n", "4i\n", "4Z\n", "8in the future\n", "5clock set back\n")
	if err := c.append(1, []byte("no time")); err == nil {
		t.Error("an entry without time is taken")
	}
	if err := c.close(true); err != nil {
		t.Fatal(err)
	}
	sameLog(t, book(t, folder), "a\nbcd\ne\nf\ng\nX\nY\nh\ni\nZ\nin the future\nclock set back\n")
}

// TestLine: pieces of a line that the engine has cut are found, and text that looks like a time stays text.
func TestLine(t *testing.T) {
	const at = "2026-01-31T12:00:00.000000000Z "
	piece := strings.Repeat("x", pieceLength)
	for _, want := range [][]string{
		{}, {"a\n"}, {"a\n", "\n", "b"}, {piece, "\n"}, {piece, piece, "end\n", "a\n"}, {at + "a\n", "b\n"}, {piece + "longer\n", "a\n"},
	} {
		var stream bytes.Buffer
		for _, e := range want {
			stream.WriteString(at + e)
		}
		r := bufio.NewReader(&stream)
		for _, e := range want {
			if got, err := readTerminal(r); string(got) != at+e {
				t.Errorf("%.40q, %v, want %.40q", got, err, at+e)
			}
		}
		if got, err := readTerminal(r); len(got) > 0 || err == nil {
			t.Errorf("then %q, %v", got, err)
		}
	}
}
