// Package engineopts is what a task definition asks of a container engine and of no other runtime: for most of it, the
// Amazon ECS API Reference ("ContainerDefinition") names the option of docker run that it maps to.
//
// The values are kept in rows, so their zero values must go on meaning what they mean today: not asked for.
package engineopts

import "time"

// Task is what a task asks for all of its containers.
type Task struct {
	CPU, Memory int      `json:",omitempty"` // what the task states: units (1024 a core), MiB; the most for all containers together
	PID         string   `json:",omitempty"` // "host", "task"; empty: a namespace of its own for each container
	IPC         string   `json:",omitempty"` // "host", "task", "none"
	Volumes     []Volume `json:",omitempty"`
}

// Shared says that several containers of a task share the namespace of a mode, PID or IPC.
const Shared = "task"

// Volume is storage that containers mount by its name.
type Volume struct {
	Name       string
	HostPath   string            `json:",omitempty"` // a folder of the host; the engine makes it when missing
	Shared     bool              `json:",omitempty"` // outlives the task
	Create     bool              `json:",omitempty"` // a shared one that is not there (autoprovision)
	Driver     string            `json:",omitempty"` // empty is the engine's own, local
	DriverOpts map[string]string `json:",omitempty"`
	Labels     map[string]string `json:",omitempty"`
}

// Container is what one container asks for.
type Container struct {
	Mounts      []Mount       `json:",omitempty"`
	VolumesFrom []VolumesFrom `json:",omitempty"`

	ReadonlyRoot      bool `json:",omitempty"`
	Privileged        bool `json:",omitempty"`
	DisableNetworking bool `json:",omitempty"`
	Interactive       bool `json:",omitempty"`
	TTY               bool `json:",omitempty"`

	Hostname   string            `json:",omitempty"`
	DNS        []string          `json:",omitempty"` // in place of Rollcall's own
	DNSSearch  []string          `json:",omitempty"`
	ExtraHosts []string          `json:",omitempty"` // "name:address"
	Links      []string          `json:",omitempty"` // "container:alias", of the same task
	Labels     map[string]string `json:",omitempty"`

	SecurityOpt []string          `json:",omitempty"`
	Sysctls     map[string]string `json:",omitempty"`
	CapAdd      []string          `json:",omitempty"`
	CapDrop     []string          `json:",omitempty"`
	Devices     []Device          `json:",omitempty"`
	Init        bool              `json:",omitempty"`
	ShmMiB      int               `json:",omitempty"`
	Tmpfs       map[string]string `json:",omitempty"` // path: options of mount(8)
	// MaxSwapMiB is how much it may swap beyond its memory, and Swappiness how readily (0 to 100); nil is the engine's way.
	MaxSwapMiB *int `json:",omitempty"`
	Swappiness *int `json:",omitempty"`

	// LogDriver and LogOptions are the engine's; empty is the one that Rollcall reads fastest. What Rollcall shows of
	// the output is the same with all of them.
	LogDriver  string            `json:",omitempty"`
	LogOptions map[string]string `json:",omitempty"`
	LogSecrets map[string]string `json:",omitempty"` // options whose values are secrets: the secrets' names

	// Login names the secret with the user name and password of the image's registry; empty is the engine's own login.
	Login string `json:",omitempty"`

	StartTimeout time.Duration  `json:",omitempty"` // how long others wait for it (dependsOn); 0 is for ever
	Restart      *RestartPolicy `json:",omitempty"`
}

// Mount puts a volume into a container.
type Mount struct {
	Volume   string
	Path     string
	ReadOnly bool `json:",omitempty"`
}

// VolumesFrom puts all that another container of the task mounts into a container.
type VolumesFrom struct {
	Container string
	ReadOnly  bool `json:",omitempty"`
}

// Device is a device of the host.
type Device struct {
	Host        string
	Container   string `json:",omitempty"`
	Permissions string `json:",omitempty"` // of "rwm"; empty is all
}

// RestartPolicy starts a container anew that has ended by itself, unless it ended with one of some exit codes or within a
// period after its last start.
type RestartPolicy struct {
	Ignored []int `json:",omitempty"`
	Period  time.Duration
}
