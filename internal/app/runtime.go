package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"
	"github.com/bakingclouds/rollcall/internal/agent/process"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// nodeRuntime is a runtime as this package opens it, provides it with what its tasks need from the node, and closes it.
// Only newRuntime knows which runtimes exist.
type nodeRuntime interface {
	agent.Runtime
	// EngineVersion returns the version of the container engine; empty if there is none.
	EngineVersion() string
	// NodeAddress returns the address at which tasks reach servers on this machine.
	NodeAddress() netip.Addr
	// Names makes dns, which already listens on the address listening, also listen where the tasks send their queries,
	// and returns how the tasks resolve names.
	Names(dns agent.DNSServer, listening netip.AddrPort) agent.Names
	// MetadataListeners opens the listeners through which tasks reach the metadata endpoint, all at one address; none if
	// they reach the endpoint's own listener on loopback.
	MetadataListeners() []net.Listener
	// Notes returns what the operator should know now, such as the problems of the runtime.
	Notes() []string
	// Usage measures containers, by their runtime ids.
	Usage(runtimeIDs []string) map[string]agent.Usage
	// Shutdown removes what the runtime keeps beyond its last task, and closes it.
	Shutdown(context.Context) error
}

// chooseRuntime returns the runtime that auto means on this machine, and the reason.
func chooseRuntime(ctx context.Context) (kind, why string) {
	if runtime.GOOS != "linux" {
		return RuntimeNone, "tasks run on Linux only; this is " + runtime.GOOS
	}
	if err := engineapi.Ping(ctx, ""); err != nil {
		return RuntimeProcess, err.Error()
	}
	return RuntimeDocker, "a Docker Engine answers"
}

// newRuntime opens the runtime of this kind; nil for none.
func (a *App) newRuntime(ctx context.Context, kind string) (nodeRuntime, error) {
	switch kind {
	case RuntimeProcess:
		return process.New(ctx, process.Config{Dir: a.cfg.DataDir, HostAddress: a.cfg.NodeAddress, Logger: a.log})
	case RuntimeDocker:
		return a.newDocker(ctx)
	}
	return nil, nil
}

// openRuntime opens the configured runtime.
func (a *App) openRuntime(ctx context.Context) error {
	a.runtimeWhy = "set by --runtime"
	if a.cfg.Runtime == RuntimeAuto {
		a.cfg.Runtime, a.runtimeWhy = chooseRuntime(ctx)
	}
	rt, err := a.newRuntime(ctx, a.cfg.Runtime)
	if err != nil {
		return err
	}
	if rt != nil {
		a.runtime = rt
		a.cleanup(func() { a.closeRuntime(rt) })
	}
	return nil
}

// registerNode writes what this node can run, for placement.
func (a *App) registerNode(ctx context.Context) error {
	node := a.node(time.Time{})
	_, err := store.Update(ctx, a.db, func(tx *store.Tx) (struct{}, error) {
		n := node
		if old, ok := task.FindNode(tx, a.cfg.Node); ok {
			n.Registered, n.Slices = old.RegisteredAt(), old.Slices
		}
		task.PutNode(tx, n)
		return struct{}{}, nil
	})
	if err != nil {
		return fmt.Errorf("register the runtime of node %s: %w", a.cfg.Node, err)
	}
	return nil
}

// closeRuntime closes the runtime and leaves its tasks running, or, after StopTasks, ends them and shuts the runtime
// down.
func (a *App) closeRuntime(rt nodeRuntime) {
	if !a.stopTasks {
		if err := rt.Close(); err != nil {
			a.log.Error("cannot close the runtime", "err", err)
		}
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := errors.Join(endTasks(ctx, rt), rt.Shutdown(ctx)); err != nil {
		a.log.Error("cannot stop all tasks; some may still run", "err", err)
	}
}

// endTasks stops and removes every task of this node.
func endTasks(ctx context.Context, rt agent.Runtime) error {
	sandboxes, err := rt.Sandboxes(ctx)
	if err != nil {
		return err
	}
	var g errgroup.Group
	for _, sandbox := range sandboxes {
		g.Go(func() error {
			for _, c := range sandbox.Containers {
				if err := rt.StopContainer(ctx, sandbox.TaskID, c.Name, 5*time.Second); err != nil {
					return err
				}
			}
			return rt.Remove(ctx, sandbox.TaskID)
		})
	}
	return g.Wait()
}
