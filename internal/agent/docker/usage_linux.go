package docker

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/bakingclouds/rollcall/internal/agent"
)

// measureWithin is how long the engine has to measure containers.
const measureWithin = 5 * time.Second

// Usage measures the containers with these runtime ids; those that the engine does not measure in time are left out.
func (r *Runtime) Usage(ids []string) map[string]agent.Usage {
	ctx, cancel := context.WithTimeout(r.ctx, measureWithin)
	defer cancel()
	var mu sync.Mutex
	used := map[string]agent.Usage{}
	var all errgroup.Group
	all.SetLimit(8)
	for _, id := range ids {
		all.Go(func() error {
			if u, ok := r.measure(ctx, id); ok {
				mu.Lock()
				defer mu.Unlock()
				used[id] = u
			}
			return nil
		})
	}
	all.Wait() // no function fails
	return used
}

func (r *Runtime) measure(ctx context.Context, id string) (agent.Usage, bool) {
	got, err := r.engine.ContainerStats(ctx, id, client.ContainerStatsOptions{})
	if err != nil {
		return agent.Usage{}, false
	}
	defer got.Body.Close()
	var s container.StatsResponse
	if err := json.NewDecoder(got.Body).Decode(&s); err != nil || s.PidsStats.Current == 0 {
		return agent.Usage{}, false
	}
	cpu := s.CPUStats.CPUUsage
	u := agent.Usage{
		Processes: int(s.PidsStats.Current), Memory: int64(s.MemoryStats.Usage), Machine: time.Duration(s.CPUStats.SystemUsage),
		User: time.Duration(cpu.UsageInUsermode), Kernel: time.Duration(cpu.UsageInKernelmode),
	}
	if u.User+u.Kernel == 0 {
		u.User = time.Duration(cpu.TotalUsage)
	}
	return u, true
}
