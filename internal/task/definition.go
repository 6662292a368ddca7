package task

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/engineopts"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
)

// Definition is a task definition: one revision of a family. Sent is the request as the client sent it, and is returned
// unchanged. The other fields are derived from it.
type Definition struct {
	Account, Region string
	Family          string
	Revision        int
	Status          string
	NetworkMode     string // awsvpc, bridge, host, none
	Containers      []ContainerDefinition
	// TaskRole is the role for which the task receives credentials. Its name has no other effect.
	TaskRole string `json:",omitempty"`
	// CPU (in units) and Memory (in MiB) are the limits of the whole task; 0 means none.
	CPU         int                   `json:",omitempty"`
	Memory      int                   `json:",omitempty"`
	Constraints []PlacementConstraint `json:",omitempty"`
	// Unmet describes a requirement of the definition that no runtime supports. If it is not empty, tasks of the
	// definition fail to start and have it as their reason.
	Unmet        string          `json:",omitempty"`
	Options      engineopts.Task `json:",omitzero"` // options of container engines; its CPU and Memory equal those above
	Sent         json.RawMessage
	Tags         map[string]string `json:",omitempty"`
	Registered   time.Time
	Deregistered *time.Time `json:",omitempty"`
	DeleteAsked  *time.Time `json:",omitempty"`
}

// Family holds the last revision number of a family. A number is never reused.
type Family struct{ Last int }

// ContainerDefinition is one container of a task definition.
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
	StopTimeout      time.Duration     // 30 s by default
	// Secrets and EnvironmentFiles name values that are added to the environment when the task starts. Rows contain the
	// names, never the values.
	Secrets          []Secret `json:",omitempty"`
	EnvironmentFiles []string `json:",omitempty"` // ARNs of objects in S3
	// CPU (in units), Memory and MemoryReservation (in MiB) are the limits of the container; 0 means none.
	CPU               int `json:",omitempty"`
	Memory            int `json:",omitempty"`
	MemoryReservation int `json:",omitempty"`
	// Log is the configuration of the log driver awslogs, nil for other drivers.
	Log     *Log                 `json:",omitempty"`
	Ulimits []Ulimit             `json:",omitempty"`
	Options engineopts.Container `json:",omitzero"` // options of container engines
}

// Ulimit is a resource limit under the name that ECS gives it; -1 means unlimited.
type Ulimit struct {
	Name       string
	Soft, Hard int64
}

// Log is the configuration of the log driver awslogs.
type Log struct {
	Region, Group string
	Prefix        string `json:",omitempty"`
	Create        bool   `json:",omitempty"` // whether a missing group is created
}

// Stream returns the name of the log stream of a task's container (ECS Developer Guide, "Send Amazon ECS logs to
// CloudWatch"). Without a prefix the name is the container's id in its ARN; at AWS it is Docker's id of the container.
func (l *Log) Stream(task ID, container string) string {
	if l.Prefix == "" {
		return ContainerID(task, container)
	}
	return l.Prefix + "/" + container + "/" + string(task)
}

// Secret is an environment variable whose value is read from a secret or parameter.
type Secret struct {
	Name string
	From string // the ARN of a secret, or the name or ARN of a parameter
}

// PortMapping is a port that a container listens on.
type PortMapping struct {
	Name          string `json:",omitempty"`
	ContainerPort int
	HostPort      int // 0 lets the node choose (bridge)
	Protocol      string
}

// HealthCheck is the health check of a container, with defaults filled in.
type HealthCheck struct {
	Command     []string // begins with CMD or CMD-SHELL
	Interval    time.Duration
	Timeout     time.Duration
	Retries     int
	StartPeriod time.Duration
}

// Dependency delays the start of a container until another container meets a condition.
type Dependency struct {
	Container string
	Condition string // START, COMPLETE, SUCCESS, HEALTHY
}

// ARN returns the ARN of the definition.
func (d *Definition) ARN() string {
	return DefinitionARN(arn.Scope{Account: d.Account, Region: d.Region}, d.Family, d.Revision)
}

// DefinitionARN returns the ARN of a revision of a family.
func DefinitionARN(sc arn.Scope, family string, revision int) string {
	return ecsARN(sc, fmt.Sprintf("task-definition/%s:%d", family, revision))
}

// Container returns the container with a name, if it exists.
func (d *Definition) Container(name string) (*ContainerDefinition, bool) {
	for i := range d.Containers {
		if d.Containers[i].Name == name {
			return &d.Containers[i], true
		}
	}
	return nil, false
}

// Checked reports whether an essential container has a health check. If so, essential containers without one do not
// affect the health of a task. According to the ECS guide, one such container keeps the task UNKNOWN forever.
func (d *Definition) Checked() bool {
	for _, c := range d.Containers {
		if c.Essential && c.HealthCheck != nil {
			return true
		}
	}
	return false
}

// RegisterDefinition adds the next revision of a family. It sets the revision number, the status and the time.
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

// GetDefinition returns a revision of a family, or a NotFound error. Revision 0 means the latest active revision.
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
	for n := f.Last; n > 0; n-- { // newest first, to avoid reading a long history
		if d, ok := definitions.Find(r, definitionKey(sc, family, n)); ok && d.Status == Active {
			return d, nil
		}
	}
	return nil, definitionNotFound()
}

func definitionNotFound() error {
	return fault.New(fault.NotFound, "task definition", "Unable to describe task definition.")
}

// ScanDefinitions calls fn with the definitions of a family, or of all families if family is empty, ordered by family
// and revision, until fn returns false.
func ScanDefinitions(r store.Reader, sc arn.Scope, family string, fn func(*Definition) bool) {
	under := sc.Prefix()
	if family != "" {
		under = familyKey(sc, family) + "/"
	}
	definitions.Scan(r, under, "", func(_ string, d *Definition) bool { return fn(d) })
}

// DeregisterDefinition makes a revision inactive. Its tasks continue to run, but no new task or service can use it. An
// inactive revision is returned unchanged.
func DeregisterDefinition(tx *store.Tx, sc arn.Scope, family string, revision int, now time.Time) (*Definition, error) {
	old, err := GetDefinition(tx, sc, family, revision)
	if err != nil || old.Status != Active {
		return old, err
	}
	d := *old
	d.Status, d.Deregistered = Inactive, &now
	definitions.Put(tx, definitionKey(sc, family, d.Revision), &d)
	return &d, nil
}

// DeleteDefinition requests the deletion of an inactive revision; [ReapDefinitions] deletes it when it is unused. A
// repeated request returns the revision unchanged. The error texts are those of failures of DeleteTaskDefinitions.
func DeleteDefinition(tx *store.Tx, sc arn.Scope, family string, revision int, now time.Time) (*Definition, error) {
	old, ok := definitions.Find(tx, definitionKey(sc, family, revision))
	switch {
	case !ok:
		return nil, fault.New(fault.NotFound, "revision",
			"The specified task definition does not exist. Specify a valid account, family, revision and try again.")
	case old.Status == Active:
		return nil, fault.New(fault.InUse, "revision",
			"The specified task definition is still in ACTIVE status. Please deregister the target and try again.")
	case old.Status == DeleteInProgress:
		return old, nil
	}
	d := *old
	d.Status, d.DeleteAsked = DeleteInProgress, &now
	definitions.Put(tx, definitionKey(sc, family, d.Revision), &d)
	return &d, nil
}

// ReapDefinitions deletes up to limit revisions whose deletion was requested and that are unused: no task row and no
// service that is not INACTIVE refers to them. It reports whether more such revisions remain. Their numbers are not
// reused.
func ReapDefinitions(tx *store.Tx, limit int) (more bool) {
	doomed := map[string]bool{}
	definitions.Scan(tx.Snapshot(), "", "", func(key string, d *Definition) bool {
		if d.Status == DeleteInProgress {
			doomed[key] = true
		}
		return true
	})
	if len(doomed) == 0 {
		return false
	}
	// No new row can refer to such a revision, so the rows that use one need no comparison at commit.
	tasks.Scan(tx.Snapshot(), "", "", func(_ string, t *Task) bool {
		delete(doomed, definitionKey(t.Scope(), t.Family, t.Revision))
		return len(doomed) > 0
	})
	services.Scan(tx.Snapshot(), "", "", func(_ string, s *Service) bool {
		if s.Status == Inactive {
			return true
		}
		uses := s.Deployments
		if earlier := s.RollbackTarget(); earlier != nil { // a rollback would deploy it again
			uses = append(slices.Clone(uses), *earlier)
		}
		for _, d := range uses {
			delete(doomed, definitionKey(s.Scope(), d.Family, d.Revision))
		}
		return len(doomed) > 0
	})
	for _, key := range slices.Sorted(maps.Keys(doomed)) {
		if limit--; limit < 0 {
			return true
		}
		definitions.Delete(tx, key)
	}
	return false
}

// HasRevisions reports whether a family has revisions, and whether one of them is active.
func HasRevisions(r store.Reader, sc arn.Scope, family string) (have, active bool) {
	if _, err := GetDefinition(r, sc, family, 0); err == nil {
		return true, true
	}
	return !definitions.Empty(r, familyKey(sc, family)+"/"), false
}

// ScanFamilies calls fn with the names of the families that begin with prefix and are greater than after, in order,
// until fn returns false.
func ScanFamilies(r store.Reader, sc arn.Scope, prefix, after string, fn func(name string) bool) {
	if after != "" {
		after = familyKey(sc, after)
	}
	families.Scan(r, familyKey(sc, prefix), after, func(key string, _ *Family) bool {
		return fn(strings.TrimPrefix(key, sc.Prefix()))
	})
}
