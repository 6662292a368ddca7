// Package process runs ECS tasks as plain processes of this machine. It needs no container engine, no image and no
// root.
//
// A container is a child process that runs the entryPoint and command of its definition. The parent of all containers
// of a data folder is one supervisor, this same binary in another role (package supervisor), so that the server can be
// killed and come back while the tasks run on under the same pids:
//
//	server: Runtime ── DATA/supervisor.sock ── supervisor ── container-init ⇒ exec ⇒ the container's program
//	   │ health.go: when to check, what the results mean    │ exec: a health check, the same way
//
// Where to start reading: [New] and runtime_linux.go (the calls of [agent.Runtime]), connection_linux.go (calls to the
// supervisor), connect_linux.go (how a supervisor is found or started), checks_linux.go and health.go (health checks),
// node_linux.go (names and addresses on this node). Package protocol defines the messages.
//
// What it promises is in the comment of package supervisor. In addition: the calls wait while a supervisor that has
// died is replaced, and nothing is lost when the server dies.
//
// It does not know clusters, services, the store, or DNS beyond the text of resolv.conf. It does not isolate: a task
// sees the machine as its user does, and its memory and CPU are not limited. Linux only; elsewhere [New] returns an
// error.
package process

import (
	"log/slog"
	"net/netip"

	"github.com/bakingclouds/rollcall/internal/containerlog"
)

// Config configures a Runtime.
type Config struct {
	// Dir is the data folder. It is made with mode 0700 if it does not exist. It contains the supervisor's socket, lock
	// and log, and the folder "tasks".
	Dir string
	// HostAddress is the address of tasks in bridge and host mode; zero is 127.0.0.1.
	HostAddress netip.Addr
	// Logger logs what no caller gets as an error, such as the restart of the supervisor; nil is slog.Default.
	Logger *slog.Logger
}

// LogFile returns the path of the file with a container's standard output and error.
func LogFile(dir, taskID, container string) string {
	return containerlog.File(containerlog.Folder(containerlog.Root(dir), taskID, container))
}
