package supervisor

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/addrlease"
	"github.com/bakingclouds/rollcall/internal/agent/process/launch"
	"github.com/bakingclouds/rollcall/internal/agent/process/protocol"
	"github.com/bakingclouds/rollcall/internal/atomicfile"
	"github.com/bakingclouds/rollcall/internal/containerlog"
)

// task is a task that the supervisor has created or adopted.
type task struct {
	sandbox    sandbox
	folder     string
	logs       string // the folder of the containers' logs
	leases     []addrlease.Lease
	containers []*container
}

// sandbox is a task's sandbox.json: what was decided when the task was created. It is written once.
type sandbox struct {
	Spec     agent.TaskSpec
	Base     map[string]string // the environment that every container starts from
	Tag      string            // random; the tags of the containers begin with it
	Address  netip.Addr
	Resolver bool
	Hosts    bool                           // the containers have a private hosts file
	Ports    map[string][]agent.PortBinding // by container
}

// create reserves what a task needs, and records it. A task that exists keeps what it has.
func (s *supervisor) create(args protocol.CreateArgs) (agent.Sandbox, error) {
	if err := validate(&args.Spec); err != nil {
		return agent.Sandbox{}, err
	}
	s.createMu.Lock()
	defer s.createMu.Unlock()
	s.mu.Lock()
	t := s.tasks[args.Spec.ID]
	s.mu.Unlock()
	if t == nil {
		var err error
		if t, err = s.newTask(args); err != nil {
			return agent.Sandbox{}, err
		}
		s.mu.Lock()
		s.tasks[args.Spec.ID] = t
		s.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return t.viewLocked(), nil
}

func (s *supervisor) newTask(args protocol.CreateArgs) (t *task, err error) {
	spec := args.Spec
	t = &task{
		folder:  filepath.Join(protocol.TasksFolder(s.dir), spec.ID),
		logs:    filepath.Join(containerlog.Root(s.dir), spec.ID),
		sandbox: sandbox{Spec: spec, Base: args.Base, Tag: rand.Text(), Ports: map[string][]agent.PortBinding{}},
	}
	defer func() {
		if err != nil {
			for _, l := range t.leases {
				l.Release()
			}
			err = errors.Join(err, os.RemoveAll(t.folder))
		}
	}()
	if err := s.reserve(t, args.HostAddress); err != nil {
		return t, err
	}
	if err := os.MkdirAll(t.folder, 0o700); err != nil {
		return t, fmt.Errorf("make the folder of task %s: %w", spec.ID, err)
	}
	if spec.Resolver != nil && t.nameserver().IsValid() && s.mountFailure() == nil {
		t.sandbox.Resolver = true
		if err := t.writeResolver(); err != nil {
			return t, fmt.Errorf("write the resolver files of task %s: %w", spec.ID, err)
		}
	}
	if len(spec.Hosts) > 0 && s.mountFailure() == nil {
		if t.sandbox.Hosts, err = t.writeHosts(); err != nil {
			return t, fmt.Errorf("write the hosts file of task %s: %w", spec.ID, err)
		}
	}
	if err := t.makeContainers(); err != nil {
		return t, err
	}
	return t, atomicfile.Write(t.sandboxFile(), t.sandbox, true)
}

// reserve leases the task's address and host ports.
func (s *supervisor) reserve(t *task, host netip.Addr) error {
	spec := t.sandbox.Spec
	switch spec.NetworkMode {
	case agent.NetworkNone:
		return nil
	case agent.NetworkAWSVPC:
		address, lease, err := s.leases.Address(addressBlock)
		if err != nil {
			return err
		}
		t.sandbox.Address = address
		t.leases = append(t.leases, lease)
		for _, c := range spec.Containers {
			for _, p := range c.Ports {
				t.sandbox.Ports[c.Name] = append(t.sandbox.Ports[c.Name], agent.PortBinding{
					Container: p.Container, Host: p.Container, HostIP: address, Protocol: addrlease.ProtocolOf(p)})
			}
		}
		return nil
	default:
		t.sandbox.Address = host
		for _, c := range spec.Containers {
			bindings, leases, err := s.leases.BindPorts(host, c.Ports, spec.Group)
			if err != nil {
				return err
			}
			t.leases = append(t.leases, leases...)
			t.sandbox.Ports[c.Name] = bindings
		}
		return nil
	}
}

func (t *task) sandboxFile() string { return filepath.Join(t.folder, "sandbox.json") }

// makeContainers makes the folder of each container, and reads its record if an earlier supervisor left one.
func (t *task) makeContainers() error {
	for _, spec := range t.sandbox.Spec.Containers {
		c := &container{
			spec:      spec,
			folder:    filepath.Join(t.folder, spec.Name),
			logFolder: filepath.Join(t.logs, spec.Name),
			tag:       t.sandbox.Tag + "." + spec.Name,
			ended:     make(chan struct{}),
		}
		c.record.Status = agent.ContainerStatus{
			Name: spec.Name, Health: agent.HealthUnknown, Ports: t.sandbox.Ports[spec.Name],
		}
		if err := os.MkdirAll(c.folder, 0o700); err != nil {
			return fmt.Errorf("make the folder of container %s: %w", spec.Name, err)
		}
		if err := atomicfile.Read(c.recordFile(), &c.record); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		t.containers = append(t.containers, c)
	}
	return nil
}

func (t *task) viewLocked() agent.Sandbox {
	view := agent.Sandbox{TaskID: t.sandbox.Spec.ID, Address: t.sandbox.Address, Resolver: t.sandbox.Resolver}
	for _, c := range t.containers {
		view.Containers = append(view.Containers, c.record.Status)
	}
	return view
}

func (t *task) updateLocked(c *container) protocol.Update {
	return protocol.Update{Event: agent.Event{TaskID: t.sandbox.Spec.ID, Status: c.record.Status},
		Check: c.spec.HealthCheck}
}

// nameserver returns the address in the containers' resolv.conf; invalid if the task has none.
func (t *task) nameserver() netip.Addr {
	if addr := t.sandbox.Spec.Resolver.Nameserver; addr.IsValid() {
		return addr
	}
	if t.sandbox.Spec.NetworkMode == agent.NetworkAWSVPC {
		return t.sandbox.Address
	}
	return netip.Addr{}
}

func (t *task) resolvConfFile() string { return filepath.Join(t.folder, "resolv.conf") }
func (t *task) nsswitchFile() string   { return filepath.Join(t.folder, "nsswitch.conf") }
func (t *task) hostsFile() string      { return filepath.Join(t.folder, "hosts") }

// writeResolver writes the files that decide how the containers resolve names.
func (t *task) writeResolver() error {
	text := agent.Resolver{Nameserver: t.nameserver(), Search: t.sandbox.Spec.Resolver.Search}.Conf()
	if err := writePublic(t.resolvConfFile(), text); err != nil {
		return err
	}
	host, err := os.ReadFile(nsswitchConf)
	if err != nil {
		return nil // a machine without the file (musl) resolves through resolv.conf alone
	}
	if text, changed := nsswitchText(string(host)); changed {
		return writePublic(t.nsswitchFile(), text)
	}
	return nil
}

// writeHosts writes the machine's hosts file with the task's names; it returns false if the machine has none to cover.
func (t *task) writeHosts() (bool, error) {
	host, err := os.ReadFile(hostsConf)
	if err != nil {
		return false, nil
	}
	return true, writePublic(t.hostsFile(), hostsText(string(host), t.sandbox.Spec.Hosts))
}

// writePublic writes a file that every user of the container can read, whatever the umask.
func writePublic(path, text string) error {
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Chmod(path, 0o644)
}

// mounts returns the private files of a container.
func (t *task) mounts() (all []launch.Mount) {
	if t.sandbox.Resolver {
		all = t.resolverMounts()
	}
	if t.sandbox.Hosts {
		all = append(all, launch.Mount{Source: t.hostsFile(), Target: hostsConf})
	}
	return all
}

// resolverMounts returns the files that decide how names are resolved. A name service cache would answer from the
// machine's view, so a file that cannot be connected to covers its socket.
func (t *task) resolverMounts() []launch.Mount {
	mounts := []launch.Mount{{Source: t.resolvConfFile(), Target: resolvConf}}
	if _, err := os.Stat(t.nsswitchFile()); err == nil {
		mounts = append(mounts, launch.Mount{Source: t.nsswitchFile(), Target: nsswitchConf})
	}
	if _, err := os.Stat(nscdSocket); err == nil {
		mounts = append(mounts, launch.Mount{Source: os.DevNull, Target: nscdSocket})
	}
	return mounts
}

// remove ends the containers of a task, and releases what it holds.
func (s *supervisor) remove(t *task) error {
	for _, c := range t.containers {
		s.stop(t, c, 0)
	}
	s.createMu.Lock() // a second remove of the same task finds that it is not present
	defer s.createMu.Unlock()
	s.mu.Lock()
	present := s.tasks[t.sandbox.Spec.ID] == t
	s.mu.Unlock()
	if !present {
		return nil
	}
	// A folder without sandbox.json is not a task: if the supervisor dies after this, its successor removes the folder.
	if err := os.Remove(t.sandboxFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove task %s: %w", t.sandbox.Spec.ID, err)
	}
	if err := os.RemoveAll(t.folder); err != nil {
		return fmt.Errorf("remove task %s: %w", t.sandbox.Spec.ID, err)
	}
	s.mu.Lock()
	delete(s.tasks, t.sandbox.Spec.ID)
	s.idleSince = time.Now()
	s.mu.Unlock()
	return s.leases.Return(t.leases, t.sandbox.Spec.Group, t.sandbox.Spec.Rest)
}
