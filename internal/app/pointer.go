package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/api/awsapi"
)

// Info is what a running server tells the commands that talk to it. It lies in the data folder; a pointer
// to it lies where commands find it without --data.
type Info struct {
	DataDir string
	PID     int
	API     string // http://host:port
	DNS     []string
	Region  string
	Account string
	Runtime string // what tasks run as
	Why     string // that they run as this
	// Resolver says why tasks have no resolver of their own; empty when they have.
	Resolver string `json:",omitempty"`
}

// Info describes the server.
func (a *App) Info() Info {
	info := Info{
		DataDir: a.cfg.DataDir, PID: os.Getpid(), API: "http://" + agent.LocalAddress(addrPort(a.api[0])).String(),
		Region: a.cfg.Region, Account: a.cfg.Account, Runtime: a.cfg.Runtime, Why: a.runtimeWhy, Resolver: a.names.Unavailable,
	}
	for _, at := range a.dnsAddrs {
		info.DNS = append(info.DNS, at.String())
	}
	return info
}

// Keys are the server's administrator keys.
func (a *App) Keys() awsapi.Pair { return a.adminKeys }

const infoFile = "server.json"

// writeInfo writes Info into the data folder, and where it is into the pointer.
func (a *App) writeInfo(context.Context) error {
	dir, err := filepath.Abs(a.cfg.DataDir)
	if err != nil {
		return err
	}
	info := a.Info()
	info.DataDir = dir
	b, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return err
	}
	if err := a.leave(filepath.Join(dir, infoFile), b); err != nil {
		return err
	}
	// A service's user often owns its data folder, but not the folder above.
	if err := a.leave(pointer(dir), b); err != nil {
		a.log.Warn("commands find this server only by --data", "data", dir, "err", err)
	}
	return nil
}

// leave writes a file whole, to be removed at the end unless another server has replaced it.
func (a *App) leave(file string, text []byte) error {
	tmp := fmt.Sprintf("%s.%d", file, os.Getpid())
	if err := os.WriteFile(tmp, text, 0o600); err != nil {
		return err
	}
	if err := os.Rename(tmp, file); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	a.cleanup(func() {
		if held, err := readInfo(file); err == nil && held.PID == os.Getpid() {
			os.Remove(file)
		}
	})
	return nil
}

// pointer is where commands look: $XDG_RUNTIME_DIR, or else beside the data folder.
func pointer(dataDir string) string {
	name := fmt.Sprintf("rollcall-%d.json", os.Getuid())
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, name)
	}
	return filepath.Join(filepath.Dir(dataDir), name)
}

// ErrNoServer is what Find returns when no server is running where it looks.
var ErrNoServer = errors.New("no running server found; start one with `rollcall serve`, or say where its data is with --data DIR")

// Find describes the running server: that of dataDir, or, when dataDir is empty, the one that the pointer
// leads to. A server that died without taking its files along is not found.
func Find(dataDir string) (Info, error) {
	files := []string{pointer(DefaultDataDir()), pointer(filepath.Join(os.TempDir(), "demo"))}
	if dataDir != "" {
		files = []string{filepath.Join(dataDir, infoFile)}
	}
	for _, file := range files {
		info, err := readInfo(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Info{}, err
		}
		if syscall.Kill(info.PID, 0) == nil || errors.Is(syscall.Kill(info.PID, 0), syscall.EPERM) {
			return info, nil
		}
	}
	return Info{}, ErrNoServer
}

// readInfo trusts only files of this user or root: in a shared temporary folder anybody can leave one.
func readInfo(file string) (Info, error) {
	st, err := os.Lstat(file)
	if err != nil {
		return Info{}, err
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); !ok || !st.Mode().IsRegular() || sys.Uid != uint32(os.Getuid()) && sys.Uid != 0 {
		return Info{}, fmt.Errorf("%s belongs to somebody else and is not believed; say where the data is with --data DIR", file)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return Info{}, err
	}
	var info Info
	if err := json.Unmarshal(b, &info); err != nil {
		return Info{}, fmt.Errorf("%s: %w", file, err)
	}
	return info, nil
}
