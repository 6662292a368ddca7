package docker

import (
	"net/netip"
	"strconv"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/docker/translate"
)

// assignment returns what a container receives from the task's reservation.
func (r *Runtime) assignment(sb *sandbox, name string) translate.Assignment {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	rec, spec := sb.containerLocked(name), &sb.stored.Spec
	at := translate.Assignment{
		Name: translate.ContainerName(spec, name), Image: rec.Image, CPUs: r.cpus,
		Labels:  r.labels(spec.ID, name, sb.stored.Network.VPC),
		Address: rec.Address, Address6: rec.Address6,
		Siblings: map[string]string{}, Addresses: map[string][]netip.Addr{}, Volumes: map[string]string{},
		Env: runtimeEnv(&sb.stored, rec),
	}
	if sb.stored.Pause != nil {
		at.Pause = sb.stored.Pause.Engine
	}
	for i, c := range spec.Containers {
		at.Siblings[c.Name] = translate.ContainerName(spec, c.Name)
		for _, a := range []netip.Addr{sb.stored.Containers[i].Address, sb.stored.Containers[i].Address6} {
			if a.IsValid() {
				at.Addresses[c.Name] = append(at.Addresses[c.Name], a)
			}
		}
	}
	for _, v := range spec.Options.Volumes {
		at.Volumes[v.Name] = translate.VolumeSource(spec, &v)
	}
	r.setNetwork(&at, sb, name)
	if spec.Resolver != nil && spec.NetworkMode != agent.NetworkNone {
		at.ResolvConf = resolvConfFile(sb.dir, spec.ID)
	}
	return at
}

// setNetwork sets the network of a container, by the task's network mode. The caller holds sb.mu.
func (r *Runtime) setNetwork(at *translate.Assignment, sb *sandbox, name string) {
	isPause := name == translate.PauseName
	switch mode := sb.stored.Spec.NetworkMode; {
	case mode == agent.NetworkHost, mode == agent.NetworkNone:
		at.Network = mode
	case mode == agent.NetworkAWSVPC && !isPause && sb.stored.Pause != nil:
		at.Share = sb.stored.Pause.Engine
	case mode == agent.NetworkAWSVPC:
		at.Network = r.networkName(sb.stored.Network)
	case isPause: // in mode bridge it holds other namespaces
		at.Network = agent.NetworkNone
	default:
		at.Network = r.networkName(sb.stored.Network)
		at.Ports = sb.containerLocked(name).Ports
	}
}

// runtimeEnv returns the environment variables with which a container finds its own address, its ports and DNS.
func runtimeEnv(rec *storedTask, c *storedContainer) map[string]string {
	env := map[string]string{}
	address := rec.Address
	if rec.Spec.NetworkMode == agent.NetworkBridge || rec.Spec.NetworkMode == "" {
		address = c.Address
	}
	if address.IsValid() {
		env["ROLLCALL_ADDRESS"] = address.String()
	}
	if rec.Spec.DNS != "" {
		env["ROLLCALL_DNS"] = rec.Spec.DNS
	}
	for _, p := range c.Ports { // a container listens on its own port in every mode; the host's is mapped to it
		env["ROLLCALL_PORT_"+strconv.Itoa(int(p.Container))] = strconv.Itoa(int(p.Container))
	}
	return env
}
