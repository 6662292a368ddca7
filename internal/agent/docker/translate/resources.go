package translate

import (
	"github.com/moby/moby/api/types/container"

	"github.com/bakingclouds/rollcall/internal/agent"
)

const mib = 1 << 20

// resources returns the limits of a container: its own, or else the task's. A limit of the task applies to each of its
// containers, not to their sum.
func resources(spec *agent.TaskSpec, c *agent.ContainerSpec, at Assignment) container.Resources {
	o, task := c.Options, spec.Options
	r := container.Resources{
		CPUShares: cpuShares(spec, c),
		Memory:    int64(c.Memory) * mib, MemoryReservation: int64(c.Reservation) * mib,
	}
	if c.Memory == 0 && task.Memory > 0 {
		r.Memory = int64(task.Memory) * mib
	}
	if task.CPU > 0 && task.CPU < at.CPUs*1024 { // the engine rejects more CPUs than the machine has
		r.NanoCPUs = int64(task.CPU) * 1e9 / 1024
	}
	if r.Memory > 0 { // the engine rejects a reservation above the limit
		r.MemoryReservation = min(r.MemoryReservation, r.Memory)
	}
	if o.MaxSwapMiB != nil && r.Memory > 0 {
		r.MemorySwap = r.Memory + int64(*o.MaxSwapMiB)*mib
		if o.Swappiness != nil { // "If a value is not specified for maxSwap then this parameter is ignored"
			swappiness := int64(*o.Swappiness)
			r.MemorySwappiness = &swappiness
		}
	}
	for _, u := range c.Ulimits {
		r.Ulimits = append(r.Ulimits, &container.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	for _, d := range o.Devices {
		m := container.DeviceMapping{PathOnHost: d.Host, PathInContainer: d.Container, CgroupPermissions: d.Permissions}
		if m.PathInContainer == "" {
			m.PathInContainer = d.Host
		}
		if m.CgroupPermissions == "" {
			m.CgroupPermissions = "rwm"
		}
		r.Devices = append(r.Devices, m)
	}
	return r
}

// Linux accepts CPU shares in this range.
const (
	minCPUShares = 2
	maxCPUShares = 262144
)

// cpuShares returns a container's own CPU units, or an equal part of the units that the task has left. In ECS, the
// containers of a task compete within the task's share, so a container without units must not get the machine's lowest
// priority.
func cpuShares(spec *agent.TaskSpec, c *agent.ContainerSpec) int64 {
	cpu := c.CPU
	if cpu == 0 && spec.Options.CPU > 0 {
		left, without := spec.Options.CPU, 0
		for _, each := range spec.Containers {
			left -= each.CPU
			if each.CPU == 0 {
				without++
			}
		}
		cpu = left / max(1, without)
	}
	return int64(min(max(cpu, minCPUShares), maxCPUShares))
}
