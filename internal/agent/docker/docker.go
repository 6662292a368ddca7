// Package docker runs ECS tasks as containers of the machine's Docker Engine.
//
//	server: Runtime ── /var/run/docker.sock ── Docker Engine ── the containers
//	   │ tasks/ID/task.json: what is reserved    │ events, and the containers' own process ids
//
// The way through the code: [New] and runtime_linux.go (the calls of [agent.Runtime]), slice.go and network.go (the
// networks of VPCs, and this node's part of each), sandbox_linux.go (what a task holds), options.go (a container
// definition in the engine's words), status.go (what the engine shows, in ours), follow_linux.go (events), pids_linux.go
// (ends that the engine does not tell), image.go and own.go (images), logs.go, leftovers.go.
//
// What is promised:
//
//   - A task's address (awsvpc) is its own on a Docker network of its VPC. Rollcall assigns it, out of this node's slice
//     of the VPC, and neither it nor a host port goes to another task while the task exists and for [quarantine] after.
//   - A container runs at most once, but for what its restart policy asks for.
//   - Nothing is lost when the server dies: containers are found again by the records of their tasks and by their labels.
//     Nothing is touched that does not have the label of this data folder.
//   - A container that answers nobody any more (ended, paused, cut off from its network, removed by somebody else) is
//     seen as ended, also while the engine does not answer.
//
// What it does not know: clusters, services, the store, DNS beyond the text of resolv.conf. Linux only; elsewhere [New]
// says so.
package docker

import (
	"log/slog"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"
	"github.com/bakingclouds/rollcall/internal/agent/docker/network"
)

// Config is what a Runtime needs to know.
type Config struct {
	// Dir is the data folder; the folder "docker" in it holds the records of tasks and the owner's name.
	Dir string
	// Host is the engine's URL; empty is what docker's own command would use.
	Host string
	// Binary is a static build of this program, for the pause containers and the sample image; empty is the one that runs.
	Binary string
	// Networks are those of the VPCs, the first VPC's first; at least one.
	Networks []network.Network
	// HostAddress is the address of tasks in bridge and host mode.
	HostAddress netip.Addr
	Logger      *slog.Logger // nil is slog.Default
}

// quarantine is how long an address or host port stays held at least after its task is gone, so that a cached address
// does not lead to another task; longer where answers that name it live longer ([agent.TaskSpec.Rest]).
const quarantine = 10 * time.Minute

// The places in a data folder.
func tasksFolder(dir string) string { return filepath.Join(engineapi.Folder(dir), "tasks") }
func restFile(dir string) string    { return filepath.Join(engineapi.Folder(dir), "resting.json") }
