package registry

import (
	"strconv"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/attributes"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
)

// Health is the health status of an instance.
type Health string

// The health statuses.
const (
	Healthy   Health = "HEALTHY"
	Unhealthy Health = "UNHEALTHY"
)

// Instance is an address, and possibly a port, of a service.
type Instance struct {
	Account, Region string
	ServiceID       string
	ID              string
	Attributes      attributes.Set
	Health          Health
	// Unready reports that the instance has never been healthy. It is in no answer, not even if all instances of the
	// service are unhealthy.
	Unready bool `json:",omitempty"`
	// Draining reports that the instance will be deregistered. It is in no answer.
	Draining bool `json:",omitempty"`
	// Changed and By are the time and the cause of the last change of health, readiness or draining.
	Changed time.Time
	By      Cause
	// Task is the key of the ECS task that is registered, empty for other instances. The address of a task is drained
	// before the task is stopped.
	Task string `json:",omitempty"`
	// TaskHealth is the last health status that ECS reported for the task. A custom status applies until ECS reports
	// another one.
	TaskHealth Health    `json:",omitempty"`
	Renewed    time.Time `json:",omitzero"` // the last renewal of its lease, zero without a lease
	Creator    string    `json:",omitempty"`
	Operation  string    // the id of the operation that registered it
	Created    time.Time
}

// Cause is the cause of a change of an instance.
type Cause string

// The causes, as `rollcall lookup` shows them. Their values are stored in rows.
const (
	ByRegistration Cause = "its registration"
	ByCustomStatus Cause = "UpdateInstanceCustomHealthStatus"
	ByTask         Cause = "its task's health check"
	ByScheduler    Cause = "the ECS scheduler"
)

// Lease returns the time for which the instance stays registered without a renewal; 0 means forever.
func (i *Instance) Lease() time.Duration {
	seconds, err := strconv.Atoi(i.Attributes.Get(AttrLease))
	if err != nil { // no lease; RegisterInstance rejects invalid ones
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// InstanceSpec describes a registration.
type InstanceSpec struct {
	ServiceID  string
	ID         string
	Attributes map[string]string
	Creator    string
	Task       string // the key of the ECS task that is registered, else empty
	// Unready keeps the instance out of all answers until its health first becomes HEALTHY, with any health configuration
	// of the service. It is set for a task whose health check has not passed yet.
	Unready bool
}

// RegisterInstance adds an instance, or replaces the instance with its id, and returns the operation. A repeat with the
// same creator token and attributes only renews the lease and returns the first operation.
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

// DeregisterInstance deletes an instance and returns the operation.
func DeregisterInstance(tx *store.Tx, ref InstanceRef, call Call) (*Operation, error) {
	svc, err := GetService(tx, ref.Scope, ref.ServiceID)
	if err != nil {
		return nil, err
	}
	if _, ok := instances.Find(tx, ref.Key()); !ok {
		return nil, instanceNotFound(ref.ID)
	}
	op := newOperation(ref.Scope, DeregisterInstanceOp, svc.NamespaceID,
		Targets{Service: ref.ServiceID, Instance: ref.ID}, call)
	instances.Delete(tx, ref.Key())
	releaseHost(tx, svc, ref.ID)
	revisions.Put(tx, serviceKey(ref.Scope, ref.ServiceID), &Revision{})
	putOperation(tx, op)
	return op, nil
}

func instanceNotFound(id string) error {
	return fault.New(fault.NotFound, "instance", "Failed to find instance: %s", id)
}

// GetInstance returns an instance, or a NotFound error.
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
	instances.Scan(r, serviceKey(after.Scope, after.ServiceID)+"/", afterKey,
		func(_ string, i *Instance) bool { return fn(i) })
}

// SetCustomHealth sets the health of an instance whose service has custom health (UpdateInstanceCustomHealthStatus). It
// also renews the instance's lease, with either status.
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

// SetTaskHealth sets the health of the ECS task that is registered as an instance. It does not depend on the health
// configuration of the service: a task that fails its health check is in no answer.
func SetTaskHealth(tx *store.Tx, ref InstanceRef, h Health, now time.Time) error {
	return change(tx, ref, func(i *Instance) {
		if i.TaskHealth != h {
			i.TaskHealth = h
			i.setHealth(h, ByTask, now)
		}
	})
}

// IsAnswered reports whether the service's answers may contain an instance: it is registered, healthy and not draining.
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

// setHealth sets the health. The first HEALTHY status makes the instance ready; it never becomes unready again.
func (i *Instance) setHealth(h Health, by Cause, now time.Time) {
	unready := i.Unready && h != Healthy
	if i.Health != h || i.Unready != unready {
		i.Health, i.Unready, i.Changed, i.By = h, unready, now, by
	}
}

// renew renews the lease of an instance that has one.
func (i *Instance) renew(now time.Time) {
	if i.Lease() > 0 {
		i.Renewed = now
	}
}

// change calls do with a copy of an instance's row and writes the copy if its health, readiness, draining or lease has
// changed.
func change(tx *store.Tx, ref InstanceRef, do func(*Instance)) error {
	old, ok := instances.Find(tx, ref.Key())
	if !ok {
		return instanceNotFound(ref.ID)
	}
	i := *old
	do(&i)
	if i.Health != old.Health || i.TaskHealth != old.TaskHealth || i.Unready != old.Unready ||
		i.Draining != old.Draining || !i.Renewed.Equal(old.Renewed) {
		instances.Put(tx, ref.Key(), &i)
	}
	return nil
}

// Expire deregisters an instance whose lease has expired, unless it has been renewed or registered again since the
// caller read it.
func Expire(tx *store.Tx, seen *Instance, call Call) error {
	i, ok := instances.Find(tx, seen.Ref().Key())
	if !ok || !i.Renewed.Equal(seen.Renewed) || i.Operation != seen.Operation {
		return nil
	}
	_, err := DeregisterInstance(tx, seen.Ref(), call)
	return err
}
