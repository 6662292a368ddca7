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
	"time"

	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"
	"github.com/bakingclouds/rollcall/internal/agent/docker/image"
	"github.com/bakingclouds/rollcall/internal/agent/docker/logcopy"
	"github.com/bakingclouds/rollcall/internal/agent/docker/network"
	"github.com/bakingclouds/rollcall/internal/agent/docker/pidwatch"
	"github.com/bakingclouds/rollcall/internal/agent/docker/translate"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/addrlease"
	"github.com/bakingclouds/rollcall/internal/agent/mailbox"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// Runtime runs tasks as containers of an engine. It is an [agent.Runtime].
type Runtime struct {
	config    Config
	log       *slog.Logger
	engine    *client.Client
	owner     string // the data folder's id
	cpus      int    // of the engine's machine
	version   string // of the engine, when it was first asked
	leases    *addrlease.Pool
	gateways  []addrlease.Lease
	images    *image.Store
	followers *logcopy.Copiers
	pids      *pidwatch.Watcher
	events    chan agent.Event
	inbox     *mailbox.Mailbox[containerKey, agent.Event] // so that a slow consumer delays nothing

	ctx     context.Context // ends at Close
	close   context.CancelFunc
	running sync.WaitGroup

	making sync.Mutex // of networks

	mu        sync.Mutex
	tasks     map[string]*sandbox
	byEngine  map[string]containerKey // by the engine's id
	strangers map[string]bool         // tasks of ours in the engine that have no record
	trouble   error                   // why the engine does not answer; nil while it does
	links     []*network.MetadataLink
	notes     []string // what does not work until this server starts again
}

var _ agent.Runtime = (*Runtime)(nil)

// containerKey names a container of a data folder.
type containerKey struct{ taskID, container string }

// New takes over the tasks of the data folder, and follows the engine. It fails when no engine answers, or a VPC's network
// cannot be made; the error says what to do.
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
		return nil, errors.New("docker runtime: there is no network for tasks")
	}
	if config.Binary == "" {
		if config.Binary, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("docker runtime: find this binary: %w", err)
		}
	}
	if err := os.MkdirAll(tasksFolder(dir), 0o700); err != nil {
		return nil, fmt.Errorf("docker runtime: %w", err)
	}
	r := &Runtime{
		config: config, log: config.Logger, events: make(chan agent.Event), inbox: mailbox.New[containerKey, agent.Event](),
		tasks: map[string]*sandbox{}, byEngine: map[string]containerKey{}, strangers: map[string]bool{},
	}
	if r.owner, err = engineapi.Owner(dir); err != nil {
		return nil, fmt.Errorf("docker runtime: %w", err)
	}
	if r.leases, err = addrlease.Open(quarantine, restFile(dir)); err != nil {
		return nil, fmt.Errorf("docker runtime: %w", err)
	}
	if r.engine, err = engineapi.Dial(ctx, config.Host); err != nil {
		return nil, err
	}
	r.ctx, r.close = context.WithCancel(context.Background())
	if err := r.open(ctx); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// open brings the networks and what is known of the containers up to date, and follows from there.
func (r *Runtime) open(ctx context.Context) error {
	info, err := r.engine.Info(ctx, client.InfoOptions{})
	if err != nil {
		return fmt.Errorf("docker: ask the engine about itself: %w", err)
	}
	r.cpus, r.version = info.Info.NCPU, info.Info.ServerVersion
	for _, n := range r.config.Networks {
		if err := r.ensureNetwork(ctx, n); err != nil {
			return err
		}
		// The gateway is the machine's; a task must not be given it.
		held, err := addrlease.Take("address/" + n.Gateway().String())
		if err != nil {
			return fmt.Errorf("docker: the address %v of network %s: %w", n.Gateway(), r.networkName(n), err)
		}
		r.gateways = append(r.gateways, held)
	}
	if r.pids, err = pidwatch.New(); err != nil {
		return fmt.Errorf("docker runtime: %w", err)
	}
	r.images = image.NewStore(r.engine, r.config.Binary, r.log)
	r.followers = logcopy.New(r.engine, r.log)
	if err := r.loadSandboxes(); err != nil {
		return err
	}
	r.running.Go(r.deliver)
	r.running.Go(func() { r.pids.Run(r.ctx) })
	listed := make(chan error, 1)
	r.running.Go(func() { r.follow(listed) })
	select {
	case err := <-listed:
		return err
	case <-ctx.Done():
		return fmt.Errorf("docker: list the containers: %w", ctx.Err())
	}
}

// Name is "docker".
func (r *Runtime) Name() string { return "docker" }

// Events delivers what happens to containers; see [agent.Runtime].
func (r *Runtime) Events() <-chan agent.Event { return r.events }

// Notes says what does not work now, and which images are being pulled.
func (r *Runtime) Notes() []string {
	progress := r.images.Progress()
	r.mu.Lock()
	defer r.mu.Unlock()
	notes := slices.Concat(r.notes, progress)
	if r.trouble != nil {
		notes = append(notes, "the Docker Engine does not answer, so that no task starts or stops: "+r.trouble.Error())
	}
	return notes
}

// Close lets go of the containers and leaves them running.
func (r *Runtime) Close() error {
	r.close()
	r.running.Wait()
	if r.followers != nil {
		r.followers.Close()
	}
	if r.pids != nil {
		r.pids.Close()
	}
	for _, b := range r.tasks {
		r.gateways = append(r.gateways, b.leases...)
	}
	for _, l := range r.gateways {
		l.Drop() // what runs is held by the engine now, and by the next runtime
	}
	r.leases.Close()
	return r.engine.Close()
}

// deliver passes events to whoever reads Events.
func (r *Runtime) deliver() {
	defer close(r.events)
	for {
		e, ok := r.inbox.Take(r.ctx)
		if !ok {
			return
		}
		select {
		case r.events <- e:
		case <-r.ctx.Done():
			return
		}
	}
}

// labels are those of what belongs to a task; an empty id is what belongs to all.
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

func (r *Runtime) networkName(n network.Network) string { return network.Name(r.owner, n) }

func (r *Runtime) find(taskID string) *sandbox {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tasks[taskID]
}

// findContainer names a container of a task; fault.NotFound otherwise.
func (r *Runtime) findContainer(taskID, name string) (*sandbox, error) {
	b := r.find(taskID)
	if b == nil {
		return nil, fault.New(fault.NotFound, "task", "%s was not created here, or is removed", taskID)
	}
	if b.work[name] == nil || name == translate.PauseName {
		return nil, fault.New(fault.NotFound, "container", "task %s has no container %q", taskID, name)
	}
	return b, nil
}

// Prepare pulls the images that are to be pulled; see [agent.Runtime].
func (r *Runtime) Prepare(ctx context.Context, spec agent.TaskSpec, fetching func()) error {
	var all errgroup.Group
	once := sync.OnceFunc(fetching)
	for _, c := range spec.Containers {
		all.Go(func() error { return r.images.Prepare(ctx, c.Image, c.Login, once) })
	}
	return all.Wait()
}

// Create reserves a task's addresses and ports, and makes its volumes and its pause container; see [agent.Runtime].
func (r *Runtime) Create(ctx context.Context, spec agent.TaskSpec) (agent.Sandbox, error) {
	if err := translate.Validate(&spec); err != nil {
		return agent.Sandbox{}, err
	}
	b := r.find(spec.ID)
	if b == nil {
		var err error
		if b, err = r.newTask(spec); err != nil {
			return agent.Sandbox{}, err
		}
	}
	if err := r.complete(ctx, b); err != nil {
		if !fault.Is(err, fault.Unavailable) { // else it is tried again, with what is reserved
			err = errors.Join(err, r.Remove(context.WithoutCancel(ctx), spec.ID))
		}
		return agent.Sandbox{}, err
	}
	return b.view(), nil
}

// newTask reserves what a task needs and keeps its record.
func (r *Runtime) newTask(spec agent.TaskSpec) (*sandbox, error) {
	b, err := r.reserve(spec)
	if err != nil {
		return nil, err
	}
	if err := b.keep(); err != nil {
		for _, l := range b.leases {
			l.Drop()
		}
		return nil, errors.Join(err, b.forget())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tasks[spec.ID] = b
	return b, nil
}

// complete makes what a task has beside its containers, once. Some of it may have been made before a crash.
func (r *Runtime) complete(ctx context.Context, b *sandbox) (err error) {
	work := b.work[translate.PauseName]
	work.Lock()
	defer work.Unlock()
	if b.complete {
		return nil
	}
	defer func() { b.complete = err == nil }()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), engineapi.CallTimeout) // as in StartContainer
	defer cancel()
	if err := r.makeVolumes(ctx, &b.record.Spec); err != nil {
		return err
	}
	if b.record.Pause == nil || b.statusOf(translate.PauseName).Running() {
		return nil
	}
	image, err := r.images.Program(ctx)
	if err != nil {
		return err
	}
	if err := b.note(translate.PauseName, func(c *containerRecord) { c.Image = image }); err != nil {
		return err
	}
	return r.run(ctx, b, translate.PauseName, translate.PauseOptions(&b.record.Spec, r.put(b, translate.PauseName)))
}

// StartContainer makes and starts a container, once; see [agent.Runtime].
func (r *Runtime) StartContainer(ctx context.Context, taskID, name string) error {
	b, err := r.findContainer(taskID, name)
	if err != nil {
		return err
	}
	work := b.work[name]
	work.Lock()
	defer work.Unlock()
	switch s := b.statusOf(name); {
	case s.Running():
		return nil
	case s.Ended() && s.StartedAt.IsZero() && s.Reason != "":
		return fault.New(fault.Invalid, "container", "%s", s.Reason)
	case s.Ended():
		return nil
	}
	// The engine is not interrupted: what it was making when it is, it may leave behind.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
	defer cancel()
	if err = r.complete(ctx, b); err == nil { // Create may have been interrupted
		err = r.startContainer(ctx, b, name)
	}
	var told *fault.Error
	if err == nil || fault.Is(err, fault.Unavailable) || !errors.As(err, &told) {
		return err
	}
	if changed, keepErr := b.end(name, told.Msg); changed {
		r.tell(b, name)
		err = errors.Join(err, keepErr)
	}
	return err
}

func (r *Runtime) startContainer(ctx context.Context, b *sandbox, name string) error {
	b.mu.Lock()
	spec := &b.record.Spec
	i := slices.IndexFunc(spec.Containers, func(c agent.ContainerSpec) bool { return c.Name == name })
	have := b.record.Containers[i].Image
	b.mu.Unlock()
	c := &spec.Containers[i]
	if have == "" {
		image, digest, err := r.images.Local(ctx, c.Image)
		if err != nil {
			return err
		}
		if err := b.note(name, func(rec *containerRecord) { rec.Image, rec.Digest = image, digest }); err != nil {
			return err
		}
	}
	if err := r.run(ctx, b, name, translate.ContainerOptions(spec, c, r.put(b, name))); err != nil {
		return err
	}
	r.followLog(b, name)
	return nil
}

// run makes a container, unless it is made, and starts it.
func (r *Runtime) run(ctx context.Context, b *sandbox, name string, options client.ContainerCreateOptions) error {
	id := b.engineID(name)
	if id == "" {
		var err error
		if id, err = r.make(ctx, b, name, options); err != nil {
			return err
		}
	}
	_, err := r.engine.ContainerStart(ctx, id, client.ContainerStartOptions{})
	if errdefs.IsNotFound(err) { // its network, perhaps, which somebody else has removed
		if err = r.ensureNetwork(ctx, b.record.Network); err == nil {
			_, err = r.engine.ContainerStart(ctx, id, client.ContainerStartOptions{})
		}
	}
	if err != nil {
		return engineapi.StartError("CannotStartContainerError", err)
	}
	return r.refresh(ctx, b, name)
}

// ensureNetwork makes a VPC's network where it is not there.
// startTimeout limits the start of a container, as ECS's agent does (ECS_CONTAINER_START_TIMEOUT).
const startTimeout = 3 * time.Minute

func (r *Runtime) ensureNetwork(ctx context.Context, n network.Network) error {
	r.making.Lock() // or the second of two finds its addresses taken
	defer r.making.Unlock()
	if err := network.Ensure(ctx, r.engine, r.owner, n, r.labels("", "", n.VPC)); err != nil {
		return err
	}
	r.renewLinks()
	return nil
}

// make makes a container, or finds the one that was made before a crash.
func (r *Runtime) make(ctx context.Context, b *sandbox, name string, options client.ContainerCreateOptions) (string, error) {
	made, err := r.engine.ContainerCreate(ctx, options)
	id := made.ID
	if errdefs.IsConflict(err) {
		have, lookErr := r.engine.ContainerInspect(ctx, options.Name, client.ContainerInspectOptions{})
		if lookErr != nil {
			return "", engineapi.StartError("CannotCreateContainerError", errors.Join(err, lookErr))
		}
		if l := have.Container.Config.Labels; l[engineapi.LabelOwner] != r.owner || l[engineapi.LabelTask] != b.record.Spec.ID || l[engineapi.LabelContainer] != name {
			return "", fault.New(fault.Invalid, "container", "CannotCreateContainerError: the name %s is taken by a container that is not Rollcall's; "+
				"remove or rename it (docker rename %s OTHER)", options.Name, options.Name)
		}
		id, err = have.Container.ID, nil
	}
	if err != nil {
		return "", engineapi.StartError("CannotCreateContainerError", err)
	}
	r.mu.Lock()
	r.byEngine[id] = containerKey{b.record.Spec.ID, name}
	r.mu.Unlock()
	return id, b.note(name, func(c *containerRecord) { c.Engine = id })
}

// engineID is the engine's id of a container; empty while it is not made.
func (b *sandbox) engineID(name string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.find(name).Engine
}

// Shutdown removes the networks, when the last task is gone, and closes the runtime.
func (r *Runtime) Shutdown(ctx context.Context) error {
	var problems []error
	for _, n := range r.config.Networks {
		if _, err := r.engine.NetworkRemove(ctx, r.networkName(n), client.NetworkRemoveOptions{}); err != nil && !errdefs.IsNotFound(err) {
			problems = append(problems, engineapi.Error(err))
		}
	}
	return errors.Join(append(problems, r.Close())...)
}

// Sandboxes lists the tasks of this data folder; see [agent.Runtime]. What is known of them is kept up to date by the
// engine's events, so the engine need not answer.
func (r *Runtime) Sandboxes(context.Context) ([]agent.Sandbox, error) {
	r.mu.Lock()
	tasks := maps.Clone(r.tasks)
	strangers := maps.Clone(r.strangers)
	r.mu.Unlock()
	var all []agent.Sandbox
	for _, id := range slices.Sorted(maps.Keys(tasks)) {
		all = append(all, tasks[id].view())
	}
	for id := range strangers {
		if tasks[id] == nil {
			all = append(all, agent.Sandbox{TaskID: id})
		}
	}
	return all, nil
}
