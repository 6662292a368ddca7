package app

import (
	"runtime"
	"time"

	"github.com/bakingclouds/rollcall/internal/task"
)

// minSingleNodeCPU is the smallest number of CPU units that the only node of a system offers: 64 cores. The process
// runtime does not limit the CPU of tasks, so tasks that ask for more than the machine has share it. A node of a
// cluster offers what it has, since another node may have more (docs/decisions/0007-placement.md).
const minSingleNodeCPU = 64 * 1024

// node returns this machine as placement sees it. registered is the time of its first registration, zero if it is new.
func (a *App) node(registered time.Time) task.Node {
	n := task.Node{
		Name: a.cfg.Node, Runtime: task.NoRuntime, Address: "127.0.0.1", Started: time.Now(), Registered: registered,
		CPU: a.cfg.NodeCPU, Memory: a.cfg.NodeMemory, Zone: zone, OS: runtime.GOOS, Architecture: architecture(),
		Version: a.cfg.Version,
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
			n.CPU = max(n.CPU, minSingleNodeCPU)
		}
	}
	if n.Memory == 0 {
		n.Memory = machineMemory()
	}
	return n
}

// architecture returns the processor architecture, as ECS spells it.
func architecture() string {
	if runtime.GOARCH == "amd64" {
		return "x86_64"
	}
	return runtime.GOARCH
}
