package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/etcd"
	"github.com/bakingclouds/rollcall/internal/task"
)

// asRole is the first argument of this program when it runs a role.
const asRole = "-role"

// roleTimeout limits the start and the end of a role.
const roleTimeout = 10 * time.Minute

// A role is a part of a measurement that runs in a separate process. It calls ready once, with data for the
// measurement, and runs until ctx is done.
type role func(ctx context.Context, args roleArgs, ready func(any)) error

// roleArgs holds the arguments of every role.
type roleArgs struct {
	Dir             string // data folder
	Instances, Each int    // total number, and number per service
	Profile         string // folder for profiles of the process; empty disables them
	Binary          string // a static build of rollcall
}

var roles = map[string]role{
	"node":    runNode,
	"names":   runNames,
	"fill":    runFill,
	"restart": runRestart,

	"tasks-fake":    runFakeTasks,
	"tasks-process": runProcessTasks,
	"tasks-docker":  runDockerTasks,
}

// roleMain runs the role that args name, if any. The role ends when stdin is closed, so that it does not outlive the
// process that started it.
func roleMain(args []string) (status int, ok bool) {
	if len(args) < 2 || args[0] != asRole {
		return 0, false
	}
	var ra roleArgs
	flags := flag.NewFlagSet(args[1], flag.ExitOnError)
	flags.StringVar(&ra.Dir, "dir", "", "")
	flags.IntVar(&ra.Instances, "instances", 0, "")
	flags.IntVar(&ra.Each, "each", 0, "")
	flags.StringVar(&ra.Profile, "profile", "", "")
	flags.StringVar(&ra.Binary, "binary", "", "")
	flags.Parse(args[2:])
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	ready := func(v any) { json.NewEncoder(os.Stdout).Encode(v) }
	play := roles[args[1]]
	if ra.Profile != "" {
		play = profiled(filepath.Join(ra.Profile, args[1]), play)
	}
	if err := play(ctx, ra, ready); err != nil {
		fmt.Fprintf(os.Stderr, "bench: role %s: %v\n", args[1], err)
		return 1, true
	}
	return 0, true
}

// profiled runs a role and writes its CPU profile to PATH.cpu.pprof and, when ctx is done, its heap profile to
// PATH.heap.pprof. If a role runs several times, the last profiles remain.
func profiled(path string, play role) role {
	return func(ctx context.Context, args roleArgs, ready func(any)) error {
		cpu, err := os.Create(path + ".cpu.pprof")
		if err != nil {
			return err
		}
		defer cpu.Close()
		if err := pprof.StartCPUProfile(cpu); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
		playing, end := context.WithCancel(context.Background())
		defer end()
		var heapErr error
		stop := context.AfterFunc(ctx, func() {
			defer end()
			heapErr = writeHeap(path + ".heap.pprof")
		})
		defer stop()
		err = play(playing, args, ready)
		return errors.Join(err, heapErr)
	}
}

func writeHeap(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	runtime.GC()
	return pprof.WriteHeapProfile(f)
}

// actor is a running role.
type actor struct {
	cmd   *exec.Cmd
	stdin io.Closer
	ended chan error
}

// start starts a role and waits until it is ready. It decodes the data with which the role calls ready into at.
func start(ctx context.Context, name string, args roleArgs, at any) (*actor, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, asRole, name, "-dir", args.Dir,
		"-instances", strconv.Itoa(args.Instances), "-each", strconv.Itoa(
			args.Each), "-profile", args.Profile, "-binary", args.Binary)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &actor{cmd: cmd, stdin: stdin, ended: make(chan error, 1)}
	decoded := make(chan error, 1)
	go func() {
		decoded <- json.NewDecoder(stdout).Decode(at)
		io.Copy(io.Discard, stdout)
		p.ended <- cmd.Wait()
	}()
	select {
	case err = <-decoded:
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(roleTimeout):
		err = errors.New("not ready in time")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the role %s: %w", name, err), p.stop())
	}
	return p, nil
}

// stop stops the role and waits until it has ended.
func (p *actor) stop() error {
	p.stdin.Close()
	select {
	case err := <-p.ended:
		return err
	case <-time.After(roleTimeout):
		p.cmd.Process.Kill()
		return fmt.Errorf("process %d did not end within the time limit", p.cmd.Process.Pid)
	}
}

// control serves requests of a measurement to the process of a role over HTTP: its CPU time, and the fixed response.
type control struct {
	canned func([]byte) // sets the response of the bare handler; nil if there is none
}

func (c control) serve() (addr string, close func(), err error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /cpu", func(w http.ResponseWriter, _ *http.Request) {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		json.NewEncoder(w).Encode(time.Duration(u.Utime.Nano() + u.Stime.Nano()))
	})
	mux.HandleFunc("PUT /canned", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		c.canned(body)
	})
	return serveHTTP(mux)
}

// serveHTTP serves a handler on a free loopback port.
func serveHTTP(h http.Handler) (addr string, close func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	srv := &http.Server{Handler: h}
	go srv.Serve(l)
	return l.Addr().String(), func() { srv.Close() }, nil
}

// cpuOf returns the user and system CPU time of the process that serves a control address.
func cpuOf(ctx context.Context, addr string) (time.Duration, error) {
	var spent time.Duration
	err := ask(ctx, http.MethodGet, "http://"+addr+"/cpu", nil, &spent)
	return spent, err
}

// setCanned sets the response of the bare handler.
func setCanned(ctx context.Context, addr string, body []byte) error {
	return ask(ctx, http.MethodPut, "http://"+addr+"/canned", body, nil)
}

func ask(ctx context.Context, method, url string, body []byte, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", method, url, resp.Status)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// opened is an etcd data folder with its rows.
type opened struct {
	engine *etcd.Server
	db     *store.Store
}

// open starts etcd in this process and reads the rows.
func open(ctx context.Context, dir string, log *slog.Logger) (*opened, error) {
	engine, err := etcd.Start(ctx, etcd.Config{Dir: filepath.Join(dir, "etcd"), Logger: log})
	if err != nil {
		return nil, err
	}
	db, err := store.Open(ctx, engine.Client, keyPrefix, log, append(registry.Schema(), task.Schema()...)...)
	if err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	return &opened{engine, db}, nil
}

func (o *opened) close() {
	o.db.Close()
	o.engine.Close()
}
