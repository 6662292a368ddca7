// Package process runs ECS tasks as plain processes of this machine: the embedded default runtime, which needs no
// container engine, no image and no root.
//
// A container is a child process: entryPoint and command of its definition. All of them are children of one
// supervisor for each data folder, this same binary in another role, so that the server can be killed and come back
// while the tasks go on under the same pids:
//
//	server: Runtime ── DATA/supervisor.sock ── supervisor ── container-init ⇒ exec ⇒ the container's program
//	   │ health.go: when to check, what the results mean    │ exec: a health check, the same way
//
// The way through the code: [New] and runtime_linux.go (the server's side), protocol.go (what passes between the two),
// supervisor_linux.go ([Supervise]: the calls), sandbox_linux.go (what a task holds), container_linux.go (start, stop,
// end, adoption), launch_linux.go and init_linux.go ([Main]: from fork to exec, with the private /etc/resolv.conf).
//
// What is promised:
//
//   - A task's address (awsvpc: a loopback address of its own out of 127.64.0.0/10) and its host ports belong to no
//     other task of any Rollcall on this machine, while the task exists and for [quarantine] after.
//   - A container runs at most once. Its end is reported after all its processes are gone, also those that
//     moved to a session of their own.
//   - Nothing is lost when the server dies. When the supervisor dies too, a new one adopts what runs; only the exit
//     codes of adopted containers stay unknown.
//   - A task that listens on 0.0.0.0 or [::] in awsvpc mode is ended, since it would answer for its siblings.
//
// What it does not know: clusters, services, the store, DNS beyond the text of resolv.conf. It does not isolate: a
// task sees the machine as its user does, and memory and CPU are not limited. Linux only; elsewhere [New] says so.
package process

import (
	"log/slog"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/bakingclouds/rollcall/internal/containerlog"
)

// Config is what a Runtime needs to know.
type Config struct {
	// Dir is the data folder, made with mode 0700 when missing. The supervisor's socket, lock and log and the folder
	// "tasks" lie in it.
	Dir string
	// HostAddress is the address of tasks in bridge and host mode; zero is 127.0.0.1.
	HostAddress netip.Addr
	// Logger takes what no caller is told, such as a supervisor that had to be started again; nil is slog.Default.
	Logger *slog.Logger
}

// quarantine is how long an address or host port stays held at least after its task is gone, so that a cached address does
// not lead to another task; longer where answers that name it live longer ([agent.TaskSpec.Rest]).
const quarantine = 10 * time.Minute

// addressBlock is where the addresses of tasks come from: the half of 127/8 that nothing else is known to use.
var addressBlock = netip.MustParsePrefix("127.64.0.0/10")

// The roles of the binary that Main plays.
const (
	superviseRole = "supervise"
	initRole      = "container-init"
)

// The files of a data folder.
func socketName() string { return "supervisor.sock" }

func lockFile(dir string) string          { return filepath.Join(dir, "supervisor.lock") }
func supervisorLogFile(dir string) string { return filepath.Join(dir, "supervisor.log") }
func tasksFolder(dir string) string       { return filepath.Join(dir, "tasks") }

// LogFile is where a container's standard output and error go.
func LogFile(dir, taskID, container string) string {
	return containerlog.File(containerlog.Folder(containerlog.Root(dir), taskID, container))
}
