package docker

import (
	"net/netip"
	"slices"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/addrlease"
	"github.com/bakingclouds/rollcall/internal/agent/docker/network"
	"github.com/bakingclouds/rollcall/internal/agent/docker/translate"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// reservation collects what a new task reserves: its addresses and host ports.
type reservation struct {
	runtime *Runtime
	stored  storedTask
	leases  []addrlease.Lease
}

// reserve reserves the addresses and host ports of a new task. Nothing stays reserved after an error.
func (r *Runtime) reserve(spec agent.TaskSpec) (*sandbox, error) {
	n, err := r.networkOf(spec.VPC)
	if err != nil {
		return nil, err
	}
	v := &reservation{runtime: r, stored: storedTask{Spec: spec, Network: n}}
	if translate.NeedsPause(&spec) {
		v.stored.Pause = &storedContainer{}
	}
	for range spec.Containers {
		v.stored.Containers = append(v.stored.Containers, &storedContainer{})
	}
	switch spec.NetworkMode {
	case agent.NetworkNone:
	case agent.NetworkAWSVPC:
		err = v.reserveTaskAddress()
	default:
		err = v.reserveHostPorts()
	}
	if err != nil {
		releaseAll(v.leases)
		return nil, err
	}
	sb := newSandbox(r.config.Dir, v.stored)
	sb.leases = v.leases
	return sb, nil
}

func releaseAll(leases []addrlease.Lease) {
	for _, l := range leases {
		l.Release()
	}
}

// networkOf returns the network of a VPC, or the first network if vpc is empty.
func (r *Runtime) networkOf(vpc string) (network.Network, error) {
	for _, n := range r.config.Networks {
		if n.VPC == vpc || vpc == "" {
			return n, nil
		}
	}
	return network.Network{}, fault.New(fault.Invalid, "vpc", "this node has no network in VPC %s", vpc)
}

// reserveAddress reserves an address on the task's network for a container.
func (v *reservation) reserveAddress(c *storedContainer) error {
	address, lease, err := v.runtime.leases.Address(v.stored.Network.Prefix)
	if err != nil {
		return err
	}
	v.leases = append(v.leases, lease)
	c.Address, c.Address6 = address, v.stored.Network.Address6(address)
	return nil
}

// reserveTaskAddress reserves the address of a task in mode awsvpc. It belongs to the pause container, or to the task's
// only container.
func (v *reservation) reserveTaskAddress() error {
	holder := v.stored.Pause
	if holder == nil {
		holder = v.stored.Containers[0]
	}
	if err := v.reserveAddress(holder); err != nil {
		return err
	}
	v.stored.Address, v.stored.Address6 = holder.Address, holder.Address6
	for i, c := range v.stored.Spec.Containers {
		for _, p := range c.Ports {
			v.stored.Containers[i].Ports = append(v.stored.Containers[i].Ports, agent.PortBinding{
				Container: p.Container, Host: p.Container, HostIP: holder.Address, Protocol: addrlease.ProtocolOf(p),
			})
		}
	}
	return nil
}

// reserveHostPorts reserves ports of the host for the containers of a task in mode bridge or host. In mode bridge each
// container also gets an address, which the ports lead to.
func (v *reservation) reserveHostPorts() error {
	spec := &v.stored.Spec
	v.stored.Address = v.runtime.config.HostAddress
	for i, c := range spec.Containers {
		ports := hostPorts(spec.NetworkMode, c.Ports)
		bindings, leases, err := v.runtime.leases.BindPorts(netip.IPv4Unspecified(), ports, spec.Group)
		if err != nil {
			return err
		}
		v.leases = append(v.leases, leases...)
		v.stored.Containers[i].Ports = bindings
		if spec.NetworkMode == agent.NetworkHost || c.Options.DisableNetworking {
			continue
		}
		if err := v.reserveAddress(v.stored.Containers[i]); err != nil {
			return err
		}
	}
	return nil
}

// hostPorts returns the ports that a container needs on the host. In mode host they are the container's own.
func hostPorts(mode string, ports []agent.Port) []agent.Port {
	if mode != agent.NetworkHost {
		return ports
	}
	own := slices.Clone(ports)
	for i := range own {
		own[i].Host = own[i].Container
	}
	return own
}
