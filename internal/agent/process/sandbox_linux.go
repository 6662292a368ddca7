package process

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/addrlease"
	"github.com/bakingclouds/rollcall/internal/atomicfile"
	"github.com/bakingclouds/rollcall/internal/containerlog"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// task is a created task in the supervisor.
type task struct {
	sandbox    sandbox
	folder     string
	logs       string // folder of the containers' logs
	leases     []addrlease.Lease
	containers []*container
}

// sandbox is a task's sandbox.json: what was decided when it was created. It is written once.
type sandbox struct {
	Spec     agent.TaskSpec
	Base     map[string]string // the environment that every container begins with
	Tag      string            // random, begins the tags of the containers
	Address  netip.Addr
	Resolver bool
	Hosts    bool                           // the containers have a hosts file of their own
	Ports    map[string][]agent.PortBinding // by container
}

// create reserves what a task needs, and writes it down.
func (s *supervisor) create(args createArgs) (agent.Sandbox, error) {
	if err := validate(args.Spec); err != nil {
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

func (s *supervisor) newTask(args createArgs) (t *task, err error) {
	spec := args.Spec
	t = &task{
		folder:  filepath.Join(tasksFolder(s.dir), spec.ID),
		logs:    filepath.Join(containerlog.Root(s.dir), spec.ID),
		sandbox: sandbox{Spec: spec, Base: args.Base, Tag: rand.Text(), Ports: map[string][]agent.PortBinding{}},
	}
	defer func() {
		if err != nil {
			for _, l := range t.leases {
				l.Drop()
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

// reserve takes the task's address and host ports.
func (s *supervisor) reserve(t *task, host netip.Addr) error {
	spec := t.sandbox.Spec
	switch spec.NetworkMode {
	case agent.NetworkNone:
		return nil
	case agent.NetworkAWSVPC:
		address, held, err := s.leases.Address(addressBlock)
		if err != nil {
			return err
		}
		t.sandbox.Address = address
		t.leases = append(t.leases, held)
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
			bindings, held, err := s.leases.BindPorts(host, c.Ports, spec.Group)
			if err != nil {
				return err
			}
			t.leases = append(t.leases, held...)
			t.sandbox.Ports[c.Name] = bindings
		}
		return nil
	}
}

func (t *task) sandboxFile() string { return filepath.Join(t.folder, "sandbox.json") }

// makeContainers gives every container its folder, and its record from there if an earlier supervisor left one.
func (t *task) makeContainers() error {
	for _, spec := range t.sandbox.Spec.Containers {
		c := &container{
			spec:      spec,
			folder:    filepath.Join(t.folder, spec.Name),
			logFolder: filepath.Join(t.logs, spec.Name),
			tag:       t.sandbox.Tag + "." + spec.Name,
			ended:     make(chan struct{}),
		}
		c.record.Status = agent.ContainerStatus{Name: spec.Name, Health: agent.HealthUnknown, Ports: t.sandbox.Ports[spec.Name]}
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

func (t *task) updateLocked(c *container) update {
	return update{Event: agent.Event{TaskID: t.sandbox.Spec.ID, Status: c.record.Status}, Check: c.spec.HealthCheck}
}

// nameserver is whom the containers' resolv.conf names; invalid when there is nobody to name.
func (t *task) nameserver() netip.Addr {
	if asked := t.sandbox.Spec.Resolver.Nameserver; asked.IsValid() {
		return asked
	}
	if t.sandbox.Spec.NetworkMode == agent.NetworkAWSVPC {
		return t.sandbox.Address
	}
	return netip.Addr{}
}

func (t *task) resolvConfFile() string { return filepath.Join(t.folder, "resolv.conf") }
func (t *task) nsswitchFile() string   { return filepath.Join(t.folder, "nsswitch.conf") }

// writeResolver writes what is mounted into the containers. Every user of them must be able to read it.
func (t *task) writeResolver() error {
	text := agent.Resolver{Nameserver: t.nameserver(), Search: t.sandbox.Spec.Resolver.Search}.Conf()
	if err := writePublic(t.resolvConfFile(), text); err != nil {
		return err
	}
	host, err := os.ReadFile(nsswitchConf)
	if err != nil {
		return nil // no such file (musl, scratch): nothing there to go round
	}
	if text, changed := nsswitchText(string(host)); changed {
		return writePublic(t.nsswitchFile(), text)
	}
	return nil
}

func (t *task) hostsFile() string { return filepath.Join(t.folder, "hosts") }

// writeHosts writes the machine's hosts file with the task's own names; false says that there is none to cover.
func (t *task) writeHosts() (bool, error) {
	host, err := os.ReadFile(hostsConf)
	if err != nil {
		return false, nil
	}
	return true, writePublic(t.hostsFile(), hostsText(string(host), t.sandbox.Spec.Hosts))
}

func writePublic(path, text string) error {
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Chmod(path, 0o644) // whatever the umask
}

// mounts are the private files of a container.
func (t *task) mounts() (all []bindMount) {
	if t.sandbox.Resolver {
		all = t.resolverMounts()
	}
	if t.sandbox.Hosts {
		all = append(all, bindMount{t.hostsFile(), hostsConf})
	}
	return all
}

// resolverMounts are those that decide how names are resolved. A name service cache would answer from the machine's view, so
// its socket is covered by something that cannot be connected to.
func (t *task) resolverMounts() []bindMount {
	mounts := []bindMount{{t.resolvConfFile(), resolvConf}}
	if _, err := os.Stat(t.nsswitchFile()); err == nil {
		mounts = append(mounts, bindMount{t.nsswitchFile(), nsswitchConf})
	}
	if _, err := os.Stat(nscdSocket); err == nil {
		mounts = append(mounts, bindMount{os.DevNull, nscdSocket})
	}
	return mounts
}

// remove ends what runs of a task, and gives back what it held.
func (s *supervisor) remove(t *task) error {
	for _, c := range t.containers {
		s.stop(t, c, 0)
	}
	s.createMu.Lock() // a second remove of the same task finds it gone
	defer s.createMu.Unlock()
	s.mu.Lock()
	present := s.tasks[t.sandbox.Spec.ID] == t
	s.mu.Unlock()
	if !present {
		return nil
	}
	// First the file that makes it a task: what a crash leaves after that is swept up at the next start.
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
	return s.leases.GiveBack(t.leases, t.sandbox.Spec.Group, t.sandbox.Spec.Rest)
}

// load finds the tasks that an earlier supervisor left, and adopts what runs of them.
func (s *supervisor) load() error {
	entries, err := os.ReadDir(tasksFolder(s.dir))
	if err != nil {
		return fmt.Errorf("look for earlier tasks: %w", err)
	}
	for _, entry := range entries {
		t := &task{folder: filepath.Join(tasksFolder(s.dir), entry.Name()), logs: filepath.Join(containerlog.Root(s.dir), entry.Name())}
		err := atomicfile.Read(t.sandboxFile(), &t.sandbox)
		if errors.Is(err, os.ErrNotExist) {
			if err := os.RemoveAll(t.folder); err != nil {
				s.log.Error("the folder of a removed task cannot be removed", "task", entry.Name(), "err", err)
			}
			continue
		}
		if err == nil {
			err = t.makeContainers()
		}
		if err != nil {
			s.log.Error("an earlier task cannot be read and is left alone", "task", entry.Name(), "err", err)
			continue
		}
		s.tasks[t.sandbox.Spec.ID] = t
	}
	s.killUnknown()
	for _, t := range s.tasks {
		s.retake(t)
		for _, c := range t.containers {
			switch {
			case c.record.Status.Ended():
				close(c.ended)
			case c.record.Process.PID != 0:
				s.adopt(t, c)
			}
		}
	}
	return nil
}

// killUnknown ends processes of containers that do not run by their records: the supervisor died while it started or
// ended them.
func (s *supervisor) killUnknown() {
	all, err := processes()
	if err != nil {
		s.log.Error("processes left by containers cannot be looked for", "err", err)
		return
	}
	for _, t := range s.tasks {
		for _, c := range t.containers {
			left := func(p proc) bool { return p.belongsTo(c.tag, 0) }
			if !c.record.Process.alive(s.bootID) && slices.ContainsFunc(all, left) {
				s.killAll(c.tag, identity{})
			}
		}
	}
}

// retake takes the leases of an earlier supervisor's task again. They were free for a moment, so that another Rollcall
// could in principle have taken one; the task cannot be moved, so it is only logged.
func (s *supervisor) retake(t *task) {
	var names []string
	if t.sandbox.Spec.NetworkMode == agent.NetworkAWSVPC {
		names = append(names, "address/"+t.sandbox.Address.String())
	} else {
		for _, bindings := range t.sandbox.Ports {
			for _, b := range bindings {
				names = append(names, fmt.Sprintf("port/%s/%d", b.Protocol, b.Host))
			}
		}
	}
	for _, name := range names {
		held, err := addrlease.Take(name)
		if err != nil {
			s.log.Error("what an adopted task uses was taken meanwhile; stop one of the two", "task", t.sandbox.Spec.ID, "err", err)
			continue
		}
		t.leases = append(t.leases, held)
	}
}

// find names a container of a task; fault.NotFound otherwise.
func (s *supervisor) find(taskID, name string) (*task, *container, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tasks[taskID]
	if t == nil {
		return nil, nil, fault.New(fault.NotFound, "task", "%s was not created here, or is removed", taskID)
	}
	for _, c := range t.containers {
		if c.spec.Name == name {
			return t, c, nil
		}
	}
	return nil, nil, fault.New(fault.NotFound, "container", "task %s has no container %q", taskID, name)
}
