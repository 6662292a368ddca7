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

// Info describes a running server to the commands that talk to it. The server writes it into its data folder, and a
// copy where commands look without --data.
type Info struct {
	DataDir string
	PID     int
	API     string // http://host:port
	DNS     []string
	Region  string
	Account string
	Runtime string // docker, process or none
	Why     string // the reason for this runtime
	// Resolver is the reason why tasks have no resolver; empty if they have one.
	Resolver string `json:",omitempty"`
}

// Info describes the server.
func (a *App) Info() Info {
	info := Info{
		DataDir: a.cfg.DataDir, PID: os.Getpid(), API: "http://" + agent.LocalAddress(addrPort(a.api[0])).String(),
		Region: a.cfg.Region, Account: a.cfg.Account,
		Runtime: a.cfg.Runtime, Why: a.runtimeWhy, Resolver: a.names.Unavailable,
	}
	for _, at := range a.dnsAddrs {
		info.DNS = append(info.DNS, at.String())
	}
	return info
}

// Keys returns the access keys of the server's administrator.
func (a *App) Keys() awsapi.Pair { return a.adminKeys }

const infoFile = "server.json"

// writeInfo writes Info into the data folder and to the default path.
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
	if err := a.writeOwned(filepath.Join(dir, infoFile), b); err != nil {
		return err
	}
	// The user of a service often owns its data folder, but not the folder above it.
	if err := a.writeOwned(defaultInfoPath(dir), b); err != nil {
		a.log.Warn("commands find this server only with --data", "data", dir, "err", err)
	}
	return nil
}

// writeOwned writes a file atomically. Stop removes it, unless another server has replaced it.
func (a *App) writeOwned(file string, text []byte) error {
	tmp := fmt.Sprintf("%s.%d", file, os.Getpid())
	if err := os.WriteFile(tmp, text, 0o600); err != nil {
		return err
	}
	if err := os.Rename(tmp, file); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	a.cleanup(func() {
		if current, err := readInfo(file); err == nil && current.PID == os.Getpid() {
			os.Remove(file)
		}
	})
	return nil
}

// defaultInfoPath returns the path at which commands look without --data: in $XDG_RUNTIME_DIR, or next to the data
// folder.
func defaultInfoPath(dataDir string) string {
	name := fmt.Sprintf("rollcall-%d.json", os.Getuid())
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, name)
	}
	return filepath.Join(filepath.Dir(dataDir), name)
}

// ErrNoServer is the error of Find if no server runs where it looks.
var ErrNoServer = errors.New("no running server found; start one with `rollcall serve`, " +
	"or name its data folder with --data DIR")

// Find returns the running server: that of dataDir, or, if dataDir is empty, the one at the default path. It ignores
// the files of a server that has died.
func Find(dataDir string) (Info, error) {
	files := []string{defaultInfoPath(DefaultDataDir()), defaultInfoPath(filepath.Join(os.TempDir(), "demo"))}
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

// readInfo reads an Info. It accepts only files of this user or root, since any user can write to a shared temporary
// folder.
func readInfo(file string) (Info, error) {
	st, err := os.Lstat(file)
	if err != nil {
		return Info{}, err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || !st.Mode().IsRegular() || sys.Uid != uint32(os.Getuid()) && sys.Uid != 0 {
		return Info{}, fmt.Errorf("%s is ignored, because it belongs to another user; "+
			"name the data folder with --data DIR", file)
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
