package translate

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/bakingclouds/rollcall/internal/agent"
)

func TestStatusOf(t *testing.T) {
	const never, then, later = "0001-01-01T00:00:00Z", "2026-01-02T03:04:05.6Z", "2026-01-02T04:04:05.6Z"
	own := netip.MustParseAddr("10.1.0.9")
	on := &container.NetworkSettings{Networks: map[string]*network.EndpointSettings{"n": {}}}
	for _, tc := range []struct {
		name    string
		state   container.State
		net     *container.NetworkSettings
		address netip.Addr
		want    string // state, reason, exit code
	}{
		{"created", container.State{Status: "created", StartedAt: never, FinishedAt: never}, on, own, "waits"},
		{"running", container.State{Status: "running", Running: true, StartedAt: then, FinishedAt: never}, on, own, "runs"},
		{"running again", container.State{Status: "running", Running: true, StartedAt: later, FinishedAt: then}, on, own, "runs"},
		{"paused", container.State{Status: "paused", Running: true, Paused: true, StartedAt: then}, on, own, "ended " + ReasonPaused},
		{"cut off", container.State{Status: "running", Running: true, StartedAt: then}, &container.NetworkSettings{}, own, "ended " + ReasonDisconnected},
		{"shares a network", container.State{Status: "running", Running: true, StartedAt: then}, &container.NetworkSettings{}, netip.Addr{}, "runs"},
		{"exited", container.State{Status: "exited", StartedAt: then, FinishedAt: later, ExitCode: 3}, on, own, "ended 3"},
		{"out of memory", container.State{Status: "exited", StartedAt: then, FinishedAt: later, ExitCode: 137, OOMKilled: true}, on, own, "ended " + ReasonOutOfMemory + " 137"},
		{"never started", container.State{Status: "exited", StartedAt: never, FinishedAt: later, ExitCode: 127, Error: "no such program"}, on, own, "ended CannotStartContainerError: no such program"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := Status(&container.InspectResponse{ID: "id", State: &tc.state, NetworkSettings: tc.net}, "n", tc.address)
			got := "waits"
			switch {
			case s.Ended():
				got = strings.TrimSpace("ended " + s.Reason)
				if s.ExitCode != nil {
					got += map[int]string{3: " 3", 137: " 137"}[*s.ExitCode]
				}
			case s.Running():
				got = "runs"
			}
			if got != tc.want || s.RuntimeID != "id" || s.Health != agent.HealthUnknown {
				t.Errorf("%s; want %s (%+v)", got, tc.want, s)
			}
		})
	}
}

func TestHealthOf(t *testing.T) {
	long := strings.Repeat("x", 2*maxHealthOutput)
	for _, tc := range []struct {
		health *container.Health
		want   agent.Health
		output int
	}{
		{nil, agent.HealthUnknown, 0},
		{&container.Health{Status: container.Starting}, agent.HealthUnknown, 0},
		{&container.Health{Status: container.Healthy, Log: []*container.HealthcheckResult{{Output: "fine"}}}, agent.HealthHealthy, 0},
		{&container.Health{Status: container.Unhealthy}, agent.HealthUnhealthy, 0},
		{&container.Health{Status: container.Unhealthy, Log: []*container.HealthcheckResult{{Output: "old"}, {Output: long}}}, agent.HealthUnhealthy, maxHealthOutput},
	} {
		if got, output := health(tc.health); got != tc.want || len(output) != tc.output {
			t.Errorf("%+v is %s with %d bytes, want %s with %d", tc.health, got, len(output), tc.want, tc.output)
		}
	}
}
