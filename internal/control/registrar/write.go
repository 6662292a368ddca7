package registrar

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// registrationAfter is the registration of a task after each action.
var registrationAfter = map[action]task.Registration{
	registerInstance: task.Registered, updateHealth: task.Registered,
	drainInstance: task.Draining, deregisterInstance: task.Released,
}

// write carries out an action: it changes the rows of the task's instances and the task's row.
func (r *registrar) write(tx *store.Tx, t *task.Task, a action, call registry.Call) error {
	for _, reg := range t.Registries {
		var err error
		ref := instanceRef(t, reg)
		switch a {
		case registerInstance:
			err = r.register(tx, t, reg, call)
		case updateHealth:
			err = setHealth(tx, t, reg, call.Time)
		case drainInstance:
			err = ignoreNotFound(registry.SetDraining(tx, ref, call.Time))
		case deregisterInstance:
			if t.Registration != task.Unregistered {
				_, err = registry.DeregisterInstance(tx, ref, call)
				err = ignoreNotFound(err)
			}
		}
		if err != nil {
			return err
		}
	}
	next := registrationAfter[a]
	task.SetRegistration(tx, t.Ref(), next, next == task.Registered && isAnswered(tx, t))
	return nil
}

// instanceRef returns the reference of a task's instance in one of its registries.
func instanceRef(t *task.Task, reg task.Registry) registry.InstanceRef {
	return registry.InstanceRef{Scope: t.Scope(), ServiceID: reg.ServiceID, ID: string(t.ID)}
}

// isAnswered reports whether every registry of a task answers with it.
func isAnswered(tx *store.Tx, t *task.Task) bool {
	return !slices.ContainsFunc(t.Registries, func(reg task.Registry) bool {
		return !registry.IsAnswered(tx, instanceRef(t, reg))
	})
}

// register adds a task's instance to one of its registries. If the registry rejects it, because its Cloud Map service
// was deleted or requires an address that the task does not have, the task is stopped with that reason: clients would
// never find it. Its instances in other registries are deregistered when the task ends.
func (r *registrar) register(tx *store.Tx, t *task.Task, reg task.Registry, call registry.Call) error {
	spec := registry.InstanceSpec{
		ServiceID: reg.ServiceID, ID: string(t.ID), Attributes: instanceAttributes(t, reg, r.zone),
		Task: t.Key(), Unready: t.Checked,
	}
	if svc, err := registry.GetService(tx, t.Scope(), reg.ServiceID); err == nil && svc.CustomHealth {
		spec.Attributes[registry.AttrInitHealth] = string(instanceHealth(t))
	}
	op, err := registry.RegisterInstance(tx, t.Scope(), spec, call)
	if err == nil && op.ErrorCode != "" {
		err = fault.New(fault.Invalid, "instance", "%s", op.ErrorMessage)
	}
	if fault.Is(err, fault.Invalid) || fault.Is(err, fault.NotFound) {
		reason := fmt.Sprintf("ResourceInitializationError: the task cannot be registered in %s: %v", reg.ServiceID,
			err)
		_, _, err := task.Stop(tx, t.Ref(), task.StopCause{Code: task.TaskFailedToStart, Reason: reason}, call.Time)
		return err
	}
	if err != nil {
		return err
	}
	return setHealth(tx, t, reg, call.Time)
}

// instanceHealth returns the health of a task's instance. A task with a health check is unhealthy until the check has
// passed.
func instanceHealth(t *task.Task) registry.Health {
	if !t.Checked || t.Observed.Health == task.HealthHealthy {
		return registry.Healthy
	}
	return registry.Unhealthy
}

func setHealth(tx *store.Tx, t *task.Task, reg task.Registry, now time.Time) error {
	return ignoreNotFound(registry.SetTaskHealth(tx, instanceRef(t, reg), instanceHealth(t), now))
}

// ignoreNotFound ignores the error of an instance that a client has deregistered with DeregisterInstance.
func ignoreNotFound(err error) error {
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

// instanceAttributes returns the attributes that ECS gives a task's instance (ECS Developer Guide, "Service
// discovery").
func instanceAttributes(t *task.Task, reg task.Registry, zone string) map[string]string {
	a := map[string]string{
		"AVAILABILITY_ZONE":          t.Region + zone,
		"REGION":                     t.Region,
		"ECS_SERVICE_NAME":           t.Service,
		"ECS_CLUSTER_NAME":           t.Cluster,
		"ECS_TASK_DEFINITION_FAMILY": t.Family,
	}
	if ip := t.Observed.Address; ip.Is4() {
		a[registry.AttrIPv4] = ip.String()
	} else if ip.Is6() {
		a[registry.AttrIPv6] = ip.String()
	}
	if ip := t.Observed.Address6; ip.IsValid() {
		a[registry.AttrIPv6] = ip.String()
	}
	if port := instancePort(t, reg); port != 0 {
		a[registry.AttrPort] = strconv.Itoa(port)
	}
	return a
}

// instancePort returns the port of a task's instance: the registry's port, else the host port of the registry's
// container port, else the task's first host port. 0 means none.
func instancePort(t *task.Task, reg task.Registry) int {
	if reg.Port != 0 {
		return reg.Port
	}
	for _, c := range t.Observed.Containers {
		for _, b := range c.Bindings {
			if reg.ContainerName == "" || c.Name == reg.ContainerName && b.ContainerPort == reg.ContainerPort {
				return b.HostPort
			}
		}
	}
	return 0
}
