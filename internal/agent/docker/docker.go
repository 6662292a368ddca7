// Package docker runs ECS tasks as containers of the machine's Docker Engine. Linux only; elsewhere [New] fails.
//
//	server: Runtime ── /var/run/docker.sock ── Docker Engine ── the containers
//	   │ docker/tasks/ID/task.json: a file for each task, with what it has reserved
//
// Start reading at [Runtime] and [New] in runtime_linux.go, then follow one task:
//
//   - create_linux.go: Create reserves addresses and ports (reservation_linux.go), stores the task file
//     (storedtask.go), and creates volumes and the pause container; StartContainer creates and starts a container
//     (assignment_linux.go).
//   - observe_linux.go: events of the engine, and ends of the containers' processes, change the task's state
//     (sandbox_linux.go) and become events of the agent. reconnect_linux.go follows the engine's event stream.
//   - stop_linux.go: StopContainer and Remove.
//   - node_linux.go: DNS and the metadata endpoint on the containers' networks; selftest_linux.go tests the first.
//
// The packages below hold what needs no state of a task: engineapi (connection, errors, labels), image, network,
// translate (options and status), logcopy, pidwatch, role (what runs inside a pause container) and leftovers.
//
// The runtime promises:
//
//   - A task's address (awsvpc) is on a Docker network of its VPC. Rollcall assigns it from this node's slice of the
//     VPC. Neither the address nor a host port is given to another task while the task exists and for [quarantine]
//     after.
//   - A container runs at most once, except for restarts by its restart policy.
//   - Nothing is lost if the server dies: it finds containers again by the task files and by their labels.
//     It touches nothing without the label of its data folder.
//   - A container that no client can reach (ended, paused, disconnected from its network, removed outside of Rollcall)
//     is reported as ended, also while the engine does not answer.
//
// It does not know clusters, services or the store, nor DNS beyond the text of resolv.conf.
package docker

import (
	"log/slog"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"
	"github.com/bakingclouds/rollcall/internal/agent/docker/network"
)

// Config configures a Runtime.
type Config struct {
	// Dir is the data folder. Its folder "docker" holds the task files and the owner id.
	Dir string
	// Host is the engine's URL. If it is empty, the runtime uses the one that the docker command uses.
	Host string
	// Binary is a static build of this program, for pause containers and the sample image. If it is empty, the runtime
	// uses the running program.
	Binary string
	// Networks are the networks of the VPCs, the first VPC's first. There must be at least one.
	Networks []network.Network
	// HostAddress is the address of tasks in network modes bridge and host.
	HostAddress netip.Addr
	Logger      *slog.Logger // slog.Default if nil
}

// quarantine is the shortest time for which an address or host port stays reserved after its task is removed, so that a
// client with a cached answer does not reach another task. It is longer if answers are cached longer; see
// [agent.TaskSpec.Rest].
const quarantine = 10 * time.Minute

func tasksFolder(dir string) string        { return filepath.Join(engineapi.Folder(dir), "tasks") }
func taskFolder(dir, taskID string) string { return filepath.Join(tasksFolder(dir), taskID) }
func taskFile(dir, taskID string) string {
	return filepath.Join(taskFolder(dir, taskID), "task.json")
}
func resolvConfFile(dir, taskID string) string {
	return filepath.Join(taskFolder(dir, taskID), "resolv.conf")
}
func quarantineFile(dir string) string { return filepath.Join(engineapi.Folder(dir), "resting.json") }
