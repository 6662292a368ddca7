package task

import (
	"encoding/json"
	"maps"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
)

// Service keeps a desired number of tasks of a definition running.
type Service struct {
	Account, Region string
	Cluster         string
	Name            string
	Status          string
	LaunchType      string // EC2, FARGATE, EXTERNAL: what its tasks are reported as
	DesiredCount    int
	// Daemon services run one task on each eligible node; DesiredCount is their number, the rollout loop's.
	Daemon bool `json:",omitempty"`
	// MinimumHealthy and Maximum bound a rollout, in percent of DesiredCount.
	MinimumHealthy int
	Maximum        int
	// Breaker ends rollouts that fail; nil lets them try for ever.
	Breaker *Breaker `json:",omitempty"`
	// Constraints and Placement say where its new tasks go; none spreads them evenly.
	Constraints []PlacementConstraint `json:",omitempty"`
	Placement   []PlacementStrategy   `json:",omitempty"`
	// Unplaced is there while tasks of it wait for a node: the place loop's.
	Unplaced *Unplaced `json:",omitempty"`
	// GracePeriod is how long after RUNNING an unhealthy task is left alone.
	GracePeriod time.Duration
	// PropagateTags says whose tags its tasks begin with, SERVICE or TASK_DEFINITION; ManagedTags adds those of ECS.
	PropagateTags string `json:",omitempty"`
	ManagedTags   bool   `json:",omitempty"`
	// ExecuteCommand is asked for in its tasks.
	ExecuteCommand bool `json:",omitempty"`
	// Deployments are the revisions that tasks are running of: the wanted one first, then older ones that
	// still have tasks.
	Deployments []Deployment
	// Settled is the last deployment whose rollout was completed: what a rollback goes back to.
	Settled *Deployment `json:",omitempty"`
	// ServiceDeployment is the id of the newest: the one that has made the primary deployment.
	ServiceDeployment string `json:",omitempty"`
	// Request is a fingerprint of the CreateService request, by which a repeat of it is known.
	Request string `json:",omitempty"`
	// Sent is the CreateService request with later updates laid over it, for what this package does not
	// interpret and a client reads back.
	Sent    json.RawMessage
	Created time.Time
	Deleted *time.Time        `json:",omitempty"`
	Tags    map[string]string `json:",omitempty"`
}

// The launch types. Every node can run tasks of each; they differ in how a task is reported.
const (
	EC2      = "EC2"
	Fargate  = "FARGATE"
	External = "EXTERNAL"
)

// ARN is the service's ARN.
func (s *Service) ARN() string { return s.Ref().ARN() }

// TaskTags are the tags that a new task of the service begins with (ECS Developer Guide, "Tagging your
// resources").
func (s *Service) TaskTags(def *Definition) map[string]string {
	tags := map[string]string{}
	switch s.PropagateTags {
	case "SERVICE":
		maps.Copy(tags, s.Tags)
	case "TASK_DEFINITION":
		maps.Copy(tags, def.Tags)
	}
	if s.ManagedTags {
		maps.Copy(tags, ManagedTags(s.Ref()))
	}
	return tags
}

// ManagedTags returns the tags that ECS itself gives to a task of a service. A standalone task's service has no name.
func ManagedTags(service ServiceRef) map[string]string {
	tags := map[string]string{"aws:ecs:clusterName": service.Cluster}
	if service.Name != "" {
		tags["aws:ecs:serviceName"] = service.Name
	}
	return tags
}

// Scope is the partition the service lives in.
func (s *Service) Scope() arn.Scope { return arn.Scope{Account: s.Account, Region: s.Region} }

// Key is the key loops mark the service by.
func (s *Service) Key() string { return s.Ref().Key() }

// Ref returns the reference of the service.
func (s *Service) Ref() ServiceRef { return ServiceRef{s.Scope(), s.Cluster, s.Name} }

// ServiceKey is the key of the service that a task belongs to.
func (t *Task) ServiceKey() string { return t.ServiceRef().Key() }

// FindServiceByKey reads a service by the key of its row, as loops mark it.
func FindServiceByKey(r store.Reader, key string) (*Service, bool) { return services.Find(r, key) }

// FindService finds a service, also one that is being deleted or was.
func FindService(r store.Reader, ref ServiceRef) (*Service, bool) {
	return services.Find(r, ref.Key())
}

// GetService finds a service that can be written to.
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

// PutService writes a service's row.
func PutService(tx *store.Tx, svc Service) { services.Put(tx, svc.Key(), &svc) }

// ScanServices calls fn with a cluster's services behind the name after, by name.
func ScanServices(r store.Reader, cluster ClusterRef, after string, fn func(*Service) bool) {
	if after != "" {
		after = ServiceRef{cluster.Scope, cluster.Name, after}.Key()
	}
	services.Scan(r, cluster.members(), after, func(_ string, s *Service) bool { return fn(s) })
}

// ScanAllServices calls fn with every service of every region, by region, cluster and name.
func ScanAllServices(r store.Reader, fn func(*Service) bool) {
	services.Scan(r, "", "", func(_ string, s *Service) bool { return fn(s) })
}

// InactiveRetention is how long a deleted service can still be described.
const InactiveRetention = time.Hour

// ReapServices deletes up to limit services, with their events, that have been inactive for the retention.
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
			forget(tx, current.Ref())
		}
		return true
	})
	return more
}

// Counts are a service's or deployment's tasks by what they are doing.
type Counts struct{ Pending, Running int }

// CountTasks counts tasks: those of one deployment unless deployment is empty.
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
