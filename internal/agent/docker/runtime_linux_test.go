package docker

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/docker/dockertest"
	"github.com/bakingclouds/rollcall/internal/agent/docker/network"
	"github.com/bakingclouds/rollcall/internal/agent/docker/translate"
	"github.com/bakingclouds/rollcall/internal/engineopts"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// TestTaskLifecycle takes one task in mode awsvpc through all calls of a runtime, and repeats each call.
func TestTaskLifecycle(t *testing.T) {
	t.Parallel()
	r, dir, networks := newRuntime(t)
	spec := newTask(agent.NetworkAWSVPC, containerSpec("web", "serve", ":8080"))
	spec.Containers[0].Ports = []agent.Port{{Container: 8080}}
	spec.Resolver = &agent.Resolver{Nameserver: networks[0].Gateway(), Search: []string{"corp"}}
	spec.DNS = "192.0.2.7:53"
	sb := run(t, r, spec)
	if !networks[0].Prefix.Contains(sb.Address) || !networks[0].Prefix6.Contains(sb.Address6) ||
		sb.Address == networks[0].Gateway() {
		t.Errorf("the task's addresses %v and %v are not on its network %v", sb.Address, sb.Address6, networks[0])
	}
	s := awaitRunning(t, r, spec.ID, "web")
	if s.RuntimeID == "" || s.Image == "" || len(s.Ports) != 1 || s.Ports[0].Host != 8080 ||
		s.Ports[0].HostIP != sb.Address {
		t.Errorf("running container is %+v, want ids and port 8080 of %v", s, sb.Address)
	}
	env := get(t, fmt.Sprintf("http://%v/", netip.AddrPortFrom(sb.Address, 8080)))
	for _, want := range []string{"ROLLCALL_ADDRESS=" + sb.Address.String(), "ROLLCALL_DNS=192.0.2.7:53",
		"ROLLCALL_PORT_8080=8080"} {
		if !strings.Contains(env, want+"\n") {
			t.Errorf("the environment lacks %s:\n%s", want, env)
		}
	}
	if got := get(t, fmt.Sprintf("http://%v/", netip.AddrPortFrom(sb.Address6, 8080))); got == "" {
		t.Error("the server at the IPv6 address returned nothing")
	}
	if again, err := r.Create(t.Context(), spec); err != nil || again.Address != sb.Address {
		t.Errorf("second Create: %+v, %v", again, err)
	}
	if err := r.StartContainer(t.Context(), spec.ID, "web"); err != nil {
		t.Errorf("second StartContainer: %v", err)
	}
	if err := r.StopContainer(t.Context(), spec.ID, "web", time.Minute); err != nil {
		t.Fatal(err)
	}
	if s := awaitEnd(t, r, spec.ID, "web"); s.ExitCode == nil || s.Reason != "" {
		t.Errorf("stopped container is %+v, want an exit code and no reason", s)
	}
	if err := r.StartContainer(t.Context(), spec.ID, "web"); err != nil {
		t.Errorf("StartContainer of a container that has ended: %v", err)
	}
	if err := r.Remove(t.Context(), spec.ID); err != nil {
		t.Fatal(err)
	}
	if err := r.Remove(t.Context(), spec.ID); err != nil {
		t.Errorf("second Remove: %v", err)
	}
	left, err := r.containersOf(t.Context(), spec.ID)
	if err != nil || len(left) > 0 {
		t.Errorf("after Remove the engine has containers %v, %v", left, err)
	}
	if _, err := os.Stat(taskFolder(dir, spec.ID)); !os.IsNotExist(err) {
		t.Errorf("after Remove the task's folder exists: %v", err)
	}
	other := run(t, r, newTask(agent.NetworkAWSVPC, containerSpec("web", "serve", ":8080")))
	if other.Address == sb.Address {
		t.Errorf("the next task has the same address, %v", sb.Address)
	}
	closeRuntime(t, r)
}

// TestPauseContainer checks that the containers of a task reach each other on localhost, and that all of them end with
// the pause container, which holds their network.
func TestPauseContainer(t *testing.T) {
	t.Parallel()
	r, _, _ := newRuntime(t)
	spec := newTask(agent.NetworkAWSVPC,
		containerSpec("web", "serve", "127.0.0.1:8080"), containerSpec("client", "get", "http://127.0.0.1:8080/"))
	if err := r.Prepare(t.Context(), spec, func() { t.Error("Prepare pulls an image") }); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if err := r.StartContainer(t.Context(), spec.ID, "web"); err != nil {
		t.Fatal(err)
	}
	dockertest.Eventually(t, "the server prints that it is serving", func() bool {
		return strings.Contains(logOf(r, spec.ID, "web"), "serving")
	})
	if err := r.StartContainer(t.Context(), spec.ID, "client"); err != nil {
		t.Fatal(err)
	}
	if s := awaitEnd(t, r, spec.ID, "client"); s.ExitCode == nil || *s.ExitCode != 0 {
		t.Errorf("the client did not reach the server: %+v, %s", s, logOf(r, spec.ID, "client"))
	}
	pauseID := r.find(spec.ID).engineID(translate.PauseName)
	if _, err := r.engine.ContainerKill(t.Context(), pauseID, client.ContainerKillOptions{Signal: "KILL"}); err != nil {
		t.Fatal(err)
	}
	if s := awaitEnd(t, r, spec.ID, "web"); !strings.Contains(s.Reason, "network is gone") {
		t.Errorf("without its pause container: %+v", s)
	}
	closeRuntime(t, r)
}

// TestUnreachableContainers checks that a container that no client can reach counts as ended, whatever the cause.
func TestUnreachableContainers(t *testing.T) {
	t.Parallel()
	r, _, networks := newRuntime(t)
	for _, tc := range []struct {
		name  string
		apply func(ctx context.Context, id string) error
		want  string // reason; empty for any, if killing and removing race
	}{
		{"removed", func(ctx context.Context, id string) error {
			_, err := r.engine.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true})
			return err
		}, ""},
		{"paused", func(ctx context.Context, id string) error {
			_, err := r.engine.ContainerPause(ctx, id, client.ContainerPauseOptions{})
			return err
		}, translate.ReasonPaused},
		{"disconnected", func(ctx context.Context, id string) error {
			options := client.NetworkDisconnectOptions{Container: id, Force: true}
			_, err := r.engine.NetworkDisconnect(ctx, r.networkName(networks[0]), options)
			return err
		}, translate.ReasonDisconnected},
		{"killed", func(ctx context.Context, id string) error {
			_, err := r.engine.ContainerKill(ctx, id, client.ContainerKillOptions{Signal: "KILL"})
			return err
		}, ""},
	} {
		spec := newTask(agent.NetworkAWSVPC, containerSpec("web", "serve", ":8080"))
		run(t, r, spec)
		id := awaitRunning(t, r, spec.ID, "web").RuntimeID
		if err := tc.apply(t.Context(), id); err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if s := awaitEnd(t, r, spec.ID, "web"); tc.want != "" && s.Reason != tc.want {
			t.Errorf("%s: reason %q, want %q", tc.name, s.Reason, tc.want)
		}
		if err := r.Remove(t.Context(), spec.ID); err != nil {
			t.Errorf("%s: Remove: %v", tc.name, err)
		}
	}
	hungry := newTask(agent.NetworkNone, containerSpec("eat", "eat"))
	hungry.Containers[0].Memory = 20
	run(t, r, hungry)
	if s := awaitEnd(t, r, hungry.ID, "eat"); s.Reason != translate.ReasonOutOfMemory || s.ExitCode == nil ||
		*s.ExitCode != 137 {
		t.Errorf("out of memory: %+v, want exit code 137 and reason %q", s, translate.ReasonOutOfMemory)
	}
	closeRuntime(t, r)
}

// TestStartFailures checks the reasons of containers that cannot start: ECS's codes, the same for each call. A
// container that was stopped before it started never runs.
func TestStartFailures(t *testing.T) {
	t.Parallel()
	r, _, _ := newRuntime(t)
	nameTaken := newTask(agent.NetworkNone, containerSpec("main", "exit", "0"))
	dockertest.Create(t, r.engine, client.ContainerCreateOptions{
		Name: translate.ContainerName(&nameTaken, "main"), Image: programImage(t, r),
	})
	noProgram := newTask(agent.NetworkNone, containerSpec("main"))
	noProgram.Containers[0].Command = []string{"/no/such/program"}
	noImage := newTask(agent.NetworkNone, containerSpec("main"))
	noImage.Containers[0].Image = "rollcall-test/missing:1"
	for _, tc := range []struct {
		spec agent.TaskSpec
		want string
	}{
		{noProgram, "CannotStartContainerError: "},
		{nameTaken, "CannotCreateContainerError: a container of another program has the name ecs-test-"},
		{noImage, "CannotPullContainerError: "},
	} {
		if _, err := r.Create(t.Context(), tc.spec); err != nil {
			t.Errorf("%s: %v", tc.want, err)
			continue
		}
		first := r.StartContainer(t.Context(), tc.spec.ID, "main")
		if first == nil || !strings.Contains(first.Error(), tc.want) {
			t.Errorf("StartContainer: %v, want %s", first, tc.want)
		}
		if s := awaitEnd(t, r, tc.spec.ID, "main"); !strings.HasPrefix(s.Reason, tc.want) || !s.StartedAt.IsZero() {
			t.Errorf("status %+v, want the reason %s and no start", s, tc.want)
		}
		if again := r.StartContainer(t.Context(), tc.spec.ID, "main"); again == nil ||
			!strings.Contains(again.Error(), tc.want) {
			t.Errorf("second StartContainer: %v, want %s", again, tc.want)
		}
	}
	stopped := newTask(agent.NetworkNone, containerSpec("main", "serve", ":80"))
	if _, err := r.Create(t.Context(), stopped); err != nil {
		t.Fatal(err)
	}
	if err := r.StopContainer(t.Context(), stopped.ID, "main", time.Second); err != nil {
		t.Fatal(err)
	}
	if err := r.StartContainer(t.Context(), stopped.ID, "main"); err != nil {
		t.Errorf("StartContainer after StopContainer: %v", err)
	}
	if s := awaitEnd(t, r, stopped.ID, "main"); !s.StartedAt.IsZero() {
		t.Errorf("a container that was stopped before it started has run: %+v", s)
	}
	closeRuntime(t, r)
}

// TestReopen opens a second runtime on a data folder: it finds what runs and what has ended in between. Containers
// without a task file are listed without containers, so that the agent can remove them.
func TestReopen(t *testing.T) {
	t.Parallel()
	r, dir, networks := newRuntime(t)
	runs := newTask(agent.NetworkAWSVPC, containerSpec("a", "serve", ":80"), containerSpec("b", "serve", ":81"))
	ends := newTask(agent.NetworkAWSVPC, containerSpec("a", "serve", ":80"))
	before := run(t, r, runs)
	run(t, r, ends)
	id := awaitRunning(t, r, runs.ID, "a").RuntimeID
	victim := awaitRunning(t, r, ends.ID, "a").RuntimeID
	closeRuntime(t, r)
	engine := dockertest.Engine(t)
	if _, err := engine.ContainerKill(t.Context(), victim, client.ContainerKillOptions{Signal: "KILL"}); err != nil {
		t.Fatal(err)
	}
	again := openRuntime(t, dir, "", networks)
	sandboxes, _ := again.Sandboxes(t.Context())
	if len(sandboxes) != 2 {
		t.Fatalf("the second runtime has sandboxes %+v, want 2", sandboxes)
	}
	i := slices.IndexFunc(sandboxes, func(b agent.Sandbox) bool { return b.TaskID == runs.ID })
	if sb := sandboxes[i]; sb.Address != before.Address || !sb.Containers[0].Running() ||
		sb.Containers[0].RuntimeID != id ||
		!sb.Containers[1].Running() {
		t.Errorf("the task that runs is %+v, was %+v", sb, before)
	}
	if sb := sandboxes[1-i]; !sb.Containers[0].Ended() || sb.Containers[0].ExitCode == nil ||
		*sb.Containers[0].ExitCode != 137 {
		t.Errorf("the task that has ended is %+v, want exit code 137", sb)
	}
	closeRuntime(t, again)
	if err := os.RemoveAll(taskFolder(dir, runs.ID)); err != nil {
		t.Fatal(err)
	}
	third := openRuntime(t, dir, "", networks)
	sandboxes, _ = third.Sandboxes(t.Context())
	isOrphan := func(sb agent.Sandbox) bool { return sb.TaskID == runs.ID && len(sb.Containers) == 0 }
	if !slices.ContainsFunc(sandboxes, isOrphan) {
		t.Errorf("sandboxes %+v lack the task without a task file", sandboxes)
	}
	if err := third.Remove(t.Context(), runs.ID); err != nil {
		t.Fatal(err)
	}
	if left, err := third.containersOf(t.Context(), runs.ID); err != nil || len(left) > 0 {
		t.Errorf("after Remove the engine has containers %v, %v", left, err)
	}
	closeRuntime(t, third)
}

// TestHostPorts covers network modes bridge and host.
func TestHostPorts(t *testing.T) {
	t.Parallel()
	r, _, networks := newRuntime(t)
	bridge := newTask(agent.NetworkBridge, containerSpec("web", "serve", ":8080"),
		containerSpec("client", "get", "http://web:8080/"))
	bridge.Containers[0].Ports = []agent.Port{{Container: 8080}}
	bridge.Containers[1].Options.Links = []string{"web"}
	sb := run(t, r, bridge)
	if sb.Address != hostAddress {
		t.Errorf("a task in mode bridge has the address %v, want %v", sb.Address, hostAddress)
	}
	s := awaitRunning(t, r, bridge.ID, "web")
	env := get(t, fmt.Sprintf("http://127.0.0.1:%d/", s.Ports[0].Host))
	if !strings.Contains(env, "ROLLCALL_PORT_8080=8080\n") || s.Ports[0].Host == 8080 {
		t.Errorf("ports are %+v, and the environment is\n%s", s.Ports, env)
	}
	own := r.find(bridge.ID).stored.Containers[0].Address
	if !networks[0].Prefix.Contains(own) || !strings.Contains(env, "ROLLCALL_ADDRESS="+own.String()) {
		t.Errorf("the container's own address is %v, and the environment is\n%s", own, env)
	}
	clash := newTask(agent.NetworkBridge, containerSpec("web", "serve", ":8080"))
	clash.Containers[0].Ports = []agent.Port{{Container: 8080, Host: s.Ports[0].Host}}
	if _, err := r.Create(t.Context(), clash); !fault.Is(err, fault.InUse) {
		t.Errorf("Create with a host port that is in use: %v, want fault.InUse", err)
	}
	host := newTask(agent.NetworkHost, containerSpec("web", "serve", fmt.Sprintf("127.0.0.1:%d", freePort(t))))
	run(t, r, host)
	awaitRunning(t, r, host.ID, "web")
	closeRuntime(t, r)
}

// TestHealthAndRestarts covers health checks and restart policies. StopContainer ends the restarts.
func TestHealthAndRestarts(t *testing.T) {
	t.Parallel()
	r, _, _ := newRuntime(t)
	spec := newTask(agent.NetworkAWSVPC, containerSpec("web", "serve", ":8080"), containerSpec("again", "exit", "3"))
	spec.Containers[0].HealthCheck = &agent.HealthCheck{
		Command:  []string{"CMD", "rollcall", "get", "http://127.0.0.1:8080/"},
		Interval: time.Second, Timeout: 10 * time.Second, Retries: 1,
	}
	spec.Containers[1].Options.Restart = &engineopts.RestartPolicy{} // always
	run(t, r, spec)
	await(t, r, spec.ID, "web", "healthy",
		func(s agent.ContainerStatus) bool { return s.Health == agent.HealthHealthy })
	starts := map[string]bool{}
	dockertest.Eventually(t, "the container was restarted twice", func() bool {
		id := r.find(spec.ID).engineID("again")
		seen, err := r.engine.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		starts[seen.Container.State.StartedAt] = true
		return len(starts) > 2
	})
	if err := r.StopContainer(t.Context(), spec.ID, "again", 0); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, r, spec.ID, "again")
	closeRuntime(t, r)
}

// TestVolumes shares a task's volume between two containers. The volume goes with the task.
func TestVolumes(t *testing.T) {
	t.Parallel()
	r, _, _ := newRuntime(t)
	spec := newTask(agent.NetworkNone, containerSpec("write", "write", "/data/file", "kept"),
		containerSpec("read", "cat", "/mine/file"))
	spec.Options.Volumes = []engineopts.Volume{{Name: "data"}}
	spec.Containers[0].Options.Mounts = []engineopts.Mount{{Volume: "data", Path: "/data"}}
	spec.Containers[1].Options.Mounts = []engineopts.Mount{{Volume: "data", Path: "/mine", ReadOnly: true}}
	if _, err := r.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"write", "read"} {
		if err := r.StartContainer(t.Context(), spec.ID, name); err != nil {
			t.Fatal(err)
		}
		if s := awaitEnd(t, r, spec.ID, name); s.ExitCode == nil || *s.ExitCode != 0 {
			t.Fatalf("container %s: %+v, want exit code 0", name, s)
		}
	}
	dockertest.Eventually(t, "the second container prints what the first has written", func() bool {
		return strings.Contains(logOf(r, spec.ID, "read"), "kept")
	})
	if err := r.Remove(t.Context(), spec.ID); err != nil {
		t.Fatal(err)
	}
	volume := translate.VolumeSource(&spec, &spec.Options.Volumes[0])
	if _, err := r.engine.VolumeInspect(t.Context(), volume, client.VolumeInspectOptions{}); err == nil {
		t.Error("after Remove the task's volume exists")
	}
	absent := newTask(agent.NetworkNone, containerSpec("main", "exit", "0"))
	absent.Options.Volumes = []engineopts.Volume{{Name: "rollcall-test-no-such-volume", Shared: true}}
	if _, err := r.Create(t.Context(), absent); !fault.Is(err, fault.Invalid) ||
		!strings.Contains(err.Error(), "autoprovision") {
		t.Errorf("Create with a shared volume that does not exist: %v, want fault.Invalid", err)
	}
	closeRuntime(t, r)
}

// TestResolverSelfTest checks that the self-test reports a resolver that does not answer, and the interface to allow.
func TestResolverSelfTest(t *testing.T) {
	t.Parallel()
	r, _, networks := newRuntime(t)
	err := r.testResolver(t.Context(), networks[0])
	bridge := network.BridgeName(r.owner, networks[0])
	if err == nil || !strings.Contains(err.Error(), "over udp") || !strings.Contains(err.Error(), bridge) {
		t.Errorf("without a DNS server: %v, want an error that names %s", err, bridge)
	}
	closeRuntime(t, r)
}

// TestShutdownDuringSelfTest checks that a runtime removes its network although the self-test runs on it.
func TestShutdownDuringSelfTest(t *testing.T) {
	t.Parallel()
	r, _, networks := newRuntime(t)
	names := r.Names(silentDNS{}, netip.MustParseAddrPort("127.0.0.1:53"))
	if names.Unavailable != "" {
		t.Fatalf("Names.Unavailable = %q, want none", names.Unavailable)
	}
	dockertest.Eventually(t, "the container of the self-test is on the network", func() bool {
		n, err := r.engine.NetworkInspect(t.Context(), r.networkName(networks[0]), client.NetworkInspectOptions{})
		return err == nil && len(n.Network.Containers) > 0
	})
	if err := r.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown during the self-test: %v", err)
	}
}

// silentDNS is an [agent.DNSServer] that answers nothing.
type silentDNS struct{}

func (silentDNS) Listen(netip.AddrPort) error { return nil }
func (silentDNS) Close(netip.AddrPort) error  { return nil }

// TestMetadataLinkMoves removes the network of a metadata link. When a task has it created again, containers reach the
// link there.
func TestMetadataLinkMoves(t *testing.T) {
	t.Parallel()
	r, _, networks := newRuntime(t)
	l, err := r.listenMetadata(networks[0])
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go http.Serve(l, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})) // ends with l
	runClient := func() int {
		spec := newTask(agent.NetworkAWSVPC, containerSpec("client", "get", "http://169.254.170.2/"))
		run(t, r, spec)
		defer r.Remove(t.Context(), spec.ID)
		return *awaitEnd(t, r, spec.ID, "client").ExitCode
	}
	if status := runClient(); status != 0 {
		t.Fatalf("the first client exits with %d", status)
	}
	dockertest.Eventually(t, "the network can be removed", func() bool {
		_, err := r.engine.NetworkRemove(t.Context(), r.networkName(networks[0]), client.NetworkRemoveOptions{})
		return err == nil
	})
	if status := runClient(); status != 0 {
		t.Errorf("on the network that was created again, the client exits with %d", status)
	}
	closeRuntime(t, r)
}

// TestLinksAndHostFolders checks that links work with Rollcall's resolver, that a folder of the host is created if it
// is missing, and that a container with disableNetworking runs.
func TestLinksAndHostFolders(t *testing.T) {
	t.Parallel()
	r, _, _ := newRuntime(t)
	missing := filepath.Join(t.TempDir(), "not", "there")
	bridge := newTask(agent.NetworkBridge, containerSpec("web", "serve", ":8080"),
		containerSpec("client", "lookup", "database"), containerSpec("write", "write", "/data/x", "kept"))
	bridge.Resolver = &agent.Resolver{Nameserver: netip.MustParseAddr("127.0.0.9")} // nothing listens there
	bridge.Options.Volumes = []engineopts.Volume{{Name: "data", HostPath: missing}}
	bridge.Containers[1].Options.Links = []string{"web:database"}
	bridge.Containers[2].Options.Mounts = []engineopts.Mount{{Volume: "data", Path: "/data"}}
	run(t, r, bridge)
	for _, name := range []string{"client", "write"} {
		if s := awaitEnd(t, r, bridge.ID, name); *s.ExitCode != 0 {
			t.Errorf("container %s exits with %d: %s", name, *s.ExitCode, logOf(r, bridge.ID, name))
		}
	}
	web := r.find(bridge.ID).stored.Containers[0].Address.String()
	dockertest.Eventually(t, "the link resolves to the container's address", func() bool {
		return strings.Contains(logOf(r, bridge.ID, "client"), web)
	})
	if text, err := os.ReadFile(filepath.Join(missing, "x")); string(text) != "kept" {
		t.Errorf("the file in the host's folder contains %q, %v", text, err)
	}
	for _, mode := range []string{agent.NetworkAWSVPC, agent.NetworkBridge} {
		spec := newTask(mode, containerSpec("web", "serve", "127.0.0.1:8080"))
		spec.Containers[0].Options.DisableNetworking = true
		run(t, r, spec)
		hasStarted := func(s agent.ContainerStatus) bool { return !s.StartedAt.IsZero() }
		if s := await(t, r, spec.ID, "web", "started", hasStarted); !s.Running() {
			t.Errorf("mode %s, disableNetworking: %+v, want a running container", mode, s)
		}
	}
	closeRuntime(t, r)
}
