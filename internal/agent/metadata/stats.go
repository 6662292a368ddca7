package metadata

import (
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
)

// statsView is Docker's statistics of a container ("ContainerStats" in the Docker Engine API) as far as a process has
// them: a process has no network or disk of its own to count on.
type statsView struct {
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
	// System is the time that all processors together have had, in nanoseconds: the share of it that a container used
	// between two readings is its use of the machine.
	System int64 `json:"system_cpu_usage"`
	Online int   `json:"online_cpus"`
}

type memoryStats struct {
	Usage int64 `json:"usage"` // bytes
	Limit int64 `json:"limit,omitempty"`
}

func containerStats(v *view) (any, error) {
	s, err := v.sent()
	if err != nil {
		return nil, err
	}
	c := v.status(v.container.Name)
	return v.statsOf(s, []agent.ContainerStatus{c})[c.RuntimeID], nil
}

// taskStats is of every container that has started; null for those that have ended.
func taskStats(v *view) (any, error) {
	s, err := v.sent()
	if err != nil {
		return nil, err
	}
	var all []agent.ContainerStatus
	for _, d := range v.def.Containers {
		if c := v.status(d.Name); c.RuntimeID != "" {
			all = append(all, c)
		}
	}
	return v.statsOf(s, all), nil
}

// statsOf measures containers, by their runtime ids.
func (v *view) statsOf(s sent, containers []agent.ContainerStatus) map[string]*statsView {
	all := map[string]*statsView{}
	for _, c := range containers {
		all[c.RuntimeID] = nil
		if c.RuntimeID == "" || c.Ended() || v.Usage == nil {
			continue
		}
		now, before, ok := v.meter.read(c.RuntimeID, v.Usage)
		if !ok {
			continue
		}
		view := &statsView{
			Read: now.at, PreRead: before.at, CPU: now.cpu(), PreCPU: before.cpu(), ContainerID: c.RuntimeID, Name: c.Name,
			PIDs: pidsStats{now.Processes}, NumProcs: runtime.NumCPU(), Memory: memoryStats{Usage: now.Memory},
		}
		for _, sent := range s.ContainerDefinitions {
			if sent.Name == c.Name {
				view.Memory.Limit = int64(sent.Memory) << 20
			}
		}
		all[c.RuntimeID] = view
	}
	return all
}

// sample is what a container had used at a time.
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

// fresh is how long a measurement serves: one look at all of the machine's processes is enough for all who ask.
const fresh = time.Second

// meter keeps the last two measurements of the containers that were asked about lately.
type meter struct {
	mu         sync.Mutex
	containers map[string]*samples // by runtime id
	at         time.Time
}

type samples struct {
	now, before sample
	asked       time.Time
}

// read gives a container's last two samples, fresh ones if there are none of this moment.
func (m *meter) read(id string, measure func([]string) map[string]agent.Usage) (now, before sample, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := time.Now()
	if m.containers == nil {
		m.containers = map[string]*samples{}
	}
	known := m.containers[id]
	if known == nil {
		known = &samples{}
		m.containers[id] = known
	}
	known.asked = at
	if known.now.at.IsZero() || at.Sub(m.at) >= fresh {
		maps.DeleteFunc(m.containers, func(_ string, s *samples) bool { return at.Sub(s.asked) > time.Minute })
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
