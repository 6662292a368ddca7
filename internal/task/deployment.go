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

// Deployment is one revision of a service's settings on its way to be what runs.
type Deployment struct {
	ID         string // ecs-svc/n
	Family     string
	Revision   int
	Network    *Network   `json:",omitempty"`
	Registries []Registry `json:",omitempty"`
	// Strategy spreads its tasks over capacity providers; without one they have LaunchType alone, "" for the
	// service's.
	Strategy   []StrategyItem `json:",omitempty"`
	LaunchType string         `json:",omitempty"`
	// Sent are those of the service's settings that a deployment changes and a rollback brings back, for what
	// this package does not interpret.
	Sent    json.RawMessage `json:",omitempty"`
	Rollout Rollout
	Reason  string
	Failures
	// Stop is how StopServiceDeployment wants the rollout to end: StopRollback or StopAbort.
	Stop StopMode `json:",omitempty"`
	// RollsBack deployments bring back an earlier revision; one that fails is not rolled back in turn.
	RollsBack bool `json:",omitempty"`
	Created   time.Time
	Updated   time.Time
}

// Failures are what a deployment's failing tasks lead to: the rollout loop's.
type Failures struct {
	FailedTasks int       // in a row
	FailedAt    time.Time `json:",omitzero"`  // the last of them
	Waves       int       `json:",omitempty"` // of failures; those of tasks that were started together are one
	RetryAt     time.Time `json:",omitzero"`  // when the next task may be started
}

// Rollout is the state of a deployment.
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
	// Cumulative breakers count on when a task turns healthy.
	Cumulative bool `json:",omitempty"`
	// Type and Value are the threshold's; no type is half of the desired count, bounded.
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
	leastThreshold   = 3
	mostThreshold    = 200
	thresholdPercent = 50
)

// Threshold is how many failed tasks end the rollout of a service of this desired count; at least one.
func (b *Breaker) Threshold(desired int) int {
	percent := func(p int) int { return (desired*p + 99) / 100 }
	switch b.Type {
	case ThresholdCount:
		return max(b.Value, 1)
	case ThresholdUnboundedPercent:
		return max(percent(b.Value), 1)
	case ThresholdBoundedPercent:
		return min(max(percent(b.Value), leastThreshold), mostThreshold)
	}
	return min(max(percent(thresholdPercent), leastThreshold), mostThreshold)
}

// deploymentPrefix is what the id of a deployment begins with; behind it is the number of its revision.
const deploymentPrefix = "ecs-svc/"

// DeploymentIDs are the ids of the rows that Deploy adds. They are made before the transaction, which can run more than
// once.
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

// Number is the number of the service revision that the deployment brings: the last part of its ARN and of
// the deployment's id alike, which clients rely on.
func (d *Deployment) Number() string { return strings.TrimPrefix(d.ID, deploymentPrefix) }

// DeploymentID is the id of the deployment that brings the service revision of this number.
func DeploymentID(number string) string { return deploymentPrefix + number }

// NewDeployment returns d as a deployment whose rollout begins now.
func NewDeployment(d Deployment, now time.Time) Deployment {
	d.Rollout, d.Created, d.Updated = InProgress, now, now
	d.Reason = fmt.Sprintf("ECS deployment %s in progress.", d.ID)
	return d
}

// Primary is the deployment that is wanted.
func (s *Service) Primary() *Deployment { return &s.Deployments[0] }

// RollbackTarget is the deployment that a rollback would bring back, nil if there is none: the last one that was
// completed, which may run no more.
func (s *Service) RollbackTarget() *Deployment {
	if s.Settled != nil {
		return s.Settled
	}
	for i := range s.Deployments { // of a service that was written before Settled was
		if s.Deployments[i].Rollout == Completed {
			return &s.Deployments[i]
		}
	}
	return nil
}

// Deploy makes d the primary deployment of a service that the caller owns and writes, by a service deployment
// of its own. One that is under way is superseded. configuration is the service's deploymentConfiguration.
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

// put makes d the primary deployment and keeps its revision.
func (s *Service) put(tx *store.Tx, d Deployment) {
	s.LaunchType = cmp.Or(d.LaunchType, s.LaunchType)
	s.Deployments = slices.Concat([]Deployment{d}, s.Deployments)
	rev := ServiceRevision{
		Account: s.Account, Region: s.Region, Cluster: s.Cluster, Service: s.Name, Number: d.Number(),
		LaunchType: s.LaunchType, Family: d.Family, Revision: d.Revision, Network: d.Network, Sent: d.Sent, Created: d.Created,
	}
	serviceRevisions.Put(tx, rev.key(), &rev)
}

// RollBack deploys the service's earlier deployment once more, under a new id, as a part of the service
// deployment that is under way.
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
