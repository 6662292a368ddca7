package translate

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/bakingclouds/rollcall/internal/agent"
)

// TestStatus compares the state, the reason and the exit code, as one string.
func TestStatus(t *testing.T) {
	const never, then, later = "0001-01-01T00:00:00Z", "2026-01-02T03:04:05.6Z", "2026-01-02T04:04:05.6Z"
	own := netip.MustParseAddr("10.1.0.9")
	connected := &container.NetworkSettings{Networks: map[string]*network.EndpointSettings{"n": {}}}
	disconnected := &container.NetworkSettings{}
	for _, tc := range []struct {
		name    string
		state   container.State
		net     *container.NetworkSettings
		address netip.Addr
		want    string
	}{
		{"created",
			container.State{Status: "created", StartedAt: never, FinishedAt: never}, connected, own, "created"},
		{"running",
			container.State{Status: "running", Running: true, StartedAt: then, FinishedAt: never}, connected, own,
			"running"},
		{"running again",
			container.State{Status: "running", Running: true, StartedAt: later, FinishedAt: then}, connected, own,
			"running"},
		{"paused",
			container.State{Status: "paused", Running: true, Paused: true, StartedAt: then}, connected, own,
			"ended " + ReasonPaused},
		{"disconnected",
			container.State{Status: "running", Running: true, StartedAt: then}, disconnected, own,
			"ended " + ReasonDisconnected},
		{"shares a network",
			container.State{Status: "running", Running: true, StartedAt: then}, disconnected, netip.Addr{}, "running"},
		{"exited",
			container.State{Status: "exited", StartedAt: then, FinishedAt: later, ExitCode: 3}, connected, own,
			"ended 3"},
		{"out of memory",
			container.State{Status: "exited", StartedAt: then, FinishedAt: later, ExitCode: 137, OOMKilled: true},
			connected, own, "ended " + ReasonOutOfMemory + " 137"},
		{"never started",
			container.State{Status: "exited", StartedAt: never, FinishedAt: later, ExitCode: 127,
				Error: "no such program"},
			connected, own,
			"ended CannotStartContainerError: no such program"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := Status(&container.InspectResponse{ID: "id", State: &tc.state, NetworkSettings: tc.net}, "n",
				tc.address)
			got := "created"
			switch {
			case s.Ended():
				got = strings.TrimSpace("ended " + s.Reason)
				if s.ExitCode != nil {
					got += map[int]string{3: " 3", 137: " 137"}[*s.ExitCode]
				}
			case s.Running():
				got = "running"
			}
			if got != tc.want || s.RuntimeID != "id" || s.Health != agent.HealthUnknown {
				t.Errorf("status is %s, want %s (%+v)", got, tc.want, s)
			}
		})
	}
}

func TestHealth(t *testing.T) {
	long := strings.Repeat("x", 2*maxHealthOutput)
	results := func(outputs ...string) (all []*container.HealthcheckResult) {
		for _, o := range outputs {
			all = append(all, &container.HealthcheckResult{Output: o})
		}
		return all
	}
	for _, tc := range []struct {
		name   string
		health *container.Health
		want   agent.Health
		output int // length
	}{
		{"no check", nil, agent.HealthUnknown, 0},
		{"starting", &container.Health{Status: container.Starting}, agent.HealthUnknown, 0},
		{"healthy", &container.Health{Status: container.Healthy, Log: results("fine")}, agent.HealthHealthy, 0},
		{"unhealthy, no output", &container.Health{Status: container.Unhealthy}, agent.HealthUnhealthy, 0},
		{"unhealthy, long output", &container.Health{Status: container.Unhealthy, Log: results("old", long)},
			agent.HealthUnhealthy, maxHealthOutput},
	} {
		if got, output := health(tc.health); got != tc.want || len(output) != tc.output {
			t.Errorf("%s: %s with %d bytes of output, want %s with %d", tc.name, got, len(output), tc.want, tc.output)
		}
	}
}
