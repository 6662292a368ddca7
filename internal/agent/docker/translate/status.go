package translate

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/bakingclouds/rollcall/internal/agent"
)

// Reasons of containers that have ended or that no client can reach, although the engine may still run them.
const (
	ReasonPaused       = "The container was paused outside of Rollcall (docker pause), so it answers no requests"
	ReasonDisconnected = "The container was disconnected from its network outside of Rollcall " +
		"(docker network disconnect)"
	ReasonOutOfMemory = "OutOfMemoryError: Container killed due to memory usage"
)

// endStates are the engine's states of containers that have ended.
var endStates = []container.ContainerState{container.StateExited, container.StateDead, container.StateRemoving}

// Status returns the state of a container as the engine reports it. address is the address that the container must have
// on network; it is invalid if the container shares the network of another. A container that runs but cannot be reached
// (paused, or disconnected from its network) counts as ended.
//
// The caller adds what the engine does not know: the name in the task definition, the image digest and the ports.
func Status(seen *container.InspectResponse, network string, address netip.Addr) agent.ContainerStatus {
	s := agent.ContainerStatus{RuntimeID: seen.ID, StartedAt: Time(seen.State.StartedAt)}
	switch state := seen.State; {
	case slices.Contains(endStates, state.Status):
		s.FinishedAt = Time(state.FinishedAt)
		if s.FinishedAt.IsZero() {
			s.FinishedAt = time.Now()
		}
		s.Reason = endReason(state)
		if !s.StartedAt.IsZero() {
			s.ExitCode = &state.ExitCode
		}
	case state.Paused:
		s.FinishedAt, s.Reason = time.Now(), ReasonPaused
	case state.Running && address.IsValid() && !connected(seen, network):
		s.FinishedAt, s.Reason = time.Now(), ReasonDisconnected
	case !state.Running: // created, or restarting
		s.StartedAt = time.Time{}
	}
	s.Health, s.HealthOutput = health(seen.State.Health)
	return s
}

// Time parses a time of the engine, which reports an event that has not happened as a time in year 1. Time returns the
// zero time for those.
func Time(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() <= 1 {
		return time.Time{}
	}
	return t
}

// endReason returns why a container ended if its program did not exit by itself.
func endReason(state *container.State) string {
	switch {
	case state.OOMKilled:
		return ReasonOutOfMemory
	case state.Error != "":
		return "CannotStartContainerError: " + state.Error
	}
	return ""
}

func connected(seen *container.InspectResponse, network string) bool {
	if seen.NetworkSettings == nil {
		return false
	}
	_, ok := seen.NetworkSettings.Networks[network]
	return ok
}

// maxHealthOutput limits the output of a failed health check, in bytes.
const maxHealthOutput = 4 << 10

func health(h *container.Health) (agent.Health, string) {
	if h == nil {
		return agent.HealthUnknown, ""
	}
	switch h.Status {
	case container.Healthy:
		return agent.HealthHealthy, ""
	case container.Unhealthy:
		output := ""
		if n := len(h.Log); n > 0 {
			output = strings.ToValidUTF8(strings.TrimSpace(h.Log[n-1].Output), "?")
		}
		return agent.HealthUnhealthy, output[:min(len(output), maxHealthOutput)]
	}
	return agent.HealthUnknown, ""
}
