package translate

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/engineopts"
)

func TestResources(t *testing.T) {
	swap, swappiness, swappiness64 := 0, 10, int64(10)
	for _, tc := range []struct {
		name string
		task engineopts.Task
		c    agent.ContainerSpec
		more []agent.ContainerSpec
		want container.Resources
	}{
		{name: "no limits", want: container.Resources{CPUShares: 2}},
		{
			name: "limits of the task",
			task: engineopts.Task{CPU: 256, Memory: 512},
			want: container.Resources{CPUShares: 256, NanoCPUs: 25e7, Memory: 512 * mib},
		},
		{
			name: "all CPUs of the machine",
			task: engineopts.Task{CPU: 4096},
			want: container.Resources{CPUShares: 4096},
		},
		{
			name: "equal part of the remaining CPU",
			task: engineopts.Task{CPU: 1024},
			more: []agent.ContainerSpec{{CPU: 512}, {}},
			want: container.Resources{CPUShares: 256, NanoCPUs: 1e9},
		},
		{
			name: "no remaining CPU",
			task: engineopts.Task{CPU: 1024},
			more: []agent.ContainerSpec{{CPU: 2048}},
			want: container.Resources{CPUShares: 2, NanoCPUs: 1e9},
		},
		{
			name: "more CPU shares than Linux accepts",
			c:    agent.ContainerSpec{CPU: 1 << 20},
			want: container.Resources{CPUShares: 262144},
		},
		{
			name: "reservation above the task's memory",
			task: engineopts.Task{Memory: 64},
			c:    agent.ContainerSpec{Reservation: 128},
			want: container.Resources{CPUShares: 2, Memory: 64 * mib, MemoryReservation: 64 * mib},
		},
		{
			name: "only a reservation",
			c:    agent.ContainerSpec{Reservation: 128},
			want: container.Resources{CPUShares: 2, MemoryReservation: 128 * mib},
		},
		{
			name: "no swap",
			c: agent.ContainerSpec{
				Memory: 64, Options: engineopts.Container{MaxSwapMiB: &swap, Swappiness: &swappiness},
			},
			want: container.Resources{
				CPUShares: 2, Memory: 64 * mib, MemorySwap: 64 * mib, MemorySwappiness: &swappiness64,
			},
		},
		{
			name: "swappiness without maxSwap",
			c:    agent.ContainerSpec{Memory: 64, Options: engineopts.Container{Swappiness: &swappiness}},
			want: container.Resources{CPUShares: 2, Memory: 64 * mib},
		},
	} {
		spec := agent.TaskSpec{Options: tc.task, Containers: append([]agent.ContainerSpec{tc.c}, tc.more...)}
		if diff := cmp.Diff(tc.want, resources(&spec, &tc.c, Assignment{CPUs: 4})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}
