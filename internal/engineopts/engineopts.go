// Package engineopts defines the options of a task definition that only container engines support. The Amazon ECS API
// Reference ("ContainerDefinition") names the option of docker run for most of them.
//
// Rows store these types, so a zero value must always mean that the option is not set.
package engineopts

import "time"

// Task holds the options that apply to all containers of a task.
type Task struct {
	CPU, Memory int      `json:",omitempty"` // limits of all containers together, in units (1024 per core) and MiB
	PID         string   `json:",omitempty"` // "host" or "task"; empty means a separate namespace for each container
	IPC         string   `json:",omitempty"` // "host", "task" or "none"
	Volumes     []Volume `json:",omitempty"`
}

// Shared is the mode, PID or IPC, in which the containers of a task share a namespace.
const Shared = "task"

// Volume is storage that containers mount by name.
type Volume struct {
	Name       string
	HostPath   string            `json:",omitempty"` // a folder of the host; the engine creates a missing one
	Shared     bool              `json:",omitempty"` // whether the volume remains after the task
	Create     bool              `json:",omitempty"` // whether a missing shared volume is created (autoprovision)
	Driver     string            `json:",omitempty"` // empty means the engine's default, local
	DriverOpts map[string]string `json:",omitempty"`
	Labels     map[string]string `json:",omitempty"`
}

// Container holds the options of one container.
type Container struct {
	Mounts      []Mount       `json:",omitempty"`
	VolumesFrom []VolumesFrom `json:",omitempty"`

	ReadonlyRoot      bool `json:",omitempty"`
	Privileged        bool `json:",omitempty"`
	DisableNetworking bool `json:",omitempty"`
	Interactive       bool `json:",omitempty"`
	TTY               bool `json:",omitempty"`

	Hostname   string            `json:",omitempty"`
	DNS        []string          `json:",omitempty"` // replaces Rollcall's resolver
	DNSSearch  []string          `json:",omitempty"`
	ExtraHosts []string          `json:",omitempty"` // "name:address"
	Links      []string          `json:",omitempty"` // "container:alias", with a container of the same task
	Labels     map[string]string `json:",omitempty"`

	SecurityOpt []string          `json:",omitempty"`
	Sysctls     map[string]string `json:",omitempty"`
	CapAdd      []string          `json:",omitempty"`
	CapDrop     []string          `json:",omitempty"`
	Devices     []Device          `json:",omitempty"`
	Init        bool              `json:",omitempty"`
	ShmMiB      int               `json:",omitempty"`
	Tmpfs       map[string]string `json:",omitempty"` // by path: options of mount(8)
	// MaxSwapMiB is the swap space in addition to the memory, and Swappiness the tendency to use it (0 to 100). Nil means
	// the engine's default.
	MaxSwapMiB *int `json:",omitempty"`
	Swappiness *int `json:",omitempty"`

	// LogDriver and LogOptions are those of the engine. Empty means the driver that Rollcall reads fastest. Rollcall shows
	// the same output with every driver.
	LogDriver  string            `json:",omitempty"`
	LogOptions map[string]string `json:",omitempty"`
	LogSecrets map[string]string `json:",omitempty"` // names of secrets, by the options that have their values

	// Login is the name of the secret with the user name and password for the image registry. Empty means the engine's
	// login.
	Login string `json:",omitempty"`

	// the time for which dependent containers wait (dependsOn); 0 means forever
	StartTimeout time.Duration  `json:",omitempty"`
	Restart      *RestartPolicy `json:",omitempty"`
}

// Mount mounts a volume in a container.
type Mount struct {
	Volume   string
	Path     string
	ReadOnly bool `json:",omitempty"`
}

// VolumesFrom mounts all volumes of another container of the task.
type VolumesFrom struct {
	Container string
	ReadOnly  bool `json:",omitempty"`
}

// Device is a device of the host.
type Device struct {
	Host        string
	Container   string `json:",omitempty"`
	Permissions string `json:",omitempty"` // letters of "rwm"; empty means all
}

// RestartPolicy restarts a container that has exited by itself, except after an exit with an ignored exit code or
// within a period after its last start.
type RestartPolicy struct {
	Ignored []int `json:",omitempty"` // exit codes
	Period  time.Duration
}
