package app

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNameNode checks which name a node has, and that it stays the same for a data folder.
func TestNameNode(t *testing.T) {
	for _, tc := range []struct {
		name, file, flag string
		want             string // "error", or the node's name
	}{
		{"first start", "", "", hostName()},
		{"first start with a name", "", "n1", "n1"},
		{"restart", "n1\n", "", "n1"},
		{"restart with the same name", "n1\n", "n1", "n1"},
		{"restart with another name", "n1\n", "n2", "error"},
		{"damaged file", "\n", "", "error"},
		{"damaged file with a name", "\n", "n1", "error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "node")
			if tc.file != "" {
				if err := os.WriteFile(file, []byte(tc.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			a := &App{cfg: Config{DataDir: dir, Node: tc.flag}}
			err := a.nameNode()
			got := a.cfg.Node
			if err != nil {
				got = "error"
			}
			if got != tc.want {
				t.Fatalf("nameNode = %s, %v; want %s", got, err, tc.want)
			}
			if text, _ := os.ReadFile(file); err == nil && string(text) != tc.want+"\n" {
				t.Errorf("the data folder has the name %q, want %q", text, tc.want)
			}
		})
	}
}

// TestListenError checks that the user learns which process has a port.
func TestListenError(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a := &App{cfg: Config{API: l.Addr().String()}}
	err = a.bindAPI(t.Context())
	for _, want := range []string{"is in use by", "--api 127.0.0.1:0"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("bindAPI of a port in use: %v, want %q", err, want)
		}
	}
	err = listenError("--api", "192.0.2.1:1", errors.New("no such address"))
	if want := "listen on 192.0.2.1:1 (--api): no such address"; err.Error() != want {
		t.Errorf("listenError = %v, want %s", err, want)
	}
}

// TestStart starts a server without tasks on any free port, and checks its files and paths until it has stopped.
func TestStart(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	cfg := Default()
	cfg.DataDir, cfg.API, cfg.DNS, cfg.Runtime = t.TempDir(), "127.0.0.1:0", []string{"127.0.0.1:0"}, RuntimeNone
	cfg.Logger = slog.New(slog.DiscardHandler)
	a, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Stop()
	info, err := Find(cfg.DataDir)
	if err != nil || info.API != a.Info().API || info.Runtime != RuntimeNone || len(info.DNS) != 1 {
		t.Errorf("Find = %+v, %v; want %+v", info, err, a.Info())
	}
	for path, want := range map[string]string{"/healthz": "ok\n", "/metrics": "rollcall_store_revision "} {
		res, err := http.Get(info.API + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("GET %s: %s, %v; want %q", path, res.Status, err, want)
		}
	}
	a.Stop()
	if _, err := Find(cfg.DataDir); !errors.Is(err, ErrNoServer) {
		t.Errorf("Find after Stop: %v, want %v", err, ErrNoServer)
	}
}
