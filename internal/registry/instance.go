package registry

import (
	"strconv"
	"strings"
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

func instanceKey(sc arn.Scope, service, id string) string {
	return sc.Region + "/" + service + "/" + escape(id)
}

// escape keeps "/" a separator of key parts.
func escape(id string) string {
	if !strings.ContainsAny(id, "/%") {
		return id
	}
	return strings.ReplaceAll(strings.ReplaceAll(id, "%", "%25"), "/", "%2F")
}

// RegisterInstance adds an instance or replaces the one of its id, whole, and returns the operation that
// did. A repeat (same creator token and attributes) changes nothing and returns the first operation.
func RegisterInstance(tx *store.Tx, sc arn.Scope, spec InstanceSpec, now time.Time) (*Operation, error) {
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
	key := instanceKey(sc, svc.ID, spec.ID)
	old, exists := instances.Find(tx, key)
	if exists && spec.Creator != "" && old.Creator == spec.Creator && old.Attributes == attributes.Of(spec.Attributes) {
		if op, ok := findOperation(tx, sc, old.Operation); ok {
			return op, change(tx, sc, svc.ID, spec.ID, func(i *Instance) { i.renew(now) })
		}
	}
	op := newOperation(sc, RegisterInstanceOp, ns.ID, Targets{Service: svc.ID, Instance: spec.ID}, now)
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
	instances.Put(tx, key, i)
	claimHost(tx, sc, svc, spec.ID)
	revisions.Put(tx, sc.Region+"/"+svc.ID, &Revision{})
	putOperation(tx, op)
	return op, nil
}

// DeregisterInstance removes an instance and returns the operation that did.
func DeregisterInstance(tx *store.Tx, sc arn.Scope, service, id string, now time.Time) (*Operation, error) {
	svc, err := GetService(tx, sc, service)
	if err != nil {
		return nil, err
	}
	key := instanceKey(sc, service, id)
	if _, ok := instances.Find(tx, key); !ok {
		return nil, instanceNotFound(id)
	}
	op := newOperation(sc, DeregisterInstanceOp, svc.NamespaceID, Targets{Service: service, Instance: id}, now)
	instances.Delete(tx, key)
	releaseHost(tx, sc, svc, id)
	revisions.Put(tx, sc.Region+"/"+service, &Revision{})
	putOperation(tx, op)
	return op, nil
}

func instanceNotFound(id string) error {
	return fault.New(fault.NotFound, "instance", "Failed to find instance: %s", id)
}

// GetInstance finds an instance.
func GetInstance(r store.Reader, sc arn.Scope, service, id string) (*Instance, error) {
	if _, err := GetService(r, sc, service); err != nil {
		return nil, err
	}
	i, ok := instances.Find(r, instanceKey(sc, service, id))
	if !ok {
		return nil, instanceNotFound(id)
	}
	return i, nil
}

// ScanInstances calls fn with a service's instances behind the id after, in the order of their keys.
func ScanInstances(r store.Reader, sc arn.Scope, service, after string, fn func(*Instance) bool) {
	if after != "" {
		after = instanceKey(sc, service, after)
	}
	instances.Scan(r, sc.Region+"/"+service+"/", after, func(_ string, i *Instance) bool { return fn(i) })
}

// SetCustomHealth is UpdateInstanceCustomHealthStatus: it needs a service with custom health. It renews the
// instance's lease, whatever the status says.
func SetCustomHealth(tx *store.Tx, sc arn.Scope, service, id string, h Health, now time.Time) error {
	svc, err := GetService(tx, sc, service)
	if err != nil {
		return err
	}
	if !svc.CustomHealth {
		return fault.New(fault.NotFound, "custom health", "Service %s has no HealthCheckCustomConfig", service)
	}
	return change(tx, sc, service, id, func(i *Instance) {
		i.setHealth(h, ByCustomStatus, now)
		i.renew(now)
	})
}

// SetTaskHealth records what ECS knows of the task behind an instance, whether or not the service has
// custom health: a task that fails its health check is in no answer in either case.
func SetTaskHealth(tx *store.Tx, sc arn.Scope, service, id string, h Health, now time.Time) error {
	return change(tx, sc, service, id, func(i *Instance) {
		if i.TaskHealth != h {
			i.TaskHealth = h
			i.setHealth(h, ByTask, now)
		}
	})
}

// Answered reports whether the service's answers may name an instance: it is registered, healthy, and does
// not drain.
func Answered(r store.Reader, sc arn.Scope, service, id string) bool {
	i, ok := instances.Find(r, instanceKey(sc, service, id))
	return ok && i.Health == Healthy && !i.Draining
}

// Drain takes an instance out of the answers while its row remains.
func Drain(tx *store.Tx, sc arn.Scope, service, id string, now time.Time) error {
	return change(tx, sc, service, id, func(i *Instance) {
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
func change(tx *store.Tx, sc arn.Scope, service, id string, do func(*Instance)) error {
	key := instanceKey(sc, service, id)
	old, ok := instances.Find(tx, key)
	if !ok {
		return instanceNotFound(id)
	}
	i := *old
	do(&i)
	if i.Health != old.Health || i.TaskHealth != old.TaskHealth || i.Unready != old.Unready || i.Draining != old.Draining || !i.Renewed.Equal(old.Renewed) {
		instances.Put(tx, key, &i)
	}
	return nil
}

// Expire deregisters an instance whose lease ran out, unless it has been renewed, or registered anew, since
// it was seen.
func Expire(tx *store.Tx, seen *Instance, now time.Time) error {
	sc := arn.Scope{Account: seen.Account, Region: seen.Region}
	i, ok := instances.Find(tx, instanceKey(sc, seen.ServiceID, seen.ID))
	if !ok || !i.Renewed.Equal(seen.Renewed) || i.Operation != seen.Operation {
		return nil
	}
	_, err := DeregisterInstance(tx, sc, seen.ServiceID, seen.ID, now)
	return err
}
