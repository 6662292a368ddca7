package docker

import (
	"net/netip"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/bakingclouds/rollcall/internal/agent"
)

// Why a container that the engine may still run is seen as ended: it answers nobody, or others in its place.
const (
	reasonPaused  = "The container was paused (docker pause) by somebody else, so that it answers nobody"
	reasonCut     = "The container was disconnected from its network (docker network disconnect) by somebody else"
	reasonRemoved = "The container was removed (docker rm) by somebody else"
	reasonMemory  = "OutOfMemoryError: Container killed due to memory usage"
	reasonUnseen  = "The container's process has ended; the Docker Engine does not answer, so how is not known"
)

// statusOf is what the engine shows of a container, in the agent's words. address is the one that it must have on network;
// invalid where it has none of its own.
func statusOf(c *containerRecord, name string, seen *container.InspectResponse, network string, address netip.Addr) agent.ContainerStatus {
	s := agent.ContainerStatus{
		Name: name, Image: c.Digest, RuntimeID: seen.ID, Health: agent.HealthUnknown, Ports: c.Ports,
		StartedAt: engineTime(seen.State.StartedAt),
	}
	switch state := seen.State; {
	case state.Status == container.StateExited || state.Status == container.StateDead || state.Status == container.StateRemoving:
		s.FinishedAt = engineTime(state.FinishedAt)
		if s.FinishedAt.IsZero() {
			s.FinishedAt = time.Now()
		}
		s.Reason = endOf(state)
		if !s.StartedAt.IsZero() {
			s.ExitCode = &state.ExitCode
		}
	case state.Paused:
		s.FinishedAt, s.Reason = time.Now(), reasonPaused
	case state.Running && address.IsValid() && !connected(seen, network):
		s.FinishedAt, s.Reason = time.Now(), reasonCut
	case !state.Running:
		s.StartedAt = time.Time{} // created
	}
	if c.End != nil && !s.Ended() {
		s.FinishedAt, s.Reason = c.End.At, c.End.Reason
	}
	s.Health, s.HealthOutput = healthOf(seen.State.Health)
	return s
}

// engineTime reads the engine's times; what never was is year 1.
func engineTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() <= 1 {
		return time.Time{}
	}
	return t
}

// endOf says why a container ended, where its program did not choose to.
func endOf(state *container.State) string {
	switch {
	case state.OOMKilled:
		return reasonMemory
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

// maxHealthOutput bounds what is kept of a failed check, in bytes.
const maxHealthOutput = 4 << 10

func healthOf(h *container.Health) (agent.Health, string) {
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
