package metadata

import (
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
)

// statsDoc is the part of Docker's statistics of a container ("ContainerStats" in the Docker Engine API) that a process
// has. A process shares network and disk, so these are not counted.
type statsDoc struct {
	Read        time.Time   `json:"read"`
	PreRead     time.Time   `json:"preread"`
	PIDs        pidsStats   `json:"pids_stats"`
	CPU         cpuStats    `json:"cpu_stats"`
	PreCPU      cpuStats    `json:"precpu_stats"`
	Memory      memoryStats `json:"memory_stats"`
	NumProcs    int         `json:"num_procs"`
	ContainerID string      `json:"id"`
	Name        string      `json:"name"`
}

type pidsStats struct {
	Current int `json:"current"`
}

type cpuStats struct {
	Usage struct {
		Total  int64 `json:"total_usage"` // nanoseconds
		User   int64 `json:"usage_in_usermode"`
		Kernel int64 `json:"usage_in_kernelmode"`
	} `json:"cpu_usage"`
	// System is the time of all processors together, in nanoseconds. A container's use of the machine is its share of the
	// System time between two readings.
	System int64 `json:"system_cpu_usage"`
	Online int   `json:"online_cpus"`
}

type memoryStats struct {
	Usage int64 `json:"usage"` // bytes
	Limit int64 `json:"limit,omitempty"`
}

func containerStats(v *view) (any, error) {
	r, err := v.registered()
	if err != nil {
		return nil, err
	}
	c := v.status(v.container.Name)
	return v.statsOf(r, []agent.ContainerStatus{c})[c.RuntimeID], nil
}

// taskStats returns the statistics of every container that has started; null for those that have ended.
func taskStats(v *view) (any, error) {
	r, err := v.registered()
	if err != nil {
		return nil, err
	}
	var all []agent.ContainerStatus
	for _, d := range v.def.Containers {
		if c := v.status(d.Name); c.RuntimeID != "" {
			all = append(all, c)
		}
	}
	return v.statsOf(r, all), nil
}

// statsOf measures containers, by their runtime ids.
func (v *view) statsOf(r *registered, containers []agent.ContainerStatus) map[string]*statsDoc {
	all := map[string]*statsDoc{}
	for _, c := range containers {
		all[c.RuntimeID] = nil
		if c.RuntimeID == "" || c.Ended() || v.Usage == nil {
			continue
		}
		now, before, ok := v.meter.read(c.RuntimeID, time.Now(), v.Usage)
		if !ok {
			continue
		}
		all[c.RuntimeID] = &statsDoc{
			Read: now.at, PreRead: before.at, CPU: now.cpu(), PreCPU: before.cpu(), ContainerID: c.RuntimeID, Name: c.Name,
			PIDs: pidsStats{now.Processes}, NumProcs: runtime.NumCPU(),
			Memory: memoryStats{Usage: now.Memory, Limit: int64(r.container(c.Name).Memory) << 20},
		}
	}
	return all
}

// sample is the usage of a container at one time.
type sample struct {
	agent.Usage
	at time.Time
}

func (s sample) cpu() (c cpuStats) {
	c.Usage.User, c.Usage.Kernel = s.User.Nanoseconds(), s.Kernel.Nanoseconds()
	c.Usage.Total = c.Usage.User + c.Usage.Kernel
	c.System, c.Online = s.Machine.Nanoseconds(), runtime.NumCPU()
	return c
}

// maxAge is the age at which a measurement is repeated. Requests within that time share one scan of the machine's
// processes.
const maxAge = time.Second

// meter keeps the last two samples of the containers with recent requests.
type meter struct {
	mu         sync.Mutex
	containers map[string]*samples // by runtime id
	at         time.Time
}

type samples struct {
	now, before sample
	requested   time.Time
}

// read returns a container's last two samples. It measures if the last one is too old; ok is false if the container has
// ended.
func (m *meter) read(
	id string, at time.Time, measure func([]string) map[string]agent.Usage,
) (now, before sample, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.containers == nil {
		m.containers = map[string]*samples{}
	}
	known := m.containers[id]
	if known == nil {
		known = &samples{}
		m.containers[id] = known
	}
	known.requested = at
	if known.now.at.IsZero() || at.Sub(m.at) >= maxAge {
		maps.DeleteFunc(m.containers, func(_ string, s *samples) bool { return at.Sub(s.requested) > time.Minute })
		usage := measure(slices.Collect(maps.Keys(m.containers)))
		m.at = at
		for id, s := range m.containers {
			u, running := usage[id]
			if !running {
				delete(m.containers, id)
				continue
			}
			s.before, s.now = s.now, sample{u, at.UTC()}
		}
	}
	s := m.containers[id]
	if s == nil {
		return sample{}, sample{}, false
	}
	return s.now, s.before, true
}
