package task

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/engineopts"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
)

// Definition is one revision of a family: what a task runs. Sent is the request as it came, given back
// unchanged; the rest is what this package's readers need of it.
type Definition struct {
	Account, Region string
	Family          string
	Revision        int
	Status          string
	NetworkMode     string // awsvpc, bridge, host, none
	Containers      []ContainerDefinition
	// TaskRole is the role whose credentials the task is given; its name has no other effect.
	TaskRole string `json:",omitempty"`
	// CPU (in units) and Memory (in MiB) are what the task states for all of its containers; 0 is nothing stated.
	CPU         int                   `json:",omitempty"`
	Memory      int                   `json:",omitempty"`
	Constraints []PlacementConstraint `json:",omitempty"`
	// Unmet is what the definition asks for and no runtime can give; empty when there is nothing. A task of
	// it fails to start with that as its reason.
	Unmet        string          `json:",omitempty"`
	Options      engineopts.Task `json:",omitzero"` // what only container engines do; its CPU and Memory are those above
	Sent         json.RawMessage
	Tags         map[string]string `json:",omitempty"`
	Registered   time.Time
	Deregistered *time.Time `json:",omitempty"`
	DeleteAsked  *time.Time `json:",omitempty"`
}

// Family counts a family's revisions; a number is never used again.
type Family struct{ Last int }

// ContainerDefinition is one container of a definition. Durations are whole seconds in ECS.
type ContainerDefinition struct {
	Name             string
	Image            string
	Essential        bool
	EntryPoint       []string          `json:",omitempty"`
	Command          []string          `json:",omitempty"`
	Environment      map[string]string `json:",omitempty"`
	WorkingDirectory string            `json:",omitempty"`
	User             string            `json:",omitempty"`
	Ports            []PortMapping     `json:",omitempty"`
	HealthCheck      *HealthCheck      `json:",omitempty"`
	DependsOn        []Dependency      `json:",omitempty"`
	StopTimeout      time.Duration     // 30 s unless given
	// Secrets and EnvironmentFiles name what is added to the environment when the task starts: a row has the names,
	// never the values.
	Secrets          []Secret `json:",omitempty"`
	EnvironmentFiles []string `json:",omitempty"` // ARNs of objects in S3
	// CPU, Memory and MemoryReservation are what it states; 0 is nothing.
	CPU               int `json:",omitempty"`
	Memory            int `json:",omitempty"`
	MemoryReservation int `json:",omitempty"`
	// Log is where in CloudWatch Logs the output is read, with the log driver awslogs; nil is nowhere.
	Log     *Log                 `json:",omitempty"`
	Ulimits []Ulimit             `json:",omitempty"`
	Options engineopts.Container `json:",omitzero"` // what only container engines do
}

// Ulimit is one resource limit, by ECS's name; -1 is no limit.
type Ulimit struct {
	Name       string
	Soft, Hard int64
}

// Log is the configuration of the log driver awslogs.
type Log struct {
	Region, Group string
	Prefix        string `json:",omitempty"`
	Create        bool   `json:",omitempty"` // the group, when it is not there
}

// Stream is the name of the log stream of a task's container (ECS Developer Guide, "Send Amazon ECS logs to
// CloudWatch"). AWS calls one without a prefix by Docker's id of the container; here it has the one in its ARN.
func (l *Log) Stream(task ID, container string) string {
	if l.Prefix == "" {
		return ContainerID(task, container)
	}
	return l.Prefix + "/" + container + "/" + string(task)
}

// Secret is a variable whose value is kept elsewhere.
type Secret struct {
	Name string
	From string // the ARN of a secret, or the name or ARN of a parameter
}

// PortMapping is a port that a container listens on.
type PortMapping struct {
	Name          string `json:",omitempty"`
	ContainerPort int
	HostPort      int // 0: chosen (bridge)
	Protocol      string
}

// HealthCheck is a container's health check with its defaults filled in.
type HealthCheck struct {
	Command     []string // CMD or CMD-SHELL first
	Interval    time.Duration
	Timeout     time.Duration
	Retries     int
	StartPeriod time.Duration
}

// Dependency makes a container wait for another.
type Dependency struct {
	Container string
	Condition string // START, COMPLETE, SUCCESS, HEALTHY
}

// ARN is the definition's ARN.
func (d *Definition) ARN() string {
	return DefinitionARN(arn.Scope{Account: d.Account, Region: d.Region}, d.Family, d.Revision)
}

// DefinitionARN is the ARN of a family's revision.
func DefinitionARN(sc arn.Scope, family string, revision int) string {
	return ecsARN(sc, fmt.Sprintf("task-definition/%s:%d", family, revision))
}

// Container finds a container by its name.
func (d *Definition) Container(name string) (*ContainerDefinition, bool) {
	for i := range d.Containers {
		if d.Containers[i].Name == name {
			return &d.Containers[i], true
		}
	}
	return nil, false
}

// Checked reports whether an essential container has a health check; containers without one are then not
// asked. (The ECS guide lets one essential container without a check keep a task UNKNOWN for ever.)
func (d *Definition) Checked() bool {
	for _, c := range d.Containers {
		if c.Essential && c.HealthCheck != nil {
			return true
		}
	}
	return false
}

// RegisterDefinition writes the family's next revision; it fills in its number, status and time.
func RegisterDefinition(tx *store.Tx, sc arn.Scope, d Definition, now time.Time) *Definition {
	key := familyKey(sc, d.Family)
	last := 0
	if f, ok := families.Find(tx, key); ok {
		last = f.Last
	}
	d.Account, d.Region, d.Revision, d.Status, d.Registered = sc.Account, sc.Region, last+1, Active, now
	families.Put(tx, key, &Family{Last: d.Revision})
	definitions.Put(tx, definitionKey(sc, d.Family, d.Revision), &d)
	return &d
}

// GetDefinition finds a revision of a family; revision 0 is the latest active one.
func GetDefinition(r store.Reader, sc arn.Scope, family string, revision int) (*Definition, error) {
	if revision > 0 {
		if d, ok := definitions.Find(r, definitionKey(sc, family, revision)); ok {
			return d, nil
		}
		return nil, definitionNotFound()
	}
	f, ok := families.Find(r, familyKey(sc, family))
	if !ok {
		return nil, definitionNotFound()
	}
	for n := f.Last; n > 0; n-- { // from the newest, so that a long history is not read
		if d, ok := definitions.Find(r, definitionKey(sc, family, n)); ok && d.Status == Active {
			return d, nil
		}
	}
	return nil, definitionNotFound()
}

func definitionNotFound() error {
	return fault.New(fault.NotFound, "task definition", "Unable to describe task definition.")
}

// ScanDefinitions calls fn with the region's definitions by family and revision; only those of a family
// unless family is empty.
func ScanDefinitions(r store.Reader, sc arn.Scope, family string, fn func(*Definition) bool) {
	under := sc.Prefix()
	if family != "" {
		under = familyKey(sc, family) + "/"
	}
	definitions.Scan(r, under, "", func(_ string, d *Definition) bool { return fn(d) })
}
