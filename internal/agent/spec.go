package agent

import (
	"maps"
	"strconv"
	"time"

	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/task"
)

// spec returns a task as the runtime needs it. An error of kind fault.Invalid means that the task can never start.
func (a *Agent) spec(t *task.Task, def *task.Definition) (TaskSpec, error) {
	spec := TaskSpec{
		ID: string(t.ID), NetworkMode: def.NetworkMode,
		Group: t.Scope().Key(t.Cluster, t.Group()), Rest: a.rest(t),
		Labels: labels(t), Options: def.Options,
	}
	spec.Options.CPU, spec.Options.Memory = def.CPU, def.Memory
	if a.VPC != nil && t.Network != nil {
		spec.VPC = a.VPC(t.Network.Subnets)
	}
	if a.Names.For != nil {
		resolver, dns := a.Names.For(def.NetworkMode, spec.VPC)
		spec.Resolver, spec.DNS = resolver, dns.String()
	}
	if def.TaskRole != "" {
		spec.Hosts = a.Hosts
	}
	size := 0
	for i := range def.Containers {
		c := &def.Containers[i]
		env, err := a.environment(t, def, i)
		if err != nil {
			return spec, err
		}
		for name, value := range env {
			size += len(name) + len(value)
		}
		if size > maxEnvironment {
			return spec, initializationError("the environment of the task has more than %d bytes", maxEnvironment)
		}
		container := containerSpec(c, env)
		if err := a.addEngineSecrets(&container); err != nil {
			return spec, err
		}
		spec.Containers = append(spec.Containers, container)
	}
	return spec, nil
}

// labels returns the labels that ECS's agent sets on each container of a task. The runtime adds the container's name.
func labels(t *task.Task) map[string]string {
	const prefix = "com.amazonaws.ecs."
	return map[string]string{
		prefix + "cluster": t.Cluster, prefix + "task-arn": t.ARN(),
		prefix + "task-definition-family": t.Family, prefix + "task-definition-version": strconv.Itoa(t.Revision),
	}
}

// addEngineSecrets reads the secrets that a container engine needs: the login for the image's registry, and options of
// the log driver. A runtime without images has neither a registry nor a log driver, so these secrets need not exist
// there.
func (a *Agent) addEngineSecrets(c *ContainerSpec) error {
	o := &c.Options
	if o.Login == "" && len(o.LogSecrets) == 0 || !a.rt.Capabilities().Images {
		return nil
	}
	var err error
	if o.Login != "" {
		if c.Login, err = a.Secrets.login(o.Login); err != nil {
			return err
		}
	}
	options, err := a.Secrets.byName(o.LogSecrets)
	if err != nil {
		return err
	}
	if len(options) > 0 {
		maps.Copy(options, o.LogOptions)
		o.LogOptions, o.LogSecrets = options, nil
	}
	return nil
}

// environment returns the environment of the nth container. Later layers win: the variables that ECS sets, environment
// files, the definition's variables, secrets.
func (a *Agent) environment(t *task.Task, def *task.Definition, n int) (map[string]string, error) {
	env := map[string]string{}
	if a.Environment != nil {
		maps.Copy(env, a.Environment(t, def, n))
	}
	c := &def.Containers[n]
	files, secrets, err := a.Secrets.environment(c)
	if err != nil {
		return nil, err
	}
	for _, layer := range []map[string]string{files, c.Environment, secrets} {
		maps.Copy(env, layer)
	}
	return env, nil
}

func containerSpec(c *task.ContainerDefinition, env map[string]string) ContainerSpec {
	spec := ContainerSpec{
		Name: c.Name, Image: c.Image, EntryPoint: c.EntryPoint, Command: c.Command,
		Env: env, WorkingDirectory: c.WorkingDirectory, User: c.User,
		CPU: c.CPU, Memory: c.Memory, Reservation: c.MemoryReservation, Options: c.Options,
	}
	for _, u := range c.Ulimits {
		spec.Ulimits = append(spec.Ulimits, Ulimit(u))
	}
	for _, p := range c.Ports {
		spec.Ports = append(spec.Ports, Port{
			Container: uint16(p.ContainerPort), Host: uint16(p.HostPort), Protocol: p.Protocol,
		})
	}
	if h := c.HealthCheck; h != nil {
		spec.HealthCheck = &HealthCheck{
			Command: h.Command, Interval: h.Interval, Timeout: h.Timeout, Retries: h.Retries, StartPeriod: h.StartPeriod,
		}
	}
	return spec
}

// rest returns the longest time that a client may cache an answer with the task's address.
func (a *Agent) rest(t *task.Task) time.Duration {
	var ttl time.Duration
	for _, reg := range t.Registries {
		if svc, err := registry.GetService(a.db.Snapshot(), t.Scope(), reg.ServiceID); err == nil {
			ttl = max(ttl, svc.LongestTTL())
		}
	}
	return ttl
}
