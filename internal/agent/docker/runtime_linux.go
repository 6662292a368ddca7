package docker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/addrlease"
	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"
	"github.com/bakingclouds/rollcall/internal/agent/docker/image"
	"github.com/bakingclouds/rollcall/internal/agent/docker/logcopy"
	"github.com/bakingclouds/rollcall/internal/agent/docker/network"
	"github.com/bakingclouds/rollcall/internal/agent/docker/pidwatch"
	"github.com/bakingclouds/rollcall/internal/agent/docker/translate"
	"github.com/bakingclouds/rollcall/internal/agent/mailbox"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// Runtime runs tasks as containers of a Docker Engine. It implements [agent.Runtime]. Create it with [New].
type Runtime struct {
	config   Config
	log      *slog.Logger
	engine   *client.Client
	owner    string // owner id of the data folder
	cpus     int    // of the engine's machine
	version  string // of the engine, when the runtime was created
	leases   *addrlease.Pool
	gateways []addrlease.Lease
	images   *image.Store
	logs     *logcopy.Copiers
	pids     *pidwatch.Watcher
	events   chan agent.Event
	outbox   *mailbox.Mailbox[containerKey, agent.Event] // a slow reader of events delays nothing

	ctx     context.Context // ends at Close
	close   context.CancelFunc
	running sync.WaitGroup

	networkMu sync.Mutex // held while a network is created

	mu         sync.Mutex
	tasks      map[string]*sandbox
	byEngineID map[string]containerKey
	orphans    map[string]bool // ids of tasks that have containers but no task file
	engineErr  error           // why the engine does not answer; nil while it does
	links      []*network.MetadataLink
	notes      []string // problems that remain until this server starts again
}

var _ agent.Runtime = (*Runtime)(nil)

// containerKey identifies a container of the data folder.
type containerKey struct{ taskID, container string }

// New returns a Runtime that manages the tasks of a data folder, with those that an earlier server has left. It fails
// if no engine answers or if the network of a VPC cannot be created.
func New(ctx context.Context, config Config) (*Runtime, error) {
	dir, err := filepath.Abs(config.Dir)
	if err != nil {
		return nil, fmt.Errorf("docker runtime: %w", err)
	}
	config.Dir = dir
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	if len(config.Networks) == 0 {
		return nil, errors.New("docker runtime: no network for tasks is configured")
	}
	if config.Binary == "" {
		if config.Binary, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("docker runtime: find this program: %w", err)
		}
	}
	if err := os.MkdirAll(tasksFolder(dir), 0o700); err != nil {
		return nil, fmt.Errorf("docker runtime: %w", err)
	}
	r := &Runtime{
		config: config, log: config.Logger,
		events: make(chan agent.Event), outbox: mailbox.New[containerKey, agent.Event](),
		tasks: map[string]*sandbox{}, byEngineID: map[string]containerKey{}, orphans: map[string]bool{},
	}
	if r.owner, err = engineapi.Owner(dir); err != nil {
		return nil, fmt.Errorf("docker runtime: %w", err)
	}
	if r.leases, err = addrlease.Open(quarantine, quarantineFile(dir)); err != nil {
		return nil, fmt.Errorf("docker runtime: %w", err)
	}
	if r.engine, err = engineapi.Dial(ctx, config.Host); err != nil {
		return nil, err
	}
	r.ctx, r.close = context.WithCancel(context.Background())
	if err := r.start(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// start creates the networks, loads the tasks, and begins to follow the engine.
func (r *Runtime) start(ctx context.Context) error {
	info, err := r.engine.Info(ctx, client.InfoOptions{})
	if err != nil {
		return fmt.Errorf("docker: get the engine's system information: %w", err)
	}
	r.cpus, r.version = info.Info.NCPU, info.Info.ServerVersion
	for _, n := range r.config.Networks {
		if err := r.ensureNetwork(ctx, n); err != nil {
			return err
		}
		// The gateway is the machine's address: no task may get it.
		lease, err := addrlease.Acquire("address/" + n.Gateway().String())
		if err != nil {
			return fmt.Errorf("docker: reserve the address %v of network %s: %w", n.Gateway(), r.networkName(n), err)
		}
		r.gateways = append(r.gateways, lease)
	}
	if r.pids, err = pidwatch.New(); err != nil {
		return fmt.Errorf("docker runtime: %w", err)
	}
	r.images = image.NewStore(r.engine, r.config.Binary, r.log)
	r.logs = logcopy.New(r.engine, r.log)
	if err := r.loadSandboxes(); err != nil {
		return err
	}
	r.running.Go(func() { r.outbox.Deliver(r.ctx, r.events) })
	r.running.Go(func() { r.pids.Run(r.ctx) })
	listed := make(chan error, 1)
	r.running.Go(func() { r.followEngine(listed) })
	select {
	case err := <-listed:
		return err
	case <-ctx.Done():
		return fmt.Errorf("docker: list containers: %w", ctx.Err())
	}
}

// Name returns "docker".
func (r *Runtime) Name() string { return "docker" }

// Events delivers what happens to containers; see [agent.Runtime].
func (r *Runtime) Events() <-chan agent.Event { return r.events }

// Notes returns descriptions of the present problems and of the pulls that are running.
func (r *Runtime) Notes() []string {
	pulls := r.images.Progress()
	r.mu.Lock()
	defer r.mu.Unlock()
	notes := slices.Concat(r.notes, pulls)
	if r.engineErr != nil {
		notes = append(notes,
			"the Docker Engine does not answer, so tasks neither start nor stop: "+r.engineErr.Error())
	}
	return notes
}

// Sandboxes lists the tasks of this data folder; see [agent.Runtime]. Events keep their state current, so Sandboxes
// does not ask the engine.
func (r *Runtime) Sandboxes(context.Context) ([]agent.Sandbox, error) {
	r.mu.Lock()
	tasks := maps.Clone(r.tasks)
	orphans := maps.Clone(r.orphans)
	r.mu.Unlock()
	var all []agent.Sandbox
	for _, id := range slices.Sorted(maps.Keys(tasks)) {
		all = append(all, tasks[id].view())
	}
	for id := range orphans {
		if tasks[id] == nil {
			all = append(all, agent.Sandbox{TaskID: id})
		}
	}
	return all, nil
}

// Close closes the runtime and leaves the containers running.
func (r *Runtime) Close() error {
	r.close()
	r.running.Wait()
	if r.logs != nil {
		r.logs.Close()
	}
	if r.pids != nil {
		r.pids.Close()
	}
	// The next runtime reads the leases of the tasks from their files, and acquires them again.
	for _, sb := range r.tasks {
		releaseAll(sb.leases)
	}
	releaseAll(r.gateways)
	r.leases.Close()
	return r.engine.Close()
}

// Shutdown removes the networks and closes the runtime. No task may be left.
func (r *Runtime) Shutdown(ctx context.Context) error {
	r.close() // ends the self-test, whose container is connected to a network
	r.running.Wait()
	var problems []error
	for _, n := range r.config.Networks {
		_, err := r.engine.NetworkRemove(ctx, r.networkName(n), client.NetworkRemoveOptions{})
		if err != nil && !errdefs.IsNotFound(err) {
			problems = append(problems, engineapi.Error(err))
		}
	}
	return errors.Join(append(problems, r.Close())...)
}

// ensureNetwork creates a VPC's network if it is missing.
func (r *Runtime) ensureNetwork(ctx context.Context, n network.Network) error {
	r.networkMu.Lock() // the engine would refuse the second of two networks with the same addresses
	defer r.networkMu.Unlock()
	if err := network.Ensure(ctx, r.engine, r.owner, n, r.labels("", "", n.VPC)); err != nil {
		return err
	}
	r.renewLinks()
	return nil
}

func (r *Runtime) networkName(n network.Network) string { return network.Name(r.owner, n) }

// labels returns the labels of an object in the engine. taskID is empty if the object belongs to no task.
func (r *Runtime) labels(taskID, container, vpc string) map[string]string {
	labels := map[string]string{engineapi.LabelOwner: r.owner, engineapi.LabelData: r.config.Dir}
	if taskID != "" {
		labels[engineapi.LabelTask], labels[engineapi.LabelContainer] = taskID, container
	}
	if vpc != "" {
		labels[engineapi.LabelVPC] = vpc
	}
	return labels
}

// find returns a task, or nil.
func (r *Runtime) find(taskID string) *sandbox {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tasks[taskID]
}

// findContainer returns the task of a container, or a fault.NotFound error. It does not find pause containers.
func (r *Runtime) findContainer(taskID, name string) (*sandbox, error) {
	sb := r.find(taskID)
	if sb == nil {
		return nil, fault.New(fault.NotFound, "task", "task %s does not exist on this node", taskID)
	}
	if sb.locks[name] == nil || name == translate.PauseName {
		return nil, fault.New(fault.NotFound, "container", "task %s has no container %q", taskID, name)
	}
	return sb, nil
}

// setEngineID remembers which container has an engine id.
func (r *Runtime) setEngineID(id string, key containerKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byEngineID[id] = key
}
