// Package task is the domain of ECS: clusters, task definitions, services and the tasks that run for them.
//
// Rows are where the loops, the agents and the API meet; none calls another. Of a task's row each part has
// its writer: what is wanted ([Task.Desired]) moves once, from RUNNING to STOPPED, and the first reason
// stays; where it runs ([Task.Node]) is placement's; what is seen ([Task.Observed]) is the agent's of that
// node; its entry in service discovery ([Task.Registration]) is the register loop's.
//
// task knows states, revisions and counts. It does not know the wire, nor how a container is run. The facts
// come from the Amazon ECS API Reference and Developer Guide.
package task

import (
	"crypto/rand"
	"encoding/hex"
	"net/netip"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
)

// The tables. Ids begin with the region, so that a region is one range of keys.
var (
	clusters    = store.NewTable[Cluster]("cluster", "task/cluster/")               // region/name
	definitions = store.NewTable[Definition]("task definition", "task/definition/") // region/family/revision
	families    = store.NewTable[Family]("family", "task/family/")                  // region/family
	services    = store.NewTable[Service]("service", "task/service/")               // region/cluster/name
	tasks       = store.NewTable[Task]("task", "task/task/")                        // region/cluster/id
	events      = store.NewTable[Event]("event", "task/event/")                     // region/cluster/service/time

	serviceDeployments = store.NewTable[ServiceDeployment]("service deployment", "task/service-deployment/") // region/cluster/service/id
	serviceRevisions   = store.NewTable[ServiceRevision]("service revision", "task/service-revision/")       // region/cluster/service/number
	nodes              = store.NewTable[Node]("node", "task/node/")                                          // name
	alive              = store.NewTable[Alive]("live node", "task/alive/")                                   // name

	tasksByService = store.NewIndex(tasks, "service", func(_ string, t *Task) string {
		if t.Service == "" {
			return ""
		}
		return t.ServiceRef().Key()
	})
	tasksByNode   = store.NewIndex(tasks, "node", func(_ string, t *Task) string { return t.Node })
	tasksUnplaced = store.NewIndex(tasks, "unplaced", func(_ string, t *Task) string {
		if t.Node == "" && t.Observed.State < Stopped {
			return "waits"
		}
		return ""
	})
	servicesUnplaced = store.NewIndex(services, "unplaced", func(_ string, s *Service) string {
		if s.Unplaced != nil {
			return "waits"
		}
		return ""
	})
)

// Schema lists the tables for store.Open.
func Schema() []store.Schema {
	return []store.Schema{
		clusters, definitions, families, services, serviceDeployments, serviceRevisions, tasks, events, nodes, alive, clearances,
		providers, settings, placements, instances,
	}
}

// State is how far a task has come. It only grows; of two reports the larger is the later.
type State int

// The states of a task, in order (ECS Developer Guide, "Task lifecycle"). Gaps leave room.
const (
	Provisioning   State = 10
	Pending        State = 20
	Activating     State = 30 // containers started; service discovery takes it in
	Running        State = 40
	Deactivating   State = 50 // stop decided; service discovery lets it go
	Stopping       State = 60 // containers are told to stop
	Deprovisioning State = 70
	Stopped        State = 80
)

var stateNames = map[State]string{
	Provisioning: "PROVISIONING", Pending: "PENDING", Activating: "ACTIVATING", Running: "RUNNING",
	Deactivating: "DEACTIVATING", Stopping: "STOPPING", Deprovisioning: "DEPROVISIONING", Stopped: "STOPPED",
}

// String is the state as ECS spells it.
func (s State) String() string { return stateNames[s] }

// The desired statuses.
const (
	DesiredRunning = "RUNNING"
	DesiredStopped = "STOPPED"
)

// Health of a container or task, as ECS spells it.
type Health string

// The verdicts: UNKNOWN until a health check has spoken, or where there is none.
const (
	HealthUnknown   Health = "UNKNOWN"
	HealthHealthy   Health = "HEALTHY"
	HealthUnhealthy Health = "UNHEALTHY"
)

// StopCode classifies why a task ended, as ECS spells it.
type StopCode string

// The stop codes.
const (
	TaskFailedToStart         StopCode = "TaskFailedToStart"
	EssentialContainerExited  StopCode = "EssentialContainerExited"
	TerminationNotice         StopCode = "TerminationNotice"
	UserInitiated             StopCode = "UserInitiated"
	ServiceSchedulerInitiated StopCode = "ServiceSchedulerInitiated"
)

// StopCause is why a task ends: the code that clients compare, and the reason that they show.
type StopCause struct {
	Code   StopCode
	Reason string
}

// Task is one running copy of a definition.
type Task struct {
	Account, Region string
	Cluster         string
	ID              ID
	Service         string `json:",omitempty"` // of the cluster; empty for standalone tasks
	Deployment      string `json:",omitempty"` // of the service: ecs-svc/n
	Family          string
	Revision        int
	Network         *Network   `json:",omitempty"`
	Registries      []Registry `json:",omitempty"`
	// Checked tasks have a health check on an essential container.
	Checked bool `json:",omitempty"`
	Created time.Time

	// How it was asked for. LaunchType is "" for a service's task whose service says it.
	LaunchType       string            `json:",omitempty"`
	CapacityProvider string            `json:",omitempty"` // where a strategy chose
	ExecuteCommand   bool              `json:",omitempty"`
	Tags             map[string]string `json:",omitempty"`

	// Of standalone tasks.
	StartedBy string     `json:",omitempty"`
	GroupName string     `json:",omitempty"`
	Request   string     `json:",omitempty"` // a fingerprint, by which a repeated RunTask is known
	Overrides *Overrides `json:",omitempty"`

	// What is wanted. Stop is the only writer after creation.
	Desired       string
	StopCode      StopCode   `json:",omitempty"`
	StoppedReason string     `json:",omitempty"`
	StoppingAt    *time.Time `json:",omitempty"`

	// OnlyNode is the one node that placement may choose, for a task of a DAEMON service: the rollout loop's, at
	// creation. Empty is any.
	OnlyNode string `json:",omitempty"`

	Node         string       `json:",omitempty"` // placement's
	Reserved     *Resources   `json:",omitempty"` // of the node, until the task has stopped: placement's
	Registration Registration // the register loop's
	// Answered says that service discovery answers with the task: in each of its registries its instance is
	// there, healthy, and not draining. The register loop writes it with the instances' own rows.
	Answered bool     `json:",omitempty"`
	Observed Observed // the agent's
	// Counted says that the service's failures take this task's end into account: the rollout loop's.
	Counted bool `json:",omitempty"`
	// ProtectedUntil keeps a service's task from scale-in and from being replaced by a deployment: Protect's.
	ProtectedUntil *time.Time `json:",omitempty"`
	Version        int64
}

// Registration is a task's entry in service discovery.
type Registration string

// The registrations, in order. Each change is one transaction with the instance's own row.
const (
	Unregistered Registration = ""
	Registered   Registration = "REGISTERED"
	Draining     Registration = "DRAINING" // in no answer any more; clients may still hold its address
	Released     Registration = "RELEASED" // deregistered: it may be told to stop
)

// Observed is what the task's node has seen of it.
type Observed struct {
	State      State
	Containers []Container `json:",omitempty"`
	Address    netip.Addr  `json:",omitzero"` // its own (awsvpc), or the host's
	Address6   netip.Addr  `json:",omitzero"` // its own IPv6 one, beside an IPv4 one
	Health     Health
	StartedAt  *time.Time `json:",omitempty"` // entered RUNNING
	EndedAt    *time.Time `json:",omitempty"` // all containers down
	StoppedAt  *time.Time `json:",omitempty"`
	// PullStartedAt and PullStoppedAt are when its images began and ended to be pulled; nil when nothing was to be.
	PullStartedAt *time.Time `json:",omitempty"`
	PullStoppedAt *time.Time `json:",omitempty"`
	// HealthySince is when the task last turned healthy (or RUNNING, without a health check).
	HealthySince *time.Time `json:",omitempty"`
}

// Container is what is seen of one container of a task.
type Container struct {
	ID        string // the last part of its ARN
	Name      string
	Status    string // PENDING, RUNNING, STOPPED
	RuntimeID string `json:",omitempty"`
	Image     string `json:",omitempty"` // its image's digest
	ExitCode  *int   `json:",omitempty"`
	Reason    string `json:",omitempty"`
	Health    Health
	Bindings  []Binding `json:",omitempty"`
}

// Binding is a port of a container and the host's port that leads to it.
type Binding struct {
	HostIP        string
	ContainerPort int
	HostPort      int
	Protocol      string
}

// Network is an awsvpc configuration.
type Network struct {
	Subnets        []string
	SecurityGroups []string `json:",omitempty"`
	AssignPublicIP string   `json:",omitempty"`
}

// Registry ties a service to one in Cloud Map.
type Registry struct {
	ARN           string
	ServiceID     string // the last part of the ARN
	Port          int    `json:",omitempty"`
	ContainerName string `json:",omitempty"`
	ContainerPort int    `json:",omitempty"`
}

// ARN is the task's ARN.
func (t *Task) ARN() string {
	return t.Ref().ARN()
}

// Group is what the task counts as for placement.
func (t *Task) Group() string {
	switch {
	case t.Service != "":
		return "service:" + t.Service
	case t.GroupName != "":
		return t.GroupName
	}
	return "family:" + t.Family
}

// Live tasks are wanted and have not ended.
func (t *Task) Live() bool { return t.Desired == DesiredRunning && t.Observed.State < Deactivating }

// Serving reports whether the task counts as a healthy running one: in state RUNNING, in the answers where
// it has a registry, and healthy where it has a health check.
//
// Every node takes in revisions in their order. So when one is told of the end of a task that was decided
// because this one serves, it has answered with this one before, and no node's answer is empty in between.
func (t *Task) Serving() bool {
	return t.Live() && t.Observed.State == Running && t.Observed.HealthySince != nil &&
		(len(t.Registries) == 0 || t.Answered)
}

// Ref returns the reference of the task.
func (t *Task) Ref() Ref { return Ref{t.Scope(), t.Cluster, t.ID} }

// ClusterRef returns the reference of the task's cluster.
func (t *Task) ClusterRef() ClusterRef { return ClusterRef{t.Scope(), t.Cluster} }

// ServiceRef returns the reference of the service that the task belongs to.
func (t *Task) ServiceRef() ServiceRef { return ServiceRef{t.Scope(), t.Cluster, t.Service} }

// NewID returns a new task id.
func NewID() ID {
	b := make([]byte, 16)
	rand.Read(b) // never fails (crypto/rand)
	return ID(hex.EncodeToString(b))
}

// CreateTask writes a new task's row, and returns it.
func CreateTask(tx *store.Tx, t Task) *Task {
	t.Desired, t.Version = DesiredRunning, 1
	tasks.Put(tx, t.Key(), &t)
	return &t
}

// Stop decides that a task shall end. Only the first decision counts; false says that there was one.
func Stop(tx *store.Tx, ref Ref, cause StopCause, now time.Time) (*Task, bool, error) {
	old, err := GetTask(tx, ref)
	if err != nil {
		return nil, false, err
	}
	if old.Desired == DesiredStopped {
		return old, false, nil
	}
	t := *old
	t.Desired, t.StopCode, t.StoppedReason, t.StoppingAt = DesiredStopped, cause.Code, cause.Reason, &now
	t.Version++
	tasks.Put(tx, t.Key(), &t)
	return &t, true, nil
}

// ForceStop ends a task whose node cannot be asked any more: it is stopped, whatever its containers do. Should the node
// come back, its agent removes what is left of the task.
func ForceStop(tx *store.Tx, ref Ref, cause StopCause, now time.Time) error {
	if _, _, err := Stop(tx, ref, cause, now); err != nil {
		return err
	}
	return UpdateTask(tx, ref, func(t *Task) bool {
		if t.Observed.State == Stopped {
			return false
		}
		t.Observed.State, t.Observed.StoppedAt, t.Observed.HealthySince = Stopped, &now, nil
		if t.Observed.EndedAt == nil {
			t.Observed.EndedAt = &now
		}
		return true
	})
}

// UpdateTask changes a task's row; do returns false when there is nothing to change.
func UpdateTask(tx *store.Tx, ref Ref, do func(*Task) bool) error {
	old, err := GetTask(tx, ref)
	if err != nil {
		return err
	}
	t := *old
	if do(&t) {
		t.Version++
		tasks.Put(tx, t.Key(), &t)
	}
	return nil
}

// GetTask finds a task by its id.
func GetTask(r store.Reader, ref Ref) (*Task, error) {
	t, ok := tasks.Find(r, ref.Key())
	if !ok {
		return nil, fault.New(fault.NotFound, "task", "The referenced task was not found.")
	}
	return t, nil
}

// ScanTasks calls fn with a cluster's tasks behind the id after, in the order of their ids.
func ScanTasks(r store.Reader, cluster ClusterRef, after ID, fn func(*Task) bool) {
	afterKey := ""
	if after != "" {
		afterKey = Ref{cluster.Scope, cluster.Name, after}.Key()
	}
	tasks.Scan(r, cluster.members(), afterKey, func(_ string, t *Task) bool { return fn(t) })
}

// ScanAllTasks calls fn with the tasks of all clusters of a region.
func ScanAllTasks(r store.Reader, region string, fn func(*Task) bool) {
	tasks.Scan(r, arn.Scope{Region: region}.Prefix(), "", func(_ string, t *Task) bool { return fn(t) })
}

// TasksOf are the tasks of a service, those that stopped not long ago among them.
func TasksOf(r store.Reader, service ServiceRef) []*Task {
	var ts []*Task
	tasksByService.Scan(r, service.Key(), func(_ string, t *Task) bool {
		ts = append(ts, t)
		return true
	})
	return ts
}

// TasksOn are the tasks placed on a node; "" gives none.
func TasksOn(r store.Reader, node string) []*Task {
	var ts []*Task
	tasksByNode.Scan(r, node, func(_ string, t *Task) bool { ts = append(ts, t); return true })
	return ts
}

// FindByKey reads a task by the key of its row, as loops mark it.
func FindByKey(r store.Reader, key string) (*Task, bool) { return tasks.Find(r, key) }

// Key is the key loops mark the task by.
func (t *Task) Key() string { return t.Ref().Key() }

// Scope is the partition the task lives in.
func (t *Task) Scope() arn.Scope { return arn.Scope{Account: t.Account, Region: t.Region} }

// StoppedRetention is how long a stopped task can still be described.
const StoppedRetention = time.Hour

// ReapTasks deletes up to limit tasks that stopped before the retention began, and says whether more are
// left to delete.
func ReapTasks(tx *store.Tx, now time.Time, limit int) (more bool) {
	return tasks.Sweep(tx, "", limit, func(t *Task) store.SweepAction {
		if t.Observed.State == Stopped && t.Observed.StoppedAt != nil && now.Sub(*t.Observed.StoppedAt) >= StoppedRetention {
			return store.SweepDelete
		}
		return store.SweepKeep
	})
}
