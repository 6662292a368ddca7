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
// A task's life is Create, StartContainer for each of its containers, StopContainer for each, Remove. Every call
// is idempotent, so that a crash repeats it safely: what was done already is left as it is. A container runs at most
// once; one that has ended, or that was stopped before it started, is never started again.
//
// Calls may be made from several goroutines. A call that fails because the runtime's other half (supervisor, Docker
// engine) is out of reach gives an error of kind fault.Unavailable and can be repeated. Tasks outlive the Runtime and
// the process that holds it.
type Runtime interface {
	// Name is the name of the runtime in rows, logs and documents.
	Name() string

	// Capabilities returns what the runtime can do on this machine; the answer does not change.
	Capabilities() Capabilities

	// Prepare fetches what the containers are made of, images, for as long as that takes; fetching is called first when
	// there is something to fetch. It reserves nothing, and Create does without it what it can. The text of its error
	// begins with an ECS reason ("CannotPullContainerError: …").
	Prepare(ctx context.Context, spec TaskSpec, fetching func()) error

	// Create reserves what the task needs before its containers start: its folder, its address, its host ports, its
	// resolver (docker: also its network). It returns the sandbox as it is now; a task that exists keeps the
	// spec of its first Create. fault.Invalid means that this spec can never run here, fault.InUse that a host port of
	// it is taken; nothing stays reserved after an error.
	Create(ctx context.Context, spec TaskSpec) (Sandbox, error)

	// StartContainer starts one container of a created task and returns when its program runs. It does nothing when the
	// container runs or has run. When the program cannot be started, the error's text begins with an ECS reason
	// ("CannotStartContainerError: …"), the container's status ends with that Reason, and repeated calls
	// give the same error.
	StartContainer(ctx context.Context, taskID, container string) error

	// StopContainer sends SIGTERM to the container's processes, and SIGKILL after the timeout; it returns when the
	// container has ended. The stop goes on when ctx ends first. A timeout of zero kills at once; a task or container
	// that is not known, or has ended, is no error.
	StopContainer(ctx context.Context, taskID, container string, timeout time.Duration) error

	// Remove gives back everything the task held, but for what its containers have printed. Containers that still run
	// are killed. A task that is not known is no error.
	Remove(ctx context.Context, taskID string) error

	// Sandboxes lists what exists now, in the order of task ids, with what an earlier process left.
	Sandboxes(ctx context.Context) ([]Sandbox, error)

	// Events delivers the status of every container there is, and then what happens to containers, until Close closes
	// the channel. Each event carries the whole status, so that events in quick succession may be merged into the last
	// of them, and delivery is at least once. After the runtime has reconnected to its other half it begins
	// with every container again, so nothing is missed except sandboxes that somebody else removed: Sandboxes
	// shows those.
	Events() <-chan Event

	// Close lets go of the tasks and leaves them running.
	Close() error
}

// Capabilities is what a runtime can do on its machine.
type Capabilities struct {
	// Images reports that containers are made from images and that their output can go to a log driver, so that the
	// runtime needs the secrets for both.
	Images bool
	// PrivateHosts reports that a task can have an /etc/hosts of its own ([TaskSpec.Hosts]).
	PrivateHosts bool
}

// Network modes, spelled as ECS spells them.
const (
	NetworkAWSVPC = "awsvpc" // the task has an address of its own
	NetworkBridge = "bridge" // the host's address, ports mapped
	NetworkHost   = "host"   // the host's address, the container's own ports
	NetworkNone   = "none"   // no address, no ports
)

// TaskSpec is what a Runtime needs to know of a task. It is kept in the sandbox, so its zero fields must go on meaning
// what they mean today.
type TaskSpec struct {
	ID          string            // letters, digits, "-" and "_", at most 128
	NetworkMode string            // empty is NetworkBridge
	VPC         string            // whose network the task is in; empty is the runtime's first
	Env         map[string]string // for every container; a container's own Env wins
	Labels      map[string]string // of every container, where containers have labels
	Containers  []ContainerSpec   // names are unique
	Options     engineopts.Task   // what only container engines do

	// Rest is for how long clients may hold the task's address, or a host port, after the task: it is given to no other
	// task meanwhile. Zero leaves it to the runtime. Tasks of one Group, unless that is empty, may follow each other on a
	// host port at once: who has the port from an answer finds the same service there.
	Rest  time.Duration
	Group string

	// DNS is the host:port of a DNS server that knows the namespaces, told to containers as ROLLCALL_DNS; empty tells
	// nothing.
	DNS string

	// Resolver makes the containers' /etc/resolv.conf point at Rollcall; nil leaves it as it is. Whether the runtime
	// could do it stands in Sandbox.Resolver.
	Resolver *Resolver

	// Hosts are names that the containers' /etc/hosts has beside the machine's own, where the runtime can give them a
	// private one.
	Hosts map[string]netip.Addr
}

// Resolver is what a private /etc/resolv.conf says.
type Resolver struct {
	// Nameserver answers on port 53. The zero address means the task's own address (process runtime, awsvpc), where
	// the caller then listens: it should have tried that such a port can be had at all.
	Nameserver netip.Addr
	Search     []string // domains tried for short names; nil is none
}

// Conf is the resolv.conf (resolv.conf(5)).
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
	Command          []string          // nil: the image's, unless EntryPoint is given
	Env              map[string]string // wins over the task's; ROLLCALL_… set by the runtime wins over both
	WorkingDirectory string            // empty: the runtime's choice (process: a private empty folder)
	User             string            // "user", "uid", "user:group", "uid:gid"; empty: as the runtime runs
	Ports            []Port
	Ulimits          []Ulimit
	HealthCheck      *HealthCheck // nil: the container's health stays HealthUnknown
	CPU              int          // units, 1024 a core: a share where the engine is busy; 0 is the least
	Memory           int          // MiB, the most; 0 is no bound
	Reservation      int          // MiB, what is kept free for it when memory is short
	Options          engineopts.Container
	// Login is for the registry of the image; nil is what the runtime has of its own. It is for Prepare: no runtime keeps
	// it, in the sandbox or elsewhere.
	Login *Login `json:"-"`
}

// Login is a user's at a registry of images.
type Login struct{ Username, Password string }

// String hides the password from logs and errors.
func (l Login) String() string { return l.Username + ":…" }

// GoString is String, for %#v.
func (l Login) GoString() string { return l.String() }

// Argv is entryPoint, then command.
func (c *ContainerSpec) Argv() []string {
	return append(append([]string(nil), c.EntryPoint...), c.Command...)
}

// Port is one port that a container listens on.
type Port struct {
	Container uint16
	// Host is the port on the host's address in bridge and host mode, 0 to choose a free one. In awsvpc mode it is
	// ignored: the container port itself is bound, on the task's own address.
	Host     uint16
	Protocol string // "tcp" or "udp"; empty is tcp
}

// Ulimit is one resource limit, named as ECS names it ("nofile", "core", …); -1 is no limit.
type Ulimit struct {
	Name       string
	Soft, Hard int64
}

// HealthCheck is a command whose exit status 0 says that the container is healthy. Zero durations and counts mean
// ECS's defaults: interval 30 s, timeout 5 s, 3 retries, no start period.
type HealthCheck struct {
	Command     []string // begins with CMD (program and arguments) or CMD-SHELL (one line for /bin/sh); ["NONE"] is no check
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
	return nil, errors.New("healthCheck: the command must begin with CMD, a program and its arguments, or with CMD-SHELL and " +
		"a shell command")
}

// Health is the verdict of a container's health check.
type Health string

// The verdicts, spelled as ECS spells them.
const (
	HealthUnknown   Health = "UNKNOWN" // no check, or no verdict yet
	HealthHealthy   Health = "HEALTHY"
	HealthUnhealthy Health = "UNHEALTHY"
)

// Sandbox is a created task as the runtime sees it now.
type Sandbox struct {
	TaskID string
	// Address is the task's own address in awsvpc mode, the host's in bridge and host mode, and zero in mode none.
	Address netip.Addr
	// Address6 is its IPv6 address, of a task whose network has both.
	Address6 netip.Addr
	// Resolver says that the containers have a private /etc/resolv.conf, as TaskSpec.Resolver asked.
	Resolver   bool
	Containers []ContainerStatus // in the order of the spec
}

// ContainerStatus is one container as the runtime sees it now. It begins with StartedAt and FinishedAt zero, and only
// ever moves on: running, then ended.
type ContainerStatus struct {
	Name       string
	Image      string    // the digest of its image, "sha256:…"; empty where it has none
	RuntimeID  string    // process: the pid; docker: the container id; empty before the start
	StartedAt  time.Time // zero: its program never ran
	FinishedAt time.Time // zero: it has not ended
	// ExitCode is what the program returned, or 128 + the signal that ended it; nil while it runs, when it never ran, and
	// when nobody saw the end (Reason says why).
	ExitCode *int
	// Reason explains an end that the program did not choose by itself, in ECS's words ("CannotStartContainerError: …").
	Reason string
	Health Health
	// HealthOutput is what the last health check that counted against the container printed, at most 4 KiB; empty when
	// the last check passed.
	HealthOutput string
	Ports        []PortBinding // known from Create on (docker: from the start on)
}

// Running says that the container's program has started and has not ended.
func (s ContainerStatus) Running() bool { return !s.StartedAt.IsZero() && s.FinishedAt.IsZero() }

// Ended says that the container will not run (again), whether or not it ever did.
func (s ContainerStatus) Ended() bool { return !s.FinishedAt.IsZero() }

// PortBinding is where a container port can be reached.
type PortBinding struct {
	Container uint16
	Host      uint16 // awsvpc: the container port
	HostIP    netip.Addr
	Protocol  string // "tcp" or "udp"
}

// Event says that a container's status has changed, and to what.
type Event struct {
	TaskID string
	Status ContainerStatus
}

// Usage is what a container has used since it started, and the machine since its own start.
type Usage struct {
	Processes    int
	User, Kernel time.Duration // of the processes that run
	Memory       int64         // bytes, resident
	Machine      time.Duration // what all processors have had, idle time too
}
