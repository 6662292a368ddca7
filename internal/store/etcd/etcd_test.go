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

// testLog sends the log to the test: warnings and worse, or with -v everything from info on.
func testLog(t testing.TB) *slog.Logger {
	level := slog.LevelWarn
	if testing.Verbose() {
		level = slog.LevelInfo
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: level}))
}

func start(t testing.TB, cfg Config) *Server {
	t.Helper()
	cfg.Logger = testLog(t)
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// folder returns a data folder that does not exist yet.
func folder(t testing.TB) string { return filepath.Join(t.TempDir(), "etcd") }

func client(t testing.TB, s *Server) *clientv3.Client {
	t.Helper()
	c, err := s.Client()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func current(s *Server) *engine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.eng
}

// until calls ok every few milliseconds until it is true.
func until(t testing.TB, patience time.Duration, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within %v: %s", patience, what)
		case <-tick.C:
		}
	}
}

func TestStartStopAgain(t *testing.T) {
	dir := folder(t)
	const rounds = 5
	for i := range rounds {
		began := time.Now()
		s := start(t, Config{Dir: dir})
		ready := time.Since(began)
		c := client(t, s)
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
		if ready > 3*time.Second || closed > time.Second {
			t.Errorf("ready after %v, closed after %v", ready, closed)
		}
		for range watch { // ends
		}
		<-changed
		if _, err := s.Client(); !fault.Is(err, fault.Unavailable) {
			t.Errorf("Client of a closed server: %v", err)
		}
	}
	until(t, time.Minute, "etcd's goroutines are gone", func() bool { return !strings.Contains(stacks(), "go.etcd.io/") })
}

// TestNoListeners looks at a child process, since other tests of this one do listen.
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

func child(t testing.TB, test, dir string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+test+"$", "-test.v")
	cmd.Env = append(os.Environ(), "ETCD_TEST_DIR="+dir)
	return cmd
}

// TestFolderInUse starts a second process on a folder and then kills the first without warning.
func TestFolderInUse(t *testing.T) {
	if dir := os.Getenv("ETCD_TEST_DIR"); dir != "" {
		c := client(t, start(t, Config{Dir: dir}))
		if _, err := c.Put(t.Context(), "kept", "yes"); err != nil {
			t.Fatal(err)
		}
		fmt.Println("\nready")
		<-t.Context().Done() // killed here
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
	began := time.Now()
	_, err = Start(t.Context(), Config{Dir: dir})
	if took := time.Since(began); took > time.Second {
		t.Errorf("the refusal took %v", took)
	}
	if err == nil {
		t.Fatal("two servers on one folder")
	}
	for _, part := range []string{dir, fmt.Sprintf("process %d", cmd.Process.Pid), "stop it, or choose another folder"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
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

func TestStartSaysWhy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), Config{Dir: file}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file as folder: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := folder(t)
	if _, err := Start(ctx, Config{Dir: dir}); err == nil {
		t.Error("started although the context had ended")
	}
	start(t, Config{Dir: dir}) // the folder is free, and what the other start left does not matter
}

// TestFirstStartKilled makes what kill -9 leaves of a first start at its worst moment: a log without an entry.
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
