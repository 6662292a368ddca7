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

// usageTimeout limits the time in which the engine measures containers.
const usageTimeout = 5 * time.Second

// Usage returns what containers use, by their runtime ids. It leaves out those that the engine does not measure in
// time.
func (r *Runtime) Usage(ids []string) map[string]agent.Usage {
	ctx, cancel := context.WithTimeout(r.ctx, usageTimeout)
	defer cancel()
	var mu sync.Mutex
	used := map[string]agent.Usage{}
	var all errgroup.Group
	all.SetLimit(8)
	for _, id := range ids {
		all.Go(func() error {
			if u, ok := r.usage(ctx, id); ok {
				mu.Lock()
				defer mu.Unlock()
				used[id] = u
			}
			return nil
		})
	}
	_ = all.Wait() // always nil: a container that cannot be measured is left out
	return used
}

func (r *Runtime) usage(ctx context.Context, id string) (agent.Usage, bool) {
	response, err := r.engine.ContainerStats(ctx, id, client.ContainerStatsOptions{})
	if err != nil {
		return agent.Usage{}, false
	}
	defer response.Body.Close()
	var s container.StatsResponse
	if err := json.NewDecoder(response.Body).Decode(&s); err != nil || s.PidsStats.Current == 0 {
		return agent.Usage{}, false
	}
	cpu := s.CPUStats.CPUUsage
	u := agent.Usage{
		Processes: int(s.PidsStats.Current), Memory: int64(s.MemoryStats.Usage),
		Machine: time.Duration(s.CPUStats.SystemUsage),
		User:    time.Duration(cpu.UsageInUsermode), Kernel: time.Duration(cpu.UsageInKernelmode),
	}
	if u.User+u.Kernel == 0 { // some kernels report only the sum
		u.User = time.Duration(cpu.TotalUsage)
	}
	return u, true
}
