package docker

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent/docker/network"
	"github.com/bakingclouds/rollcall/internal/agent/docker/translate"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/addrlease"
	"github.com/bakingclouds/rollcall/internal/atomicfile"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// sandbox is a task of this data folder.
type sandbox struct {
	dir  string                 // the data folder
	work map[string]*sync.Mutex // by container: held while the engine is asked to make, start or remove it

	complete bool // what it has beside its containers is made; work[translate.PauseName] guards it

	mu     sync.Mutex // of all below
	record record
	status map[string]agent.ContainerStatus // by container; "" is the pause container
	leases []addrlease.Lease
	// stopping are the containers that shall end: their ends are no reason to restart them.
	stopping map[string]bool
}

// newSandbox makes what goes with a record.
func newSandbox(dir string, r record) *sandbox {
	b := &sandbox{dir: dir, record: r, work: map[string]*sync.Mutex{translate.PauseName: {}}, status: map[string]agent.ContainerStatus{}, stopping: map[string]bool{}}
	for i, c := range r.Containers {
		name := r.Spec.Containers[i].Name
		b.work[name] = &sync.Mutex{}
		b.status[name] = agent.ContainerStatus{Name: name, Health: agent.HealthUnknown, Ports: c.Ports, Image: c.Digest}
		if c.End != nil {
			s := b.status[name]
			s.FinishedAt, s.Reason = c.End.At, c.End.Reason
			b.status[name] = s
		}
	}
	return b
}

// find is a container's record; nil when the task has none of the name. b.mu is held.
func (b *sandbox) find(name string) *containerRecord {
	if name == translate.PauseName {
		return b.record.Pause
	}
	for i := range b.record.Spec.Containers {
		if b.record.Spec.Containers[i].Name == name {
			return b.record.Containers[i]
		}
	}
	return nil
}

// note changes a container's record and keeps it.
func (b *sandbox) note(name string, change func(*containerRecord)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(b.find(name))
	return b.saveLocked()
}

// saveLocked writes the record. A container is looked for by its name when its id was not kept, so that no crash of the
// machine loses more than time: nothing waits for the disk.
func (b *sandbox) saveLocked() error {
	if err := atomicfile.Write(recordFile(b.dir, b.record.Spec.ID), b.record, false); err != nil {
		return fmt.Errorf("keep the record of task %s: %w", b.record.Spec.ID, err)
	}
	return nil
}

// seen takes in a container's status and says whether it is news. An end stands.
func (b *sandbox) seen(s agent.ContainerStatus) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.status[s.Name]
	if old.Ended() || equal(old, s) {
		return false
	}
	b.status[s.Name] = s
	return true
}

func equal(a, b agent.ContainerStatus) bool {
	return a.RuntimeID == b.RuntimeID && a.StartedAt.Equal(b.StartedAt) && a.FinishedAt.Equal(b.FinishedAt) && a.Reason == b.Reason &&
		a.Health == b.Health && a.HealthOutput == b.HealthOutput && a.Image == b.Image && (a.ExitCode == nil) == (b.ExitCode == nil)
}

func (b *sandbox) statusOf(name string) agent.ContainerStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.status[name]
}

// view is the task as the agent sees it.
func (b *sandbox) view() agent.Sandbox {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := agent.Sandbox{TaskID: b.record.Spec.ID, Address: b.record.Address, Address6: b.record.Address6, Resolver: b.record.Spec.Resolver != nil}
	for _, c := range b.record.Spec.Containers {
		v.Containers = append(v.Containers, b.status[c.Name])
	}
	return v
}

// reserve takes the addresses and host ports of a new task. Nothing stays taken after an error.
func (r *Runtime) reserve(spec agent.TaskSpec) (*sandbox, error) {
	network, err := r.networkOf(spec.VPC)
	if err != nil {
		return nil, err
	}
	v := &reservation{runtime: r, record: record{Spec: spec, Network: network}}
	if translate.NeedsPause(&spec) {
		v.record.Pause = &containerRecord{}
	}
	for range spec.Containers {
		v.record.Containers = append(v.record.Containers, &containerRecord{})
	}
	switch spec.NetworkMode {
	case agent.NetworkNone:
	case agent.NetworkAWSVPC:
		err = v.ownAddress()
	default:
		err = v.hostsAddress()
	}
	if err != nil {
		for _, l := range v.leases {
			l.Drop()
		}
		return nil, err
	}
	b := newSandbox(r.config.Dir, v.record)
	b.leases = v.leases
	return b, nil
}

// reservation is what a new task has got so far.
type reservation struct {
	runtime *Runtime
	record  record
	leases  []addrlease.Lease
}

// address gives a container an address on the task's network.
func (v *reservation) address(c *containerRecord) error {
	a, held, err := v.runtime.leases.Address(v.record.Network.Prefix)
	if err != nil {
		return err
	}
	v.leases = append(v.leases, held)
	c.Address, c.Address6 = a, v.record.Network.Address6(a)
	return nil
}

// ownAddress gives the task an address of its own: that of the pause container, or of the only one.
func (v *reservation) ownAddress() error {
	owner := v.record.Pause
	if owner == nil {
		owner = v.record.Containers[0]
	}
	if err := v.address(owner); err != nil {
		return err
	}
	v.record.Address, v.record.Address6 = owner.Address, owner.Address6
	for i, c := range v.record.Spec.Containers {
		for _, p := range c.Ports {
			v.record.Containers[i].Ports = append(v.record.Containers[i].Ports, agent.PortBinding{
				Container: p.Container, Host: p.Container, HostIP: owner.Address, Protocol: addrlease.ProtocolOf(p)})
		}
	}
	return nil
}

// hostsAddress gives the containers ports of the host, and in bridge mode an address each, behind them.
func (v *reservation) hostsAddress() error {
	spec := &v.record.Spec
	v.record.Address = v.runtime.config.HostAddress
	for i, c := range spec.Containers {
		bindings, held, err := v.runtime.leases.BindPorts(netip.IPv4Unspecified(), hostPorts(spec.NetworkMode, c.Ports), spec.Group)
		if err != nil {
			return err
		}
		v.leases = append(v.leases, held...)
		v.record.Containers[i].Ports = bindings
		if spec.NetworkMode == agent.NetworkHost || c.Options.DisableNetworking {
			continue
		}
		if err := v.address(v.record.Containers[i]); err != nil {
			return err
		}
	}
	return nil
}

// hostPorts are the host's ports that a container asks for: in host mode its own.
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

// put is where a container goes.
func (r *Runtime) put(b *sandbox, name string) translate.Placement {
	b.mu.Lock()
	defer b.mu.Unlock()
	rec, spec := b.find(name), &b.record.Spec
	at := translate.Placement{
		Name: translate.ContainerName(spec, name), Image: rec.Image,
		Labels:    r.labels(spec.ID, name, b.record.Network.VPC),
		Address:   rec.Address,
		Address6:  rec.Address6,
		Siblings:  map[string]string{},
		Addresses: map[string][]netip.Addr{},
		Volumes:   map[string]string{},
		Env:       runtimeEnv(&b.record, rec),
		CPUs:      r.cpus,
	}
	if b.record.Pause != nil {
		at.Pause = b.record.Pause.Engine
	}
	for i, c := range spec.Containers {
		at.Siblings[c.Name] = translate.ContainerName(spec, c.Name)
		for _, a := range []netip.Addr{b.record.Containers[i].Address, b.record.Containers[i].Address6} {
			if a.IsValid() {
				at.Addresses[c.Name] = append(at.Addresses[c.Name], a)
			}
		}
	}
	for _, v := range spec.Options.Volumes {
		at.Volumes[v.Name] = translate.VolumeSource(spec, &v)
	}
	switch spec.NetworkMode {
	case agent.NetworkHost, agent.NetworkNone:
		at.Network = spec.NetworkMode
	case agent.NetworkAWSVPC:
		if name != translate.PauseName && b.record.Pause != nil {
			at.Share = b.record.Pause.Engine
			break
		}
		at.Network = r.networkName(b.record.Network)
	default:
		if name == translate.PauseName { // it holds other namespaces than the network
			at.Network = agent.NetworkNone
			break
		}
		at.Network = r.networkName(b.record.Network)
		at.Ports = rec.Ports
	}
	if spec.Resolver != nil && spec.NetworkMode != agent.NetworkNone {
		at.ResolvConf = resolvConfFile(b.dir, spec.ID)
	}
	return at
}

// runtimeEnv is what a container finds in its environment of where it is.
func runtimeEnv(rec *record, c *containerRecord) map[string]string {
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
	for _, p := range c.Ports { // in every mode it listens on its own port: the host's is mapped to it
		env["ROLLCALL_PORT_"+strconv.Itoa(int(p.Container))] = strconv.Itoa(int(p.Container))
	}
	return env
}

// keep writes what a new task has on disk: its record last, which makes it a task.
func (b *sandbox) keep() error {
	spec := &b.record.Spec
	if err := os.MkdirAll(taskFolder(b.dir, spec.ID), 0o700); err != nil {
		return fmt.Errorf("make the folder of task %s: %w", spec.ID, err)
	}
	if spec.Resolver != nil {
		if err := os.WriteFile(resolvConfFile(b.dir, spec.ID), []byte(spec.Resolver.Conf()), 0o644); err != nil {
			return fmt.Errorf("write the resolver file of task %s: %w", spec.ID, err)
		}
	}
	if err := atomicfile.Write(recordFile(b.dir, spec.ID), b.record, true); err != nil {
		return fmt.Errorf("keep the record of task %s: %w", spec.ID, err)
	}
	return nil
}

// forget removes what keep wrote, first what makes it a task.
func (b *sandbox) forget() error {
	id := b.record.Spec.ID
	if err := os.Remove(recordFile(b.dir, id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forget task %s: %w", id, err)
	}
	if err := os.RemoveAll(taskFolder(b.dir, id)); err != nil {
		return fmt.Errorf("forget task %s: %w", id, err)
	}
	return nil
}

func resolvConfFile(dir, taskID string) string { return taskFolder(dir, taskID) + "/resolv.conf" }

// end decides that a container has ended, whatever the engine shows of it, and shall never run again.
func (b *sandbox) end(name, reason string) (changed bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.status[name]
	if s.Ended() {
		return false, nil
	}
	at := time.Now()
	b.find(name).End = &ending{at, reason}
	s.FinishedAt, s.Reason = at, reason
	b.status[name] = s
	return true, b.saveLocked()
}

// loadSandboxes finds the tasks that an earlier server left.
func (r *Runtime) loadSandboxes() error {
	entries, err := os.ReadDir(tasksFolder(r.config.Dir))
	if err != nil {
		return fmt.Errorf("look for earlier tasks: %w", err)
	}
	for _, entry := range entries {
		var rec record
		err := atomicfile.Read(recordFile(r.config.Dir, entry.Name()), &rec)
		if errors.Is(err, os.ErrNotExist) { // a crash amid Create or Remove; what the engine has of it is removed by the agent
			err = os.RemoveAll(taskFolder(r.config.Dir, entry.Name()))
			if err != nil {
				r.log.Error("the folder of a removed task cannot be removed", "task", entry.Name(), "err", err)
			}
			continue
		}
		if err != nil {
			r.log.Error("an earlier task cannot be read and is left alone", "task", entry.Name(), "err", err)
			continue
		}
		b := newSandbox(r.config.Dir, rec)
		for _, name := range rec.leaseNames() {
			held, err := addrlease.Take(name)
			if err != nil {
				r.log.Error("what a task uses was taken meanwhile; stop one of the two", "task", rec.Spec.ID, "err", err)
				continue
			}
			b.leases = append(b.leases, held)
		}
		r.tasks[rec.Spec.ID] = b
	}
	return nil
}

func (r *Runtime) networkOf(vpc string) (network.Network, error) {
	for _, n := range r.config.Networks {
		if n.VPC == vpc || vpc == "" {
			return n, nil
		}
	}
	return network.Network{}, fault.New(fault.Invalid, "vpc", "%s has no network on this node", vpc)
}
