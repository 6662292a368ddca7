package task

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"slices"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
)

// ServiceDeployment is the history of one deployment of a service from the request to its end, including a rollback.
type ServiceDeployment struct {
	Account, Region string
	Cluster         string
	Service         string
	ID              string   // 21 letters, digits, hyphens and underscores
	Target          string   // the number of the service revision that is deployed
	Sources         []string `json:",omitempty"` // the numbers of the service revisions that it replaces
	Status          ServiceDeploymentStatus
	Reason          string    `json:",omitempty"`
	Rollback        *Rollback `json:",omitempty"`
	// Breaker is the count of the circuit breaker at the end of the rollout, nil before.
	Breaker *BreakerCount `json:",omitempty"`
	// Configuration is the service's deploymentConfiguration at the start of the deployment, as the client sent it.
	Configuration json.RawMessage `json:",omitempty"`
	Created       time.Time
	Started       *time.Time `json:",omitempty"`
	Finished      *time.Time `json:",omitempty"`
	Stopped       *time.Time `json:",omitempty"`
	Updated       time.Time
}

// Rollback is the part of a service deployment that deploys an earlier revision again.
type Rollback struct {
	Reason  string
	Started time.Time
	Number  string // the number of the new service revision
}

// BreakerCount is the count of a circuit breaker.
type BreakerCount struct {
	Tripped   bool `json:",omitempty"`
	Failures  int
	Threshold int
}

// ServiceRevision holds the settings of one deployment. It never changes.
type ServiceRevision struct {
	Account, Region string
	Cluster         string
	Service         string
	Number          string
	LaunchType      string
	Family          string
	Revision        int
	Network         *Network        `json:",omitempty"`
	Sent            json.RawMessage `json:",omitempty"` // Deployment.Sent
	Created         time.Time
}

// ServiceDeploymentStatus is the status of a service deployment, as ECS spells it.
type ServiceDeploymentStatus string

// The statuses of service deployments.
const (
	ServiceDeploymentPending    ServiceDeploymentStatus = "PENDING"
	ServiceDeploymentInProgress ServiceDeploymentStatus = "IN_PROGRESS"
	ServiceDeploymentSuccessful ServiceDeploymentStatus = "SUCCESSFUL"
	ServiceDeploymentStopping   ServiceDeploymentStatus = "STOP_REQUESTED"
	ServiceDeploymentStopped    ServiceDeploymentStatus = "STOPPED"
	RollbackRequested           ServiceDeploymentStatus = "ROLLBACK_REQUESTED"
	RollbackInProgress          ServiceDeploymentStatus = "ROLLBACK_IN_PROGRESS"
	RollbackSuccessful          ServiceDeploymentStatus = "ROLLBACK_SUCCESSFUL"
	RollbackFailed              ServiceDeploymentStatus = "ROLLBACK_FAILED"
)

// Ended reports whether the status is final.
func (s ServiceDeploymentStatus) Ended() bool {
	switch s {
	case ServiceDeploymentSuccessful, ServiceDeploymentStopped, RollbackSuccessful, RollbackFailed:
		return true
	}
	return false
}

// StopMode is the way in which a service deployment is stopped, as ECS spells it.
type StopMode string

// The stop modes.
const (
	StopRollback StopMode = "ROLLBACK" // deploy the earlier revision again
	StopAbort    StopMode = "ABORT"    // start no more tasks of the new revision, and keep the old tasks
)

// ServiceDeploymentARN returns the ARN of the service deployment with an id.
func ServiceDeploymentARN(s ServiceRef, id string) string {
	return ecsARN(s.Scope, "service-deployment/"+s.Cluster+"/"+s.Name+"/"+id)
}

// ServiceRevisionARN returns the ARN of the service revision with a number.
func ServiceRevisionARN(s ServiceRef, number string) string {
	return ecsARN(s.Scope, "service-revision/"+s.Cluster+"/"+s.Name+"/"+number)
}

// ARN returns the ARN of the service deployment.
func (d *ServiceDeployment) ARN() string {
	return ServiceDeploymentARN(d.ServiceRef(), d.ID)
}

// Scope returns the account and region of the service deployment.
func (d *ServiceDeployment) Scope() arn.Scope { return arn.Scope{Account: d.Account, Region: d.Region} }

// ServiceRef returns the reference of the service that is deployed.
func (d *ServiceDeployment) ServiceRef() ServiceRef {
	return ServiceRef{d.Scope(), d.Cluster, d.Service}
}

// ServiceRef returns the reference of the service that has the revision.
func (r *ServiceRevision) ServiceRef() ServiceRef {
	return ServiceRef{arn.Scope{Account: r.Account, Region: r.Region}, r.Cluster, r.Service}
}

func (d *ServiceDeployment) key() string { return serviceDeploymentKey(d.ServiceRef(), d.ID) }

func (r *ServiceRevision) key() string { return serviceRevisionKey(r.ServiceRef(), r.Number) }

func newServiceDeploymentID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b[:])[:21]
}

// FindServiceDeployment returns the service deployment with an id, if it exists.
func FindServiceDeployment(r store.Reader, service ServiceRef, id string) (*ServiceDeployment, bool) {
	return serviceDeployments.Find(r, serviceDeploymentKey(service, id))
}

// FindServiceRevision returns the service revision with a number, if it exists.
func FindServiceRevision(r store.Reader, service ServiceRef, number string) (*ServiceRevision, bool) {
	return serviceRevisions.Find(r, serviceRevisionKey(service, number))
}

// ServiceDeployments returns the service deployments of a service that are kept, newest first.
func ServiceDeployments(r store.Reader, service ServiceRef) []*ServiceDeployment {
	var ds []*ServiceDeployment
	serviceDeployments.Scan(r, service.members(), "", func(_ string, d *ServiceDeployment) bool {
		ds = append(ds, d)
		return true
	})
	slices.SortFunc(ds, func(a, b *ServiceDeployment) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.ID, a.ID))
	})
	return ds
}

// changeServiceDeployment changes the newest service deployment, if it exists and has not ended.
func changeServiceDeployment(tx *store.Tx, s *Service, do func(*ServiceDeployment)) {
	old, ok := FindServiceDeployment(tx, s.Ref(), s.ServiceDeployment)
	if !ok || old.Status.Ended() {
		return
	}
	d := *old
	do(&d)
	serviceDeployments.Put(tx, d.key(), &d)
}

// BeginServiceDeployment changes the newest service deployment from PENDING to IN_PROGRESS.
func BeginServiceDeployment(tx *store.Tx, s *Service, now time.Time) {
	d, ok := FindServiceDeployment(tx, s.Ref(), s.ServiceDeployment)
	if ok && d.Status == ServiceDeploymentPending {
		changeServiceDeployment(tx, s, func(d *ServiceDeployment) {
			d.Status, d.Started, d.Updated = ServiceDeploymentInProgress, &now, now
		})
	}
}

// FinishServiceDeployment marks the newest service deployment, or its rollback, as successful.
func FinishServiceDeployment(tx *store.Tx, s *Service, now time.Time) {
	changeServiceDeployment(tx, s, func(d *ServiceDeployment) {
		d.Status, d.Finished, d.Updated = ServiceDeploymentSuccessful, &now, now
		if d.Rollback != nil {
			d.Status = RollbackSuccessful
		}
	})
}

// FailServiceDeployment marks the newest service deployment as stopped, or its rollback as failed.
func FailServiceDeployment(tx *store.Tx, s *Service, reason string, now time.Time) {
	changeServiceDeployment(tx, s, func(d *ServiceDeployment) {
		d.Status, d.Reason, d.Stopped, d.Updated = ServiceDeploymentStopped, reason, &now, now
		if d.Rollback != nil {
			d.Status = RollbackFailed
		}
	})
}

// CountFailures stores the count of the circuit breaker in the newest service deployment.
func CountFailures(tx *store.Tx, s *Service, count BreakerCount) {
	changeServiceDeployment(tx, s, func(d *ServiceDeployment) {
		if d.Rollback == nil { // keep the count of the deployment that is rolled back
			d.Breaker = &count
		}
	})
}

// endServiceDeployment marks the newest service deployment as stopped, because a later request replaces it.
func endServiceDeployment(tx *store.Tx, s *Service, reason string, now time.Time) {
	changeServiceDeployment(tx, s, func(d *ServiceDeployment) {
		d.Status, d.Reason, d.Stopped, d.Updated = ServiceDeploymentStopped, reason, &now, now
	})
}

// StopServiceDeployment requests the end of a service deployment that is in progress. The request for a rollback that
// is already in progress changes nothing.
func StopServiceDeployment(tx *store.Tx, service ServiceRef, id string, how StopMode, now time.Time) error {
	d, ok := FindServiceDeployment(tx, service, id)
	svc, active := FindService(tx, service)
	switch {
	case !ok || !active:
		return fault.New(fault.NotFound, "service deployment", "Service Deployment not found.")
	case d.Status.Ended() || svc.ServiceDeployment != id || svc.Status != Active:
		return fault.New(fault.InUse, "service deployment",
			"The service deployment is in the status %s and cannot be stopped any more.", d.Status)
	case how == StopRollback && (d.Status == RollbackRequested || d.Status == RollbackInProgress):
		return nil
	case how == StopRollback && svc.RollbackTarget() == nil:
		return fault.New(fault.Invalid, "service deployment",
			"The service deployment cannot be rolled back, since no earlier deployment of the service was completed.")
	}
	next := *svc
	next.Deployments = slices.Clone(svc.Deployments)
	next.Primary().Stop = how
	PutService(tx, next)
	changeServiceDeployment(tx, &next, func(d *ServiceDeployment) {
		d.Status, d.Updated = RollbackRequested, now
		if how == StopAbort {
			d.Status = ServiceDeploymentStopping
		}
	})
	return nil
}

// KeptServiceDeployments is the number of service deployments of a service that can be described.
const KeptServiceDeployments = 20

// prune deletes the service deployments beyond KeptServiceDeployments, and the service revisions that neither a
// remaining service deployment nor the service refers to.
func prune(tx *store.Tx, s *Service) {
	named := map[string]bool{}
	for i := range s.Deployments {
		named[s.Deployments[i].Number()] = true
	}
	if earlier := s.RollbackTarget(); earlier != nil {
		named[earlier.Number()] = true
	}
	for i, d := range ServiceDeployments(tx, s.Ref()) {
		if i >= KeptServiceDeployments {
			serviceDeployments.Delete(tx, d.key())
			continue
		}
		named[d.Target] = true
		for _, number := range d.Sources {
			named[number] = true
		}
		if d.Rollback != nil {
			named[d.Rollback.Number] = true
		}
	}
	serviceRevisions.Scan(tx, s.Ref().members(), "", func(key string, r *ServiceRevision) bool {
		if !named[r.Number] {
			serviceRevisions.Delete(tx, key)
		}
		return true
	})
}

// deleteHistory deletes the events, service deployments and service revisions of a service.
func deleteHistory(tx *store.Tx, service ServiceRef) {
	events.Scan(tx.Snapshot(), service.members(), "", func(k string, _ *Event) bool { events.Delete(tx, k); return true })
	serviceDeployments.Scan(tx.Snapshot(), service.members(), "", func(k string, _ *ServiceDeployment) bool {
		serviceDeployments.Delete(tx, k)
		return true
	})
	serviceRevisions.Scan(tx.Snapshot(), service.members(), "", func(k string, _ *ServiceRevision) bool {
		serviceRevisions.Delete(tx, k)
		return true
	})
}
