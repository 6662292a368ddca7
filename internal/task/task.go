// Package task stores the rows of Amazon ECS and enforces their rules: clusters, task definitions, services, tasks,
// nodes and container instances.
//
// The control loops, the agents and the API never call each other: each reads and writes these rows in transactions.
// Each part of a task's row has one writer. [Stop] changes the desired status ([Task.Desired]) once, from RUNNING to
// STOPPED, and the first stop cause stays. The scheduler writes the node ([Task.Node]). The agent of that node writes
// what it observes ([Task.Observed]). The registrar writes the state in service discovery ([Task.Registration]).
//
// Functions that write take a [store.Tx], and take ids and times as values: a transaction function can run more than
// once. [Ref], [ServiceRef] and [ClusterRef] name rows and build their keys.
//
// task does not know the wire format, and does not know how containers run. Its rules come from the Amazon ECS API
// Reference and Developer Guide. Start reading at [Task], [Service] and [Deploy].
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

// The tables. Their keys begin with the region, so each region is one range of keys. ref.go builds the keys.
var (
	clusters    = store.NewTable[Cluster]("cluster", "task/cluster/")               // region/name
	definitions = store.NewTable[Definition]("task definition", "task/definition/") // region/family/revision
	families    = store.NewTable[Family]("family", "task/family/")                  // region/family
	services    = store.NewTable[Service]("service", "task/service/")               // region/cluster/name
	tasks       = store.NewTable[Task]("task", "task/task/")                        // region/cluster/id
	events      = store.NewTable[Event]("event", "task/event/")                     // region/cluster/service/time

	// region/cluster/service/id
	serviceDeployments = store.NewTable[ServiceDeployment]("service deployment", "task/service-deployment/")
	// region/cluster/service/number
	serviceRevisions = store.NewTable[ServiceRevision]("service revision", "task/service-revision/")
	nodes            = store.NewTable[Node]("node", "task/node/")        // name
	alive            = store.NewTable[Alive]("live node", "task/alive/") // name

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
		clusters, definitions, families, services, serviceDeployments, serviceRevisions, tasks, events, nodes, alive,
		clearances,
		providers, settings, placements, instances,
	}
}

// State is the lifecycle state of a task. It only increases, so the greater of two reports is the later one.
type State int

// The states of a task, in order (ECS Developer Guide, "Task lifecycle"). The gaps leave room for more states.
const (
	Provisioning   State = 10
	Pending        State = 20
	Activating     State = 30 // its containers have started; it is being registered
	Running        State = 40
	Deactivating   State = 50 // it is being deregistered
	Stopping       State = 60 // its containers receive SIGTERM
	Deprovisioning State = 70
	Stopped        State = 80
)

var stateNames = map[State]string{
	Provisioning: "PROVISIONING", Pending: "PENDING", Activating: "ACTIVATING", Running: "RUNNING",
	Deactivating: "DEACTIVATING", Stopping: "STOPPING", Deprovisioning: "DEPROVISIONING", Stopped: "STOPPED",
}

// String returns the name that ECS gives the state.
func (s State) String() string { return stateNames[s] }

// The desired statuses.
const (
	DesiredRunning = "RUNNING"
	DesiredStopped = "STOPPED"
)

// Health is the health status of a container or task, as ECS spells it.
type Health string

// The health statuses. The status is UNKNOWN until a health check has a result, and always without a health check.
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

// Task is a set of containers that run together on one node, as a task definition describes.
type Task struct {
	Account, Region string
	Cluster         string
	ID              ID
	Service         string `json:",omitempty"` // empty for a standalone task
	Deployment      string `json:",omitempty"` // the id of the service's deployment
	Family          string
	Revision        int
	Network         *Network   `json:",omitempty"`
	Registries      []Registry `json:",omitempty"`
	// Checked reports whether an essential container has a health check.
	Checked bool `json:",omitempty"`
	Created time.Time

	// Settings of the request. LaunchType may be empty for a task of a service; the service's launch type applies then.
	LaunchType       string            `json:",omitempty"`
	CapacityProvider string            `json:",omitempty"` // chosen by a capacity provider strategy
	ExecuteCommand   bool              `json:",omitempty"`
	Tags             map[string]string `json:",omitempty"`

	// Settings of standalone tasks.
	StartedBy string     `json:",omitempty"`
	GroupName string     `json:",omitempty"`
	Request   string     `json:",omitempty"` // a fingerprint of the request, by which a repeated RunTask is recognized
	Overrides *Overrides `json:",omitempty"`

	// Desired is the desired status. After the creation only Stop writes it and the three fields that follow.
	Desired       string
	StopCode      StopCode   `json:",omitempty"`
	StoppedReason string     `json:",omitempty"`
	StoppingAt    *time.Time `json:",omitempty"`

	// OnlyNode is the only node on which the task may be placed. The rollout loop sets it when it creates a task of a
	// DAEMON service. Empty allows every node.
	OnlyNode string `json:",omitempty"`

	Node         string       `json:",omitempty"` // written by the scheduler or RunTask
	Reserved     *Resources   `json:",omitempty"` // the node's resources that the task holds until it has stopped
	Registration Registration // written by the registrar
	// Answered reports whether service discovery answers with the task: in each of its registries, its instance is
	// registered, healthy and not draining. The registrar writes it in the same transaction as the instances' rows.
	Answered bool     `json:",omitempty"`
	Observed Observed // written by the node's agent
	// Counted reports whether the deployment's failures include this task's end. The rollout loop writes it.
	Counted bool `json:",omitempty"`
	// ProtectedUntil is the time until which scale-in and deployments do not stop the task. Protect writes it.
	ProtectedUntil *time.Time `json:",omitempty"`
	Version        int64
}

// Registration is the state of a task in service discovery.
type Registration string

// The registrations, in order. Each change is in one transaction with the rows of the task's instances.
const (
	Unregistered Registration = ""
	Registered   Registration = "REGISTERED"
	Draining     Registration = "DRAINING" // removed from all answers; clients may still use its address
	Released     Registration = "RELEASED" // deregistered: its containers may be stopped
)

// Observed is the state of a task as its node's agent reports it.
type Observed struct {
	State      State
	Containers []Container `json:",omitempty"`
	Address    netip.Addr  `json:",omitzero"` // the task's address in awsvpc mode, else the host's
	Address6   netip.Addr  `json:",omitzero"` // the task's IPv6 address, in addition to an IPv4 address
	Health     Health
	StartedAt  *time.Time `json:",omitempty"` // when it entered RUNNING
	EndedAt    *time.Time `json:",omitempty"` // when its last container ended
	StoppedAt  *time.Time `json:",omitempty"`
	// PullStartedAt and PullStoppedAt are the times at which the pulls of its images started and ended, nil without a
	// pull.
	PullStartedAt *time.Time `json:",omitempty"`
	PullStoppedAt *time.Time `json:",omitempty"`
	// HealthySince is the time at which the task last became healthy or, without a health check, entered RUNNING.
	HealthySince *time.Time `json:",omitempty"`
}

// Container is the state of one container of a task.
type Container struct {
	ID        string // the last part of its ARN
	Name      string
	Status    string // PENDING, RUNNING, STOPPED
	RuntimeID string `json:",omitempty"`
	Image     string `json:",omitempty"` // the digest of the image
	ExitCode  *int   `json:",omitempty"`
	Reason    string `json:",omitempty"`
	Health    Health
	Bindings  []Binding `json:",omitempty"`
}

// Binding maps a port of the host to a port of a container.
type Binding struct {
	HostIP        string
	ContainerPort int
	HostPort      int
	Protocol      string
}

// Network is an awsvpc network configuration.
type Network struct {
	Subnets        []string
	SecurityGroups []string `json:",omitempty"`
	AssignPublicIP string   `json:",omitempty"`
}

// Registry is a Cloud Map service in which the tasks of an ECS service are registered.
type Registry struct {
	ARN           string
	ServiceID     string // the last part of the ARN
	Port          int    `json:",omitempty"`
	ContainerName string `json:",omitempty"`
	ContainerPort int    `json:",omitempty"`
}

// ARN returns the ARN of the task.
func (t *Task) ARN() string {
	return t.Ref().ARN()
}

// Group returns the task group, which placement constraints and strategies compare.
func (t *Task) Group() string {
	switch {
	case t.Service != "":
		return "service:" + t.Service
	case t.GroupName != "":
		return t.GroupName
	}
	return "family:" + t.Family
}

// Live reports whether the task is meant to run and has not begun to stop.
func (t *Task) Live() bool { return t.Desired == DesiredRunning && t.Observed.State < Deactivating }

// Serving reports whether the task counts as a healthy running task: it is RUNNING, healthy if it has a health check,
// and service discovery answers with it if it has a registry.
//
// Every node applies revisions in order. A decision to stop another task because this one serves is a later revision
// than the one that added this task to the answers. A node that applies it therefore already answers with this task, so
// the answers of no node are empty in between.
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

// CreateTask adds the row of a task and returns it.
func CreateTask(tx *store.Tx, t Task) *Task {
	t.Desired, t.Version = DesiredRunning, 1
	tasks.Put(tx, t.Key(), &t)
	return &t
}

// Stop sets the desired status of a task to STOPPED. Only the first call for a task changes its row; it returns true.
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

// ForceStop marks a task as stopped although its node does not report so, because the node is lost. If the node
// returns, its agent removes the task's containers.
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

// UpdateTask calls do with a copy of a task's row, and writes the copy if do returns true.
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

// GetTask returns a task, or a NotFound error.
func GetTask(r store.Reader, ref Ref) (*Task, error) {
	t, ok := tasks.Find(r, ref.Key())
	if !ok {
		return nil, fault.New(fault.NotFound, "task", "The referenced task was not found.")
	}
	return t, nil
}

// ScanTasks calls fn with the tasks of a cluster whose ids are greater than after, in the order of their ids, until fn
// returns false.
func ScanTasks(r store.Reader, cluster ClusterRef, after ID, fn func(*Task) bool) {
	afterKey := ""
	if after != "" {
		afterKey = Ref{cluster.Scope, cluster.Name, after}.Key()
	}
	tasks.Scan(r, cluster.members(), afterKey, func(_ string, t *Task) bool { return fn(t) })
}

// ScanAllTasks calls fn with the tasks of all clusters of a region, until fn returns false.
func ScanAllTasks(r store.Reader, region string, fn func(*Task) bool) {
	tasks.Scan(r, arn.Scope{Region: region}.Prefix(), "", func(_ string, t *Task) bool { return fn(t) })
}

// TasksOf returns the tasks of a service, including stopped tasks that have not been deleted yet.
func TasksOf(r store.Reader, service ServiceRef) []*Task {
	var ts []*Task
	tasksByService.Scan(r, service.Key(), func(_ string, t *Task) bool {
		ts = append(ts, t)
		return true
	})
	return ts
}

// TasksOn returns the tasks that are placed on a node, none for "".
func TasksOn(r store.Reader, node string) []*Task {
	var ts []*Task
	tasksByNode.Scan(r, node, func(_ string, t *Task) bool { ts = append(ts, t); return true })
	return ts
}

// FindByKey returns the task whose row has a key, if it exists.
func FindByKey(r store.Reader, key string) (*Task, bool) { return tasks.Find(r, key) }

// Key returns the key of the task's row, by which loops mark the task.
func (t *Task) Key() string { return t.Ref().Key() }

// Scope returns the account and region of the task.
func (t *Task) Scope() arn.Scope { return arn.Scope{Account: t.Account, Region: t.Region} }

// StoppedRetention is the time for which a stopped task can be described.
const StoppedRetention = time.Hour

// ReapTasks deletes up to limit tasks that have been stopped for at least StoppedRetention. It reports whether more
// such tasks remain.
func ReapTasks(tx *store.Tx, now time.Time, limit int) (more bool) {
	return tasks.Sweep(tx, "", limit, func(t *Task) store.SweepAction {
		if t.Observed.State == Stopped && t.Observed.StoppedAt != nil && now.Sub(*t.Observed.StoppedAt) >= StoppedRetention {
			return store.SweepDelete
		}
		return store.SweepKeep
	})
}

// ContainerARN returns the ARN of one of the task's containers.
func (t *Task) ContainerARN(name string) string {
	return ecsARN(t.Scope(), "container/"+t.Cluster+"/"+string(t.ID)+"/"+ContainerID(t.ID, name))
}
