package app

import (
	"runtime"
	"time"

	"github.com/bakingclouds/rollcall/internal/task"
)

// loneCPU is the least that a node without others offers in CPU units: 64 cores. The process runtime limits no
// task's CPU, so there tasks that ask for more than the machine has share it; a node of a cluster offers what it has,
// since another may have more (docs/decisions/0007-placement.md).
const loneCPU = 64 * 1024

// node is this machine as placement sees it. registered is when it was first known, zero if it is new.
func (a *App) node(registered time.Time) task.Node {
	n := task.Node{
		Name: a.cfg.Node, Runtime: task.NoRuntime, Address: "127.0.0.1", Started: time.Now(), Registered: registered,
		CPU: a.cfg.NodeCPU, Memory: a.cfg.NodeMemory, Zone: zone, OS: runtime.GOOS, Architecture: architecture(), Version: a.cfg.Version,
	}
	if n.Registered.IsZero() {
		n.Registered = n.Started
	}
	if a.runtime != nil {
		n.Runtime, n.Engine = a.runtime.Name(), a.runtime.EngineVersion()
	}
	if n.CPU == 0 {
		n.CPU = runtime.NumCPU() * 1024
		if len(a.cfg.Etcd) == 0 {
			n.CPU = max(n.CPU, loneCPU)
		}
	}
	if n.Memory == 0 {
		n.Memory = machineMemory()
	}
	return n
}

// architecture is the processor's as ECS spells it.
func architecture() string {
	if runtime.GOARCH == "amd64" {
		return "x86_64"
	}
	return runtime.GOARCH
}
