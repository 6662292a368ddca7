package task

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bakingclouds/rollcall/internal/store"
)

// Deployment rolls out one revision of a service's settings.
type Deployment struct {
	ID         string // ecs-svc/n
	Family     string
	Revision   int
	Network    *Network   `json:",omitempty"`
	Registries []Registry `json:",omitempty"`
	// Strategy distributes its tasks over capacity providers. Without one its tasks have LaunchType, or the service's
	// launch type if that is empty.
	Strategy   []StrategyItem `json:",omitempty"`
	LaunchType string         `json:",omitempty"`
	// Sent holds the service's settings that a deployment changes and a rollback restores. This package does not interpret
	// it.
	Sent    json.RawMessage `json:",omitempty"`
	Rollout Rollout
	Reason  string
	Failures
	// Stop is the way in which StopServiceDeployment requested the end of the rollout, empty without a request.
	Stop StopMode `json:",omitempty"`
	// RollsBack reports whether the deployment is a rollback. A failed rollback is not rolled back in turn.
	RollsBack bool `json:",omitempty"`
	Created   time.Time
	Updated   time.Time
}

// Failures counts the failed tasks of a deployment and delays new ones. The rollout loop writes it.
type Failures struct {
	FailedTasks int       // consecutive failures
	FailedAt    time.Time `json:",omitzero"` // the time of the last failure
	// groups of failures; failures of tasks that were started together are one wave
	Waves   int       `json:",omitempty"`
	RetryAt time.Time `json:",omitzero"` // the time before which no task is started
}

// Rollout is the rollout state of a deployment.
type Rollout string

// The rollout states.
const (
	InProgress Rollout = "IN_PROGRESS"
	Completed  Rollout = "COMPLETED"
	Failed     Rollout = "FAILED"
)

// Breaker is a deployment circuit breaker.
type Breaker struct {
	Rollback bool `json:",omitempty"`
	// Cumulative reports whether the count continues when a task becomes healthy, instead of starting again at 0.
	Cumulative bool `json:",omitempty"`
	// Type and Value define the threshold. Without a type it is 50 percent of the desired count, bounded.
	Type  string `json:",omitempty"`
	Value int    `json:",omitempty"`
}

// The types of a breaker's threshold.
const (
	ThresholdCount            = "COUNT"
	ThresholdBoundedPercent   = "BOUNDED_PERCENT"
	ThresholdUnboundedPercent = "UNBOUNDED_PERCENT"
)

// The bounds of a threshold in percent (ECS Developer Guide, "How the Amazon ECS deployment circuit breaker
// detects failures").
const (
	minThreshold     = 3
	maxThreshold     = 200
	thresholdPercent = 50
)

// Threshold returns the number of failed tasks that ends the rollout of a service with a desired count. It is at least
// 1.
func (b *Breaker) Threshold(desired int) int {
	percent := func(p int) int { return (desired*p + 99) / 100 }
	switch b.Type {
	case ThresholdCount:
		return max(b.Value, 1)
	case ThresholdUnboundedPercent:
		return max(percent(b.Value), 1)
	case ThresholdBoundedPercent:
		return min(max(percent(b.Value), minThreshold), maxThreshold)
	}
	return min(max(percent(thresholdPercent), minThreshold), maxThreshold)
}

// deploymentPrefix is the prefix of the ids of deployments. The number of the service revision follows it.
const deploymentPrefix = "ecs-svc/"

// DeploymentIDs are the ids of the rows that Deploy adds. Callers choose them before the transaction, whose function
// can run more than once.
type DeploymentIDs struct {
	Deployment        string
	ServiceDeployment string
}

// NewDeploymentIDs returns new ids.
func NewDeploymentIDs() DeploymentIDs {
	return DeploymentIDs{NewDeploymentID(), newServiceDeploymentID()}
}

// NewDeploymentID returns a new id of a deployment.
func NewDeploymentID() string { return DeploymentID(NewDeploymentNumber()) }

// NewDeploymentNumber returns a new number of a deployment: a positive decimal of 19 digits.
func NewDeploymentNumber() string {
	var b [8]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return strconv.FormatUint(binary.BigEndian.Uint64(b[:])>>1|1<<60, 10)
}

// Number returns the number of the deployment's service revision. It is the last part both of the deployment's id and
// of the service revision's ARN, which clients rely on.
func (d *Deployment) Number() string { return strings.TrimPrefix(d.ID, deploymentPrefix) }

// DeploymentID returns the id of the deployment of the service revision with a number.
func DeploymentID(number string) string { return deploymentPrefix + number }

// NewDeployment returns d as a deployment whose rollout begins now.
func NewDeployment(d Deployment, now time.Time) Deployment {
	d.Rollout, d.Created, d.Updated = InProgress, now, now
	d.Reason = fmt.Sprintf("ECS deployment %s in progress.", d.ID)
	return d
}

// Primary returns the primary deployment, which is the newest one.
func (s *Service) Primary() *Deployment { return &s.Deployments[0] }

// RollbackTarget returns the deployment that a rollback deploys again: the last one whose rollout completed, which may
// have no tasks any more. It returns nil if no rollout has completed.
func (s *Service) RollbackTarget() *Deployment {
	if s.Settled != nil {
		return s.Settled
	}
	for i := range s.Deployments { // of a row from before the field Settled
		if s.Deployments[i].Rollout == Completed {
			return &s.Deployments[i]
		}
	}
	return nil
}

// Deploy makes d the primary deployment of s and adds a service deployment with an id. It ends a service deployment
// that is in progress. configuration is the service's deploymentConfiguration. Deploy changes s, which the caller
// writes.
func Deploy(tx *store.Tx, s *Service, d Deployment, id string, configuration json.RawMessage, now time.Time) {
	sd := ServiceDeployment{
		Account: s.Account, Region: s.Region, Cluster: s.Cluster, Service: s.Name, ID: id,
		Target: d.Number(), Status: ServiceDeploymentPending, Configuration: configuration, Created: now, Updated: now,
	}
	for i := range s.Deployments {
		sd.Sources = append(sd.Sources, s.Deployments[i].Number())
	}
	endServiceDeployment(tx, s, "Superseded by the service deployment "+sd.ARN()+".", now)
	s.put(tx, d)
	s.ServiceDeployment = sd.ID
	serviceDeployments.Put(tx, sd.key(), &sd)
	prune(tx, s)
}

// put makes d the primary deployment and adds its service revision.
func (s *Service) put(tx *store.Tx, d Deployment) {
	s.LaunchType = cmp.Or(d.LaunchType, s.LaunchType)
	s.Deployments = slices.Concat([]Deployment{d}, s.Deployments)
	rev := ServiceRevision{
		Account: s.Account, Region: s.Region, Cluster: s.Cluster, Service: s.Name, Number: d.Number(),
		LaunchType: s.LaunchType, Family: d.Family, Revision: d.Revision, Network: d.Network, Sent: d.Sent,
		Created: d.Created,
	}
	serviceRevisions.Put(tx, rev.key(), &rev)
}

// RollBack deploys the service's rollback target again, with a new number, as a part of the service deployment that is
// in progress. RollBack changes s, which the caller writes.
func RollBack(tx *store.Tx, s *Service, r Rollback) {
	earlier := *s.RollbackTarget()
	d := earlier
	d.ID, d.RollsBack, d.Created, d.Updated = DeploymentID(r.Number), true, r.Started, r.Started
	d.Rollout, d.Failures, d.Stop = InProgress, Failures{}, ""
	d.Reason = fmt.Sprintf("ECS deployment circuit breaker: rolling back to deploymentId %s.", earlier.ID)
	s.put(tx, d)
	changeServiceDeployment(tx, s, func(sd *ServiceDeployment) {
		sd.Status, sd.Reason, sd.Updated, sd.Rollback = RollbackInProgress, r.Reason, r.Started, &r
	})
}
