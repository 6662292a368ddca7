package task

import (
	"encoding/json"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
)

// Service keeps a number of tasks of one task definition running.
type Service struct {
	Account, Region string
	Cluster         string
	Name            string
	Status          string
	LaunchType      string // of its tasks: EC2, FARGATE or EXTERNAL
	DesiredCount    int
	// Daemon reports whether the service runs one task on each eligible node. The rollout loop then sets DesiredCount to
	// the number of these nodes.
	Daemon bool `json:",omitempty"`
	// MinimumHealthy and Maximum bound the number of running tasks during a rollout, in percent of DesiredCount.
	MinimumHealthy int
	Maximum        int
	// Breaker ends rollouts that fail. Without one, a rollout starts tasks again until they run.
	Breaker *Breaker `json:",omitempty"`
	// Constraints and Placement limit and order the nodes for new tasks. Without a strategy, tasks are spread evenly.
	Constraints []PlacementConstraint `json:",omitempty"`
	Placement   []PlacementStrategy   `json:",omitempty"`
	// Unplaced is set while tasks of the service wait for a node. The scheduler writes it.
	Unplaced *Unplaced `json:",omitempty"`
	// GracePeriod is the time after a task enters RUNNING in which it is not replaced for being unhealthy.
	GracePeriod time.Duration
	// PropagateTags is the source of the tags of new tasks: SERVICE, TASK_DEFINITION or NONE. ManagedTags adds the tags of
	// ECS itself.
	PropagateTags string `json:",omitempty"`
	ManagedTags   bool   `json:",omitempty"`
	// ExecuteCommand is copied to its tasks.
	ExecuteCommand bool `json:",omitempty"`
	// Deployments are the primary deployment, followed by the older deployments that still have tasks.
	Deployments []Deployment
	// Settled is the last deployment whose rollout completed, which a rollback deploys again.
	Settled *Deployment `json:",omitempty"`
	// ServiceDeployment is the id of the newest service deployment, which created the primary deployment.
	ServiceDeployment string `json:",omitempty"`
	// Request is a fingerprint of the CreateService request, by which a repeated request is recognized.
	Request string `json:",omitempty"`
	// Sent is the CreateService request with later updates merged into it. It holds the members that this package does
	// not interpret and that the API returns.
	Sent    json.RawMessage
	Created time.Time
	Deleted *time.Time        `json:",omitempty"`
	Tags    map[string]string `json:",omitempty"`
}

// The launch types. Every node runs tasks of every launch type; only the description of a task differs.
const (
	EC2      = "EC2"
	Fargate  = "FARGATE"
	External = "EXTERNAL"
)

// ARN returns the ARN of the service.
func (s *Service) ARN() string { return s.Ref().ARN() }

// Scope returns the account and region of the service.
func (s *Service) Scope() arn.Scope { return arn.Scope{Account: s.Account, Region: s.Region} }

// Key returns the key of the service's row, by which loops mark the service.
func (s *Service) Key() string { return s.Ref().Key() }

// Ref returns the reference of the service.
func (s *Service) Ref() ServiceRef { return ServiceRef{s.Scope(), s.Cluster, s.Name} }

// ServiceKey returns the key of the row of the task's service.
func (t *Task) ServiceKey() string { return t.ServiceRef().Key() }

// FindServiceByKey returns the service whose row has a key, if it exists.
func FindServiceByKey(r store.Reader, key string) (*Service, bool) { return services.Find(r, key) }

// FindService returns a service, if it exists. The service may be DRAINING or INACTIVE.
func FindService(r store.Reader, ref ServiceRef) (*Service, bool) {
	return services.Find(r, ref.Key())
}

// GetService returns an active service, or a NotFound or NotActive error.
func GetService(r store.Reader, ref ServiceRef) (*Service, error) {
	svc, ok := FindService(r, ref)
	switch {
	case !ok:
		return nil, fault.New(fault.NotFound, "service", "Service not found.")
	case svc.Status != Active:
		return nil, fault.New(fault.NotActive, "service", "Service was not ACTIVE.")
	}
	return svc, nil
}

// PutService writes the row of a service.
func PutService(tx *store.Tx, svc Service) { services.Put(tx, svc.Key(), &svc) }

// ScanServices calls fn with the services of a cluster whose names are greater than after, in the order of their names,
// until fn returns false.
func ScanServices(r store.Reader, cluster ClusterRef, after string, fn func(*Service) bool) {
	if after != "" {
		after = ServiceRef{cluster.Scope, cluster.Name, after}.Key()
	}
	services.Scan(r, cluster.members(), after, func(_ string, s *Service) bool { return fn(s) })
}

// ScanAllServices calls fn with the services of all regions, ordered by region, cluster and name, until fn returns
// false.
func ScanAllServices(r store.Reader, fn func(*Service) bool) {
	services.Scan(r, "", "", func(_ string, s *Service) bool { return fn(s) })
}

// InactiveRetention is the time for which a deleted service can be described.
const InactiveRetention = time.Hour

// ReapServices deletes up to limit services that have been inactive for at least InactiveRetention, and their
// histories. It reports whether more such services remain.
func ReapServices(tx *store.Tx, now time.Time, limit int) (more bool) {
	n := 0
	services.Scan(tx.Snapshot(), "", "", func(key string, s *Service) bool {
		if s.Status != Inactive || s.Deleted == nil || now.Sub(*s.Deleted) < InactiveRetention {
			return true
		}
		if more = n == limit; more {
			return false
		}
		n++
		if current, ok := services.Find(tx, key); ok && current.Status == Inactive {
			services.Delete(tx, key)
			deleteHistory(tx, current.Ref())
		}
		return true
	})
	return more
}

// Counts are numbers of tasks by their states.
type Counts struct{ Pending, Running int }

// CountTasks counts tasks that are meant to run: those of one deployment, or all if deployment is empty.
func CountTasks(ts []*Task, deployment string) Counts {
	var c Counts
	for _, t := range ts {
		switch {
		case deployment != "" && t.Deployment != deployment:
		case t.Observed.State == Running && t.Desired == DesiredRunning:
			c.Running++
		case t.Observed.State < Running && t.Desired == DesiredRunning:
			c.Pending++
		}
	}
	return c
}

// ReserveServiceName checks that a service can be created. It returns nil if the name is free, and the active service
// of that name if the same request has created it before. It deletes the history of an inactive service of that name.
func ReserveServiceName(tx *store.Tx, ref ServiceRef, request string) (*Service, error) {
	old, ok := FindService(tx, ref)
	switch {
	case !ok:
		return nil, nil
	case old.Status == DrainingStatus:
		return nil, fault.New(fault.Invalid, "service", "Unable to Start a service that is still Draining.")
	case old.Status == Active && old.Request == request:
		return old, nil
	case old.Status == Active:
		return nil, fault.New(fault.Exists, "service", "Creation of service was not idempotent.")
	}
	deleteHistory(tx, ref)
	return nil, nil
}

// DeleteService sets a service to DRAINING with a desired count of 0. The rollout loop makes it INACTIVE when its tasks
// are stopping. Without force, the desired count must already be 0. A service that is not active is returned unchanged.
func DeleteService(tx *store.Tx, ref ServiceRef, force bool, now time.Time) (*Service, error) {
	old, ok := FindService(tx, ref)
	switch {
	case !ok:
		return nil, fault.New(fault.NotFound, "service", "Service not found.")
	case old.Status != Active:
		return old, nil
	case old.DesiredCount > 0 && !force && !old.Daemon:
		return nil, fault.New(fault.Invalid, "service", "The service cannot be stopped while it is scaled above 0.")
	}
	svc := *old
	svc.Status, svc.DesiredCount = DrainingStatus, 0
	endServiceDeployment(tx, &svc, "The service is being deleted.", now)
	PutService(tx, svc)
	return &svc, nil
}
