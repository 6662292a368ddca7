package etcd

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"

	"github.com/bakingclouds/rollcall/internal/fault"
)

// testLog returns a logger that writes warnings and errors to the test's output. With -v, it also writes the info
// level.
func testLog(tb testing.TB) *slog.Logger {
	tb.Helper()
	level := slog.LevelWarn
	if testing.Verbose() {
		level = slog.LevelInfo
	}
	return slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: level}))
}

// start starts a server that is closed when the test ends.
func start(tb testing.TB, cfg Config) *Server {
	tb.Helper()
	cfg.Logger = testLog(tb)
	s, err := Start(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// folder returns the path of a data folder that does not exist yet.
func folder(tb testing.TB) string {
	tb.Helper()
	return filepath.Join(tb.TempDir(), "etcd")
}

func client(tb testing.TB, s *Server) *clientv3.Client {
	tb.Helper()
	c, err := s.Client()
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func currentEngine(s *Server) *engine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.eng
}

// waitFor calls ok every few milliseconds until it returns true, for at most a minute.
func waitFor(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-deadline:
			tb.Fatalf("timeout after a minute: %s", what)
		case <-tick.C:
		}
	}
}

// TestRestart starts and closes a server on one folder several times. The fastest start and the fastest close have a
// time limit; a single slow one may be the fault of a busy machine.
func TestRestart(t *testing.T) {
	dir := folder(t)
	const rounds = 5
	fastestStart, fastestClose := time.Hour, time.Hour
	for i := range rounds {
		began := time.Now()
		s := start(t, Config{Dir: dir})
		ready := time.Since(began)
		e, c := currentEngine(s), client(t, s)
		if _, err := c.Put(t.Context(), fmt.Sprintf("k%d", i), "v"); err != nil {
			t.Fatal(err)
		}
		got, err := c.Get(t.Context(), "k", clientv3.WithPrefix())
		if err != nil || got.Count != int64(i+1) {
			t.Fatalf("round %d: %d keys, error %v", i, got.Count, err)
		}
		if err := s.Health(); err != nil {
			t.Error(err)
		}
		watch := c.Watch(t.Context(), "k")
		changed := s.Changed()
		began = time.Now()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		closed := time.Since(began)
		t.Logf("ready after %v, closed after %v", ready, closed)
		fastestStart, fastestClose = min(fastestStart, ready), min(fastestClose, closed)
		select {
		case <-e.server.StopNotify():
		default:
			t.Error("the engine did not stop completely")
		}
		for range watch { // returns when the channel is closed
		}
		<-changed
		if _, err := s.Client(); !fault.Is(err, fault.Unavailable) {
			t.Errorf("Client of a closed server: %v", err)
		}
	}
	if fastestStart > 3*time.Second || fastestClose > time.Second {
		t.Errorf("fastest start %v, fastest close %v; want at most 3s and 1s", fastestStart, fastestClose)
	}
	waitFor(t, "etcd's goroutines end", func() bool { return !strings.Contains(stacks(), "go.etcd.io/") })
}

// TestNoListeners checks a child process, because other tests of this process listen on sockets.
func TestNoListeners(t *testing.T) {
	if os.Getenv("ETCD_TEST_DIR") != "" {
		s := start(t, Config{Dir: os.Getenv("ETCD_TEST_DIR")})
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range fds {
			if target, _ := os.Readlink("/proc/self/fd/" + fd.Name()); strings.HasPrefix(target, "socket:") {
				t.Errorf("descriptor %s is a %s", fd.Name(), target)
			}
		}
		for _, path := range []string{"/metrics", "/health", "/version", "/v3/kv/range"} {
			w := httptest.NewRecorder()
			http.DefaultServeMux.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
			if w.Code != http.StatusNotFound {
				t.Errorf("http.DefaultServeMux answers %s with %d", path, w.Code)
			}
		}
		_ = s
		return
	}
	out, err := child(t, "TestNoListeners", folder(t)).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// child returns a command that runs one test of this binary in a child process.
func child(tb testing.TB, test, dir string) *exec.Cmd {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), os.Args[0], "-test.run=^"+test+"$", "-test.v")
	cmd.Env = append(os.Environ(), "ETCD_TEST_DIR="+dir)
	return cmd
}

// TestFolderInUse starts a server on a folder that another process uses, and then again after that process was killed.
func TestFolderInUse(t *testing.T) {
	if dir := os.Getenv("ETCD_TEST_DIR"); dir != "" {
		c := client(t, start(t, Config{Dir: dir}))
		if _, err := c.Put(t.Context(), "kept", "yes"); err != nil {
			t.Fatal(err)
		}
		fmt.Println("\nready")
		<-t.Context().Done() // the parent kills the process here
	}
	dir := folder(t)
	cmd := child(t, "TestFolderInUse", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for sc := bufio.NewScanner(out); sc.Scan() && sc.Text() != "ready"; {
	}
	fastest := time.Hour
	for range 3 { // a single slow attempt may be the fault of a busy machine
		began := time.Now()
		if _, err = Start(t.Context(), Config{Dir: dir}); err == nil {
			t.Fatal("two servers use one folder")
		}
		fastest = min(fastest, time.Since(began))
	}
	if fastest > time.Second {
		t.Errorf("the fastest error took %v, want at most 1s", fastest)
	}
	process := fmt.Sprintf("process %d", cmd.Process.Pid)
	for _, part := range []string{dir, process, "stop it, or choose another folder"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not contain %q", err, part)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	got, err := client(t, start(t, Config{Dir: dir})).Get(t.Context(), "kept")
	if err != nil || got.Count != 1 {
		t.Errorf("after kill -9: %v, %v", got, err)
	}
}

func TestStartErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), Config{Dir: file}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("Start with a file as folder: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := folder(t)
	if _, err := Start(ctx, Config{Dir: dir}); err == nil {
		t.Error("Start succeeded although its context had ended")
	}
	start(t, Config{Dir: dir}) // the failed start has unlocked the folder, and its files do not prevent another start
}

// TestFirstStartKilled starts a server on a folder whose log has no entry, as a kill -9 during the first start leaves
// it.
func TestFirstStartKilled(t *testing.T) {
	dir := folder(t)
	w, err := wal.Create(zap.NewNop(), filepath.Join(dir, "member", "wal"), []byte("metadata"))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	c := client(t, start(t, Config{Dir: dir}))
	if _, err := c.Put(t.Context(), "k", "v"); err != nil {
		t.Error(err)
	}
}
