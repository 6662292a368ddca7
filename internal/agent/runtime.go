package agent

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/bakingclouds/rollcall/internal/engineopts"
)

// Runtime runs the tasks placed on this node.
//
// The calls for a task are Create, StartContainer for each of its containers, StopContainer for each, and Remove. Every
// call is idempotent, so that it can be repeated after a crash. A container runs at most once: one that has ended, or
// that was stopped before it started, is never started again.
//
// Several goroutines may make calls at the same time. A call that fails because the runtime's other half (supervisor,
// Docker Engine) is unavailable returns an error of kind fault.Unavailable, and can be repeated. Tasks outlive the
// Runtime and its process.
type Runtime interface {
	// Name returns the name of the runtime in rows, logs and documents.
	Name() string

	// Capabilities returns what the runtime can do on this machine; the answer does not change.
	Capabilities() Capabilities

	// Prepare fetches the images of the containers, for as long as that takes. It calls fetching first if it has to fetch
	// anything. It reserves nothing; without it, Create uses the images that exist. The text of its error begins with a
	// reason of ECS ("CannotPullContainerError: …").
	Prepare(ctx context.Context, spec TaskSpec, fetching func()) error

	// Create reserves what the task needs before its containers start: its folder, its address, its host ports, its
	// resolver (docker: also its network). It returns the sandbox as it is now; a task that exists keeps the spec of its
	// first Create. An error of kind fault.Invalid means that this runtime can never run the spec, fault.InUse that a host
	// port is in use. After an error nothing stays reserved.
	Create(ctx context.Context, spec TaskSpec) (Sandbox, error)

	// StartContainer starts one container of a created task and returns when its program runs. It does nothing if the
	// container runs or has run. If the program cannot be started, the text of the error begins with a reason of ECS
	// ("CannotStartContainerError: …"), the container has ended with that Reason, and repeated calls return the same
	// error.
	StartContainer(ctx context.Context, taskID, container string) error

	// StopContainer sends SIGTERM to the container's processes, and SIGKILL after the timeout; it returns when the
	// container has ended. If ctx is done first, the stop continues. A timeout of zero sends SIGKILL immediately. It
	// returns nil for a task or container that does not exist or has ended.
	StopContainer(ctx context.Context, taskID, container string, timeout time.Duration) error

	// Remove kills the containers that still run, and releases everything that the task holds except for the output of its
	// containers. It returns nil for a task that does not exist.
	Remove(ctx context.Context, taskID string) error

	// Sandboxes returns what exists now, in the order of task ids, including what an earlier process created.
	Sandboxes(ctx context.Context) ([]Sandbox, error)

	// Events delivers the status of every existing container, and then what happens to containers, until Close closes the
	// channel. Each event carries the whole status, so that several quick events may be merged into the last of them.
	// Delivery is at least once. After the runtime has reconnected to its other half, it delivers every container again,
	// so that the reader misses nothing except sandboxes that something else removed; Sandboxes shows those.
	Events() <-chan Event

	// Close releases the Runtime and leaves the tasks running.
	Close() error
}

// Capabilities is what a runtime can do on its machine.
type Capabilities struct {
	// Images reports that containers are made from images and that their output can go to a log driver, so that the
	// runtime needs the secrets for both.
	Images bool
	// PrivateHosts reports that a task can have its own /etc/hosts ([TaskSpec.Hosts]).
	PrivateHosts bool
}

// Network modes, as ECS spells them.
const (
	NetworkAWSVPC = "awsvpc" // the task has its own address
	NetworkBridge = "bridge" // the host's address, ports mapped
	NetworkHost   = "host"   // the host's address, the container's ports
	NetworkNone   = "none"   // no address, no ports
)

// TaskSpec is a task as a Runtime needs it. The runtime keeps it in the sandbox, so that the meaning of its zero fields
// must not change.
type TaskSpec struct {
	ID          string            // letters, digits, "-" and "_", at most 128
	NetworkMode string            // empty is NetworkBridge
	VPC         string            // the VPC whose network the task is in; empty is the runtime's first
	Env         map[string]string // for every container; a container's Env wins
	Labels      map[string]string // of every container, where containers have labels
	Containers  []ContainerSpec   // names are unique
	Options     engineopts.Task   // what only container engines support

	// Rest is the time after the task's end for which clients may use its address or a host port; no other task gets
	// either during that time. Zero leaves it to the runtime. Tasks of one Group, unless it is empty, may follow each
	// other on a host port immediately: a client that has the port from an answer finds the same service there.
	Rest  time.Duration
	Group string

	// DNS is the host:port of a DNS server that knows the namespaces. Containers get it as ROLLCALL_DNS; empty sets
	// nothing.
	DNS string

	// Resolver makes the containers' /etc/resolv.conf point to Rollcall; nil leaves the file as it is. Sandbox.Resolver
	// reports whether the runtime could do it.
	Resolver *Resolver

	// Hosts are names that are added to the containers' /etc/hosts, where the runtime can give them a private one.
	Hosts map[string]netip.Addr
}

// Resolver is the content of a private /etc/resolv.conf.
type Resolver struct {
	// Nameserver answers on port 53. The zero address means the task's own address (process runtime, awsvpc), where the
	// caller then listens; the caller should have tried that such a port can be opened.
	Nameserver netip.Addr
	Search     []string // the domains that are tried for short names; nil is none
}

// Conf returns the text of resolv.conf (resolv.conf(5)).
func (r Resolver) Conf() string {
	text := "# Written by Rollcall for this task.\nnameserver " + r.Nameserver.String() + "\n"
	if len(r.Search) > 0 {
		text += "search " + strings.Join(r.Search, " ") + "\n"
	}
	return text
}

// ContainerSpec is one container of a task.
type ContainerSpec struct {
	Name             string            // letters, digits, "-" and "_", at most 255
	Image            string            // not used by the process runtime
	EntryPoint       []string          // nil: the image's
	Command          []string          // nil: the image's, unless EntryPoint is set
	Env              map[string]string // wins over the task's; the runtime's ROLLCALL_… variables win over both
	WorkingDirectory string            // empty: the runtime's choice (process: a private empty folder)
	User             string            // "user", "uid", "user:group", "uid:gid"; empty: the runtime's own user
	Ports            []Port
	Ulimits          []Ulimit
	HealthCheck      *HealthCheck // nil: the container's health stays HealthUnknown
	CPU              int          // units, 1024 for each core: a share when the engine is busy; 0 is the smallest
	Memory           int          // MiB, the limit; 0 is no limit
	Reservation      int          // MiB, kept free for it when memory is short
	Options          engineopts.Container
	// Login is the login for the image's registry; nil uses the engine's own configuration. Only Prepare uses it: no
	// runtime stores it, in the sandbox or elsewhere.
	Login *Login `json:"-"`
}

// Login is the user name and password for a registry of images.
type Login struct{ Username, Password string }

// String hides the password from logs and errors.
func (l Login) String() string { return l.Username + ":…" }

// GoString is String, for %#v.
func (l Login) GoString() string { return l.String() }

// Argv returns entryPoint followed by command.
func (c *ContainerSpec) Argv() []string {
	return append(append([]string(nil), c.EntryPoint...), c.Command...)
}

// Port is one port that a container listens on.
type Port struct {
	Container uint16
	// Host is the port on the host's address in bridge and host mode, or 0 for any free one. Awsvpc mode ignores it: the
	// container port is bound on the task's own address.
	Host     uint16
	Protocol string // "tcp" or "udp"; empty is tcp
}

// Ulimit is one resource limit, with ECS's name for it ("nofile", "core", …); -1 is unlimited.
type Ulimit struct {
	Name       string
	Soft, Hard int64
}

// HealthCheck is a command whose exit status 0 means that the container is healthy. Zero durations and counts mean
// ECS's defaults: interval 30 s, timeout 5 s, 3 retries, no start period.
type HealthCheck struct {
	// Command begins with CMD (program and arguments) or CMD-SHELL (one line for /bin/sh); ["NONE"] is no check.
	Command     []string
	Interval    time.Duration
	Timeout     time.Duration
	Retries     int
	StartPeriod time.Duration
}

// Argv returns the program that the check runs, nil if there is no check.
func (h *HealthCheck) Argv() ([]string, error) {
	if h == nil || len(h.Command) == 0 {
		return nil, nil
	}
	switch kind, rest := h.Command[0], h.Command[1:]; {
	case kind == "NONE":
		return nil, nil
	case kind == "CMD" && len(rest) > 0 && rest[0] != "":
		return rest, nil
	case kind == "CMD-SHELL" && len(rest) > 0:
		return []string{"/bin/sh", "-c", strings.Join(rest, " ")}, nil
	}
	return nil, errors.New("healthCheck: the command must begin with CMD, a program and its arguments, " +
		"or with CMD-SHELL and a shell command")
}

// Health is the result of a container's health checks.
type Health string

// The results, as ECS spells them.
const (
	HealthUnknown   Health = "UNKNOWN" // no check, or no result yet
	HealthHealthy   Health = "HEALTHY"
	HealthUnhealthy Health = "UNHEALTHY"
)

// Sandbox is a created task as the runtime sees it now.
type Sandbox struct {
	TaskID string
	// Address is the task's own address in awsvpc mode, the host's in bridge and host mode, and zero in mode none.
	Address netip.Addr
	// Address6 is its IPv6 address, if its network has both.
	Address6 netip.Addr
	// Resolver reports that the containers have a private /etc/resolv.conf, as TaskSpec.Resolver requires.
	Resolver   bool
	Containers []ContainerStatus // in the order of the spec
}

// ContainerStatus is one container as the runtime sees it now. At first StartedAt and FinishedAt are zero; then the
// container only moves on: running, then ended.
type ContainerStatus struct {
	Name       string
	Image      string    // the digest of its image, "sha256:…"; empty if it has none
	RuntimeID  string    // process: the pid; docker: the container id; empty before the start
	StartedAt  time.Time // zero: its program never ran
	FinishedAt time.Time // zero: it has not ended
	// ExitCode is the program's exit code, or 128 + the signal that ended it. It is nil while the program runs, if it
	// never ran, and if the runtime did not observe the end (Reason explains why).
	ExitCode *int
	// Reason explains an end that the program did not choose, in ECS's words ("CannotStartContainerError: …").
	Reason string
	Health Health
	// HealthOutput is the output of the last failed health check that counted, at most 4 KiB; empty if the last check
	// passed.
	HealthOutput string
	Ports        []PortBinding // set from Create on (docker: from the start on)
}

// Running reports whether the container's program has started and has not ended.
func (s ContainerStatus) Running() bool { return !s.StartedAt.IsZero() && s.FinishedAt.IsZero() }

// Ended reports whether the container will not run (again), whether or not it ever did.
func (s ContainerStatus) Ended() bool { return !s.FinishedAt.IsZero() }

// PortBinding is the address at which a container port can be reached.
type PortBinding struct {
	Container uint16
	Host      uint16 // awsvpc: the container port
	HostIP    netip.Addr
	Protocol  string // "tcp" or "udp"
}

// Event is a container's new status.
type Event struct {
	TaskID string
	Status ContainerStatus
}

// Usage is what a container has used since its start, and the machine since its own.
type Usage struct {
	Processes    int
	User, Kernel time.Duration // of the processes that run
	Memory       int64         // bytes, resident
	Machine      time.Duration // what all processors have had, including idle time
}
