package registry

import (
	"strconv"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/attributes"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
)

// Health is the verdict on an instance.
type Health string

// The verdicts.
const (
	Healthy   Health = "HEALTHY"
	Unhealthy Health = "UNHEALTHY"
)

// Instance is one address (and port) that answers for a service.
type Instance struct {
	Account, Region string
	ServiceID       string
	ID              string
	Attributes      attributes.Set
	Health          Health
	// Unready instances have never been healthy: they are in no answer, not even when all are unhealthy.
	Unready bool `json:",omitempty"`
	// Draining instances are about to leave: they are in no answer any more.
	Draining bool `json:",omitempty"`
	// Changed is when, and By by what, its health, readiness or draining last changed.
	Changed time.Time
	By      Cause
	// Task is the key of the ECS task behind the instance, empty where there is none. A task's address is drained
	// before the task is stopped.
	Task string `json:",omitempty"`
	// TaskHealth is what ECS last said of the task behind the instance; a custom status stands until ECS says
	// something else.
	TaskHealth Health    `json:",omitempty"`
	Renewed    time.Time `json:",omitzero"` // leased ones: when somebody last said that it is there
	Creator    string    `json:",omitempty"`
	Operation  string    // that registered it
	Created    time.Time
}

// Cause is what changed an instance.
type Cause string

// The causes, in words that `rollcall lookup` shows.
const (
	ByRegistration Cause = "its registration"
	ByCustomStatus Cause = "UpdateInstanceCustomHealthStatus"
	ByTask         Cause = "its task's health check"
	ByScheduler    Cause = "the ECS scheduler"
)

// Lease is for how long the instance stays without being renewed; 0 is for ever.
func (i *Instance) Lease() time.Duration {
	seconds, err := strconv.Atoi(i.Attributes.Get(AttrLease))
	if err != nil { // none: RegisterInstance has checked it
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// InstanceSpec is a registration.
type InstanceSpec struct {
	ServiceID  string
	ID         string
	Attributes map[string]string
	Creator    string
	Task       string // the key of the ECS task that is registered
	// Unready keeps the instance out of every answer until its first healthy verdict, whatever health
	// configuration the service has: a task whose health check has not passed yet.
	Unready bool
}

// RegisterInstance adds an instance or replaces the one of its id, whole, and returns the operation that
// did. A repeat (same creator token and attributes) changes nothing and returns the first operation.
func RegisterInstance(tx *store.Tx, sc arn.Scope, spec InstanceSpec, call Call) (*Operation, error) {
	now := call.Time
	svc, err := GetService(tx, sc, spec.ServiceID)
	if err != nil {
		return nil, err
	}
	ns, err := GetNamespace(tx, sc, svc.NamespaceID)
	if err != nil {
		return nil, err
	}
	if err := checkAttributes(ns, svc, spec.Attributes); err != nil {
		return nil, err
	}
	ref := InstanceRef{sc, svc.ID, spec.ID}
	old, exists := instances.Find(tx, ref.Key())
	if exists && spec.Creator != "" && old.Creator == spec.Creator && old.Attributes == attributes.Of(spec.Attributes) {
		if op, ok := findOperation(tx, sc, old.Operation); ok {
			return op, change(tx, ref, func(i *Instance) { i.renew(now) })
		}
	}
	op := newOperation(sc, RegisterInstanceOp, ns.ID, Targets{Service: svc.ID, Instance: spec.ID}, call)
	if reason := nameFault(tx, sc, ns, svc, spec.ID); reason != "" {
		op.fail("INVALID_CHANGE_BATCH", reason)
		putOperation(tx, op)
		return op, nil
	}
	i := &Instance{
		Account: sc.Account, Region: sc.Region, ServiceID: svc.ID, ID: spec.ID, Attributes: attributes.Of(spec.Attributes),
		Health: Healthy, Changed: now, By: ByRegistration, Creator: spec.Creator, Operation: op.ID, Created: now,
		Task: spec.Task,
	}
	i.renew(now)
	if exists {
		i.Created = old.Created
	}
	if spec.Unready || svc.CustomHealth && Health(spec.Attributes[AttrInitHealth]) == Unhealthy {
		i.Health, i.Unready = Unhealthy, true
	}
	instances.Put(tx, ref.Key(), i)
	claimHost(tx, svc, spec.ID)
	revisions.Put(tx, serviceKey(sc, svc.ID), &Revision{})
	putOperation(tx, op)
	return op, nil
}

// DeregisterInstance removes an instance and returns the operation that did.
func DeregisterInstance(tx *store.Tx, ref InstanceRef, call Call) (*Operation, error) {
	svc, err := GetService(tx, ref.Scope, ref.ServiceID)
	if err != nil {
		return nil, err
	}
	if _, ok := instances.Find(tx, ref.Key()); !ok {
		return nil, instanceNotFound(ref.ID)
	}
	op := newOperation(ref.Scope, DeregisterInstanceOp, svc.NamespaceID, Targets{Service: ref.ServiceID, Instance: ref.ID}, call)
	instances.Delete(tx, ref.Key())
	releaseHost(tx, svc, ref.ID)
	revisions.Put(tx, serviceKey(ref.Scope, ref.ServiceID), &Revision{})
	putOperation(tx, op)
	return op, nil
}

func instanceNotFound(id string) error {
	return fault.New(fault.NotFound, "instance", "Failed to find instance: %s", id)
}

// GetInstance finds an instance.
func GetInstance(r store.Reader, ref InstanceRef) (*Instance, error) {
	if _, err := GetService(r, ref.Scope, ref.ServiceID); err != nil {
		return nil, err
	}
	i, ok := instances.Find(r, ref.Key())
	if !ok {
		return nil, instanceNotFound(ref.ID)
	}
	return i, nil
}

// ScanInstances calls fn with the instances of after's service whose keys follow after's, in the order of their keys,
// until fn returns false. An after without an id begins with the first instance.
func ScanInstances(r store.Reader, after InstanceRef, fn func(*Instance) bool) {
	afterKey := ""
	if after.ID != "" {
		afterKey = after.Key()
	}
	instances.Scan(r, serviceKey(after.Scope, after.ServiceID)+"/", afterKey, func(_ string, i *Instance) bool { return fn(i) })
}

// SetCustomHealth is UpdateInstanceCustomHealthStatus: it needs a service with custom health. It renews the
// instance's lease, whatever the status says.
func SetCustomHealth(tx *store.Tx, ref InstanceRef, h Health, now time.Time) error {
	svc, err := GetService(tx, ref.Scope, ref.ServiceID)
	if err != nil {
		return err
	}
	if !svc.CustomHealth {
		return fault.New(fault.NotFound, "custom health", "Service %s has no HealthCheckCustomConfig", ref.ServiceID)
	}
	return change(tx, ref, func(i *Instance) {
		i.setHealth(h, ByCustomStatus, now)
		i.renew(now)
	})
}

// SetTaskHealth records what ECS knows of the task behind an instance, whether or not the service has
// custom health: a task that fails its health check is in no answer in either case.
func SetTaskHealth(tx *store.Tx, ref InstanceRef, h Health, now time.Time) error {
	return change(tx, ref, func(i *Instance) {
		if i.TaskHealth != h {
			i.TaskHealth = h
			i.setHealth(h, ByTask, now)
		}
	})
}

// IsAnswered reports whether the service's answers may name an instance: it is registered, healthy, and does
// not drain.
func IsAnswered(r store.Reader, ref InstanceRef) bool {
	i, ok := instances.Find(r, ref.Key())
	return ok && i.Health == Healthy && !i.Draining
}

// SetDraining takes an instance out of all answers; its row remains until it is deregistered.
func SetDraining(tx *store.Tx, ref InstanceRef, now time.Time) error {
	return change(tx, ref, func(i *Instance) {
		if !i.Draining {
			i.Draining, i.Changed, i.By = true, now, ByScheduler
		}
	})
}

// setHealth records a verdict; the first healthy one makes the instance ready for good.
func (i *Instance) setHealth(h Health, by Cause, now time.Time) {
	unready := i.Unready && h != Healthy
	if i.Health != h || i.Unready != unready {
		i.Health, i.Unready, i.Changed, i.By = h, unready, now, by
	}
}

// renew begins a leased instance's lease anew.
func (i *Instance) renew(now time.Time) {
	if i.Lease() > 0 {
		i.Renewed = now
	}
}

// change writes an instance's row if do changes anything that can change.
func change(tx *store.Tx, ref InstanceRef, do func(*Instance)) error {
	old, ok := instances.Find(tx, ref.Key())
	if !ok {
		return instanceNotFound(ref.ID)
	}
	i := *old
	do(&i)
	if i.Health != old.Health || i.TaskHealth != old.TaskHealth || i.Unready != old.Unready || i.Draining != old.Draining || !i.Renewed.Equal(old.Renewed) {
		instances.Put(tx, ref.Key(), &i)
	}
	return nil
}

// Expire deregisters an instance whose lease ran out, unless it has been renewed, or registered anew, since
// it was seen.
func Expire(tx *store.Tx, seen *Instance, call Call) error {
	i, ok := instances.Find(tx, seen.Ref().Key())
	if !ok || !i.Renewed.Equal(seen.Renewed) || i.Operation != seen.Operation {
		return nil
	}
	_, err := DeregisterInstance(tx, seen.Ref(), call)
	return err
}
