package app

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// endedPID returns the pid of a process that has ended.
func endedPID(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

func TestFind(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	write := func(file string, info Info) {
		t.Helper()
		text, err := json.Marshal(info)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	live, dead, none, damaged := t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	write(filepath.Join(live, infoFile), Info{PID: os.Getpid(), Region: "live"})
	write(filepath.Join(dead, infoFile), Info{PID: endedPID(t), Region: "dead"})
	if err := os.WriteFile(filepath.Join(damaged, infoFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if info, err := Find(live); err != nil || info.Region != "live" {
		t.Errorf("Find of a running server: %+v, %v", info, err)
	}
	for _, dir := range []string{dead, none, ""} {
		if info, err := Find(dir); !errors.Is(err, ErrNoServer) {
			t.Errorf("Find(%q) without a running server: %+v, %v; want %v", dir, info, err, ErrNoServer)
		}
	}
	if _, err := Find(damaged); err == nil || !strings.Contains(err.Error(), filepath.Join(damaged, infoFile)) {
		t.Errorf("Find of a damaged file: %v; want an error that names it", err)
	}
	write(defaultInfoPath("unused"), Info{PID: os.Getpid(), Region: "default"})
	if info, err := Find(""); err != nil || info.Region != "default" {
		t.Errorf("Find without a folder: %+v, %v; want the server at the default path", info, err)
	}
}

// TestReadInfoRejects checks that Find does not follow a file that another user may have left.
func TestReadInfoRejects(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "target")
	if err := os.WriteFile(target, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if _, err := readInfo(link); err == nil || !strings.Contains(err.Error(), "is ignored") {
		t.Errorf("readInfo of a symbolic link: %v; want it rejected", err)
	}
	if os.Geteuid() != 0 {
		return // only root can give a file to another user
	}
	if err := os.Chown(target, 54321, 54321); err != nil {
		t.Fatal(err)
	}
	if _, err := readInfo(target); err != nil && !strings.Contains(err.Error(), "is ignored") || err == nil {
		t.Errorf("readInfo of another user's file: %v; want it rejected", err)
	}
}

// TestWriteOwned checks that Stop removes a file only while it is this server's.
func TestWriteOwned(t *testing.T) {
	for _, tc := range []struct {
		name     string
		pid      int
		wantFile bool
	}{
		{"own file", os.Getpid(), false},
		{"file of the next server", os.Getpid() + 1, true},
	} {
		file := filepath.Join(t.TempDir(), infoFile)
		a := &App{}
		text, err := json.Marshal(Info{PID: tc.pid})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.writeOwned(file, text); err != nil {
			t.Fatal(err)
		}
		a.Stop()
		if _, err := os.Stat(file); (err == nil) != tc.wantFile {
			t.Errorf("%s after Stop: %v, want it to exist: %v", tc.name, err, tc.wantFile)
		}
	}
}
