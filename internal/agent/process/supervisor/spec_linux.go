package supervisor

import (
	"net/netip"
	"strconv"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/process/launch"
	"github.com/bakingclouds/rollcall/internal/agent/speccheck"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// validate returns an error of kind fault.Invalid if this runtime can never run the task.
func validate(spec *agent.TaskSpec) error {
	if err := speccheck.Check(spec); err != nil {
		return fault.New(fault.Invalid, "task", "%s: %v", spec.ID, err)
	}
	for i := range spec.Containers {
		if problem := containerProblem(&spec.Containers[i]); problem != "" {
			return fault.New(fault.Invalid, "task", "%s: container %q: %s", spec.ID, spec.Containers[i].Name, problem)
		}
	}
	return nil
}

// containerProblem returns why a container cannot run as a process, in addition to the rules of package speccheck;
// empty if it can.
func containerProblem(c *agent.ContainerSpec) string {
	if argv := c.Argv(); len(argv) == 0 || argv[0] == "" {
		return "it has neither entryPoint nor command; a process has no image to take them from, " +
			"so name the program in command"
	}
	for _, u := range c.Ulimits {
		if !launch.IsUlimit(u.Name) {
			return "the ulimit " + strconv.Quote(u.Name) + " does not exist"
		}
	}
	if _, err := c.HealthCheck.Argv(); err != nil {
		return err.Error()
	}
	return ""
}

// environment merges layers of a container's environment, of which later ones win, into the form of exec(2).
func environment(layers ...map[string]string) []string {
	merged := map[string]string{}
	for _, layer := range layers {
		for name, value := range layer {
			merged[name] = value
		}
	}
	env := make([]string, 0, len(merged))
	for name, value := range merged {
		env = append(env, name+"="+value)
	}
	return env
}

// runtimeEnv returns the variables that this runtime sets for a container.
func runtimeEnv(spec *agent.TaskSpec, address netip.Addr, ports []agent.PortBinding) map[string]string {
	env := map[string]string{"HOSTNAME": spec.ID[:min(len(spec.ID), 12)]}
	if address.IsValid() {
		env["ROLLCALL_ADDRESS"] = address.String()
	}
	if spec.DNS != "" {
		env["ROLLCALL_DNS"] = spec.DNS
	}
	for _, p := range ports {
		env["ROLLCALL_PORT_"+strconv.Itoa(int(p.Container))] = strconv.Itoa(int(p.Host))
	}
	return env
}
