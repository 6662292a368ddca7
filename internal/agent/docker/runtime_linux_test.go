package docker

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent/docker/dockertest"
	"github.com/bakingclouds/rollcall/internal/agent/docker/image"
	"github.com/bakingclouds/rollcall/internal/agent/docker/network"
	"github.com/bakingclouds/rollcall/internal/agent/docker/translate"

	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/containerlog"
	"github.com/bakingclouds/rollcall/internal/engineopts"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// open makes a runtime of a data folder, on networks of its own.
func open(t *testing.T, dir, host string, networks []network.Network) *Runtime {
	t.Helper()
	r, err := New(t.Context(), Config{
		Dir: dir, Host: host, Binary: testBinary(t), Networks: networks, HostAddress: netip.MustParseAddr("127.0.0.1"),
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// fresh makes a runtime of a new data folder, and removes what it has at the test's end.
func fresh(t *testing.T) (*Runtime, string, []network.Network) {
	t.Helper()
	dockertest.Engine(t)
	dir := dataFolder(t)
	used, err := network.InUse(t.Context(), dir, "")
	if err != nil {
		t.Fatal(err)
	}
	claims := &network.Claims{}
	t.Cleanup(claims.Close)
	vpc := network.Slices("", netip.MustParsePrefix("10.214.0.0/16"), netip.MustParsePrefix("fd00:214::/64"))
	n, err := claims.Claim(vpc, used)
	if err != nil {
		t.Fatal(err)
	}
	networks := []network.Network{n}
	r := open(t, dir, "", networks)
	t.Cleanup(func() { clean(t, dir, networks) })
	return r, dir, networks
}

// clean takes away all that a data folder has in the engine, whatever became of the runtimes of the test.
func clean(t *testing.T, dir string, networks []network.Network) {
	t.Helper()
	r, err := New(context.Background(), Config{Dir: dir, Binary: testBinary(t), Networks: networks, HostAddress: netip.MustParseAddr("127.0.0.1")})
	if err != nil {
		t.Error(err)
		return
	}
	boxes, _ := r.Sandboxes(context.Background()) // it never fails
	for _, box := range boxes {
		if err := r.Remove(context.Background(), box.TaskID); err != nil {
			t.Error(err)
		}
	}
	if err := r.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

func letGo(t *testing.T, r *Runtime) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

var lastTask struct {
	sync.Mutex
	n int
}

// task is a spec with a new id. The containers are of the tests' image and play what their commands say.
func task(mode string, containers ...agent.ContainerSpec) agent.TaskSpec {
	lastTask.Lock()
	lastTask.n++
	id := fmt.Sprintf("%020x%012x", time.Now().UnixNano(), lastTask.n)
	lastTask.Unlock()
	for i := range containers {
		containers[i].Image = image.Sample
		containers[i].Command = append([]string{"rollcall"}, containers[i].Command...)
	}
	return agent.TaskSpec{
		ID: id, NetworkMode: mode, Containers: containers, Env: map[string]string{roleVariable: "1"},
		Labels: map[string]string{translate.LabelFamily: "test", translate.LabelRevision: strconv.Itoa(lastTask.n)},
	}
}

func one(name string, command ...string) agent.ContainerSpec {
	return agent.ContainerSpec{Name: name, Command: command}
}

// launch creates a task and starts its containers.
func launch(t *testing.T, r *Runtime, spec agent.TaskSpec) agent.Sandbox {
	t.Helper()
	if err := r.Prepare(t.Context(), spec, func() {}); err != nil {
		t.Fatal(err)
	}
	box, err := r.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range spec.Containers {
		if err := r.StartContainer(t.Context(), spec.ID, c.Name); err != nil {
			t.Fatalf("start %s: %v", c.Name, err)
		}
	}
	return box
}

// await follows events until a container is as wanted.
func await(t *testing.T, r *Runtime, taskID, name, what string, wanted func(agent.ContainerStatus) bool) agent.ContainerStatus {
	t.Helper()
	boxes, _ := r.Sandboxes(t.Context())
	var last agent.ContainerStatus
	for _, b := range boxes {
		for _, c := range b.Containers {
			if b.TaskID == taskID && c.Name == name {
				last = c
			}
		}
	}
	deadline := time.After(time.Minute)
	for !wanted(last) {
		select {
		case e := <-r.Events():
			if e.TaskID == taskID && e.Status.Name == name {
				last = e.Status
			}
		case <-deadline:
			t.Fatalf("%s was never %s; at last it was %+v", name, what, last)
		}
	}
	return last
}

func ended(s agent.ContainerStatus) bool   { return s.Ended() }
func running(s agent.ContainerStatus) bool { return s.Running() }

// get asks a server until it answers.
func get(t *testing.T, url string) string {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		res, err := http.Get(url)
		if err == nil {
			defer res.Body.Close()
			text, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond) // it is not listening yet
	}
}

func TestLifeOfATask(t *testing.T) {
	t.Parallel()
	r, dir, networks := fresh(t)
	spec := task(agent.NetworkAWSVPC, one("web", "serve", ":8080"))
	spec.Containers[0].Ports = []agent.Port{{Container: 8080}}
	spec.Resolver = &agent.Resolver{Nameserver: networks[0].Gateway(), Search: []string{"corp"}}
	spec.DNS = "192.0.2.7:53"
	box := launch(t, r, spec)
	if !networks[0].Prefix.Contains(box.Address) || !networks[0].Prefix6.Contains(box.Address6) || box.Address == networks[0].Gateway() {
		t.Errorf("the task has %v and %v on %v", box.Address, box.Address6, networks[0])
	}
	s := await(t, r, spec.ID, "web", "running", running)
	if s.RuntimeID == "" || s.Image == "" || len(s.Ports) != 1 || s.Ports[0].Host != 8080 || s.Ports[0].HostIP != box.Address {
		t.Errorf("it runs as %+v", s)
	}
	env := get(t, fmt.Sprintf("http://%v/", netip.AddrPortFrom(box.Address, 8080)))
	for _, want := range []string{"ROLLCALL_ADDRESS=" + box.Address.String(), "ROLLCALL_DNS=192.0.2.7:53", "ROLLCALL_PORT_8080=8080"} {
		if !strings.Contains(env, want+"\n") {
			t.Errorf("the environment lacks %s:\n%s", want, env)
		}
	}
	if got := get(t, fmt.Sprintf("http://%v/", netip.AddrPortFrom(box.Address6, 8080))); got == "" {
		t.Error("nothing comes from the IPv6 address")
	}
	if again, err := r.Create(t.Context(), spec); err != nil || again.Address != box.Address {
		t.Errorf("created again: %+v, %v", again, err)
	}
	if err := r.StartContainer(t.Context(), spec.ID, "web"); err != nil {
		t.Errorf("started again: %v", err)
	}
	if err := r.StopContainer(t.Context(), spec.ID, "web", time.Minute); err != nil {
		t.Fatal(err)
	}
	if s := await(t, r, spec.ID, "web", "ended", ended); s.ExitCode == nil || s.Reason != "" {
		t.Errorf("it ended as %+v", s)
	}
	if err := r.StartContainer(t.Context(), spec.ID, "web"); err != nil {
		t.Errorf("one that has run is started: %v", err)
	}
	if err := r.Remove(t.Context(), spec.ID); err != nil {
		t.Fatal(err)
	}
	if err := r.Remove(t.Context(), spec.ID); err != nil {
		t.Errorf("removed again: %v", err)
	}
	left, err := r.containersOf(t.Context(), spec.ID)
	if err != nil || len(left) > 0 {
		t.Errorf("the engine still has %v, %v", left, err)
	}
	if _, err := os.Stat(taskFolder(dir, spec.ID)); !os.IsNotExist(err) {
		t.Errorf("the folder of the task is still there: %v", err)
	}
	// The address rests.
	other := launch(t, r, task(agent.NetworkAWSVPC, one("web", "serve", ":8080")))
	if other.Address == box.Address {
		t.Errorf("the next task has the same address, %v", box.Address)
	}
	letGo(t, r)
}

// TestContainersShareANetwork: the containers of a task reach each other on localhost, and all end when the pause container
// that holds their network does.
func TestContainersShareANetwork(t *testing.T) {
	t.Parallel()
	r, _, _ := fresh(t)
	spec := task(agent.NetworkAWSVPC, one("web", "serve", "127.0.0.1:8080"), one("ask", "get", "http://127.0.0.1:8080/"))
	if err := r.Prepare(t.Context(), spec, func() { t.Error("something is fetched") }); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if err := r.StartContainer(t.Context(), spec.ID, "web"); err != nil {
		t.Fatal(err)
	}
	dockertest.Eventually(t, "the server prints that it serves", func() bool { return strings.Contains(printed(r, spec.ID, "web"), "serving") })
	if err := r.StartContainer(t.Context(), spec.ID, "ask"); err != nil {
		t.Fatal(err)
	}
	if s := await(t, r, spec.ID, "ask", "ended", ended); s.ExitCode == nil || *s.ExitCode != 0 {
		t.Errorf("the one did not reach the other: %+v, %s", s, printed(r, spec.ID, "ask"))
	}
	pause := r.find(spec.ID).engineID(translate.PauseName)
	if _, err := r.engine.ContainerKill(t.Context(), pause, client.ContainerKillOptions{Signal: "KILL"}); err != nil {
		t.Fatal(err)
	}
	if s := await(t, r, spec.ID, "web", "ended", ended); !strings.Contains(s.Reason, "network is gone") {
		t.Errorf("without its network: %+v", s)
	}
	letGo(t, r)
}

// TestNobodyAnswers: a container that answers nobody any more is seen as ended, whatever made it so.
func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	r, _, networks := fresh(t)
	for _, tc := range []struct {
		name string
		do   func(t *testing.T, id string) error
		want string
	}{
		{"removed", func(t *testing.T, id string) error {
			_, err := r.engine.ContainerRemove(t.Context(), id, client.ContainerRemoveOptions{Force: true})
			return err
		}, ""}, // killed first: which of the two is seen does not matter
		{"paused", func(t *testing.T, id string) error {
			_, err := r.engine.ContainerPause(t.Context(), id, client.ContainerPauseOptions{})
			return err
		}, translate.ReasonPaused},
		{"cut off", func(t *testing.T, id string) error {
			_, err := r.engine.NetworkDisconnect(t.Context(), r.networkName(networks[0]), client.NetworkDisconnectOptions{Container: id, Force: true})
			return err
		}, translate.ReasonDisconnected},
		{"killed", func(t *testing.T, id string) error {
			_, err := r.engine.ContainerKill(t.Context(), id, client.ContainerKillOptions{Signal: "KILL"})
			return err
		}, ""},
	} {
		spec := task(agent.NetworkAWSVPC, one("web", "serve", ":8080"))
		launch(t, r, spec)
		id := await(t, r, spec.ID, "web", "running", running).RuntimeID
		if err := tc.do(t, id); err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if s := await(t, r, spec.ID, "web", tc.name, ended); tc.want != "" && s.Reason != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, s.Reason, tc.want)
		}
		if err := r.Remove(t.Context(), spec.ID); err != nil {
			t.Errorf("remove one that was %s: %v", tc.name, err)
		}
	}
	hungry := task(agent.NetworkNone, one("eat", "eat"))
	hungry.Containers[0].Memory = 20
	launch(t, r, hungry)
	if s := await(t, r, hungry.ID, "eat", "ended", ended); s.Reason != translate.ReasonOutOfMemory || s.ExitCode == nil || *s.ExitCode != 137 {
		t.Errorf("without memory: %+v", s)
	}
	letGo(t, r)
}

// TestBadContainers: what cannot start says why, in ECS's words, and again when asked again.
func TestBadContainers(t *testing.T) {
	t.Parallel()
	r, _, _ := fresh(t)
	taken := task(agent.NetworkNone, one("main", "exit", "0"))
	dockertest.Create(t, r.engine, client.ContainerCreateOptions{Name: translate.ContainerName(&taken, "main"), Image: mustOwn(t, r)})
	bad := task(agent.NetworkNone, one("main"))
	bad.Containers[0].Command = []string{"/no/such/program"}
	missing := task(agent.NetworkNone, one("main"))
	missing.Containers[0].Image = "rollcall-test/missing:1"
	for _, tc := range []struct {
		spec agent.TaskSpec
		want string
	}{
		{bad, "CannotStartContainerError: "},
		{taken, "CannotCreateContainerError: the name ecs-test-"},
		{missing, "CannotPullContainerError: "},
	} {
		if _, err := r.Create(t.Context(), tc.spec); err != nil {
			t.Errorf("%s: %v", tc.want, err)
			continue
		}
		first := r.StartContainer(t.Context(), tc.spec.ID, "main")
		if first == nil || !strings.Contains(first.Error(), tc.want) {
			t.Errorf("%v; want %s", first, tc.want)
		}
		if s := await(t, r, tc.spec.ID, "main", "ended", ended); !strings.HasPrefix(s.Reason, tc.want) || !s.StartedAt.IsZero() {
			t.Errorf("%+v; want %s", s, tc.want)
		}
		if again := r.StartContainer(t.Context(), tc.spec.ID, "main"); again == nil || !strings.Contains(again.Error(), tc.want) {
			t.Errorf("asked again: %v; want %s", again, tc.want)
		}
	}
	never := task(agent.NetworkNone, one("main", "serve", ":80"))
	if _, err := r.Create(t.Context(), never); err != nil {
		t.Fatal(err)
	}
	if err := r.StopContainer(t.Context(), never.ID, "main", time.Second); err != nil {
		t.Fatal(err)
	}
	if err := r.StartContainer(t.Context(), never.ID, "main"); err != nil {
		t.Errorf("one that was stopped before it started: %v", err)
	}
	if s := await(t, r, never.ID, "main", "ended", ended); !s.StartedAt.IsZero() {
		t.Errorf("it ran all the same: %+v", s)
	}
	letGo(t, r)
}

func mustOwn(t *testing.T, r *Runtime) string {
	t.Helper()
	id, err := r.images.Program(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestFoundAgain: a runtime of the same data folder takes over what runs, sees what ended meanwhile, and does not touch what
// has no record but names it.
func TestFoundAgain(t *testing.T) {
	t.Parallel()
	r, dir, networks := fresh(t)
	runs, dies := task(agent.NetworkAWSVPC, one("a", "serve", ":80"), one("b", "serve", ":81")), task(agent.NetworkAWSVPC, one("a", "serve", ":80"))
	before := launch(t, r, runs)
	launch(t, r, dies)
	id := await(t, r, runs.ID, "a", "running", running).RuntimeID
	victim := await(t, r, dies.ID, "a", "running", running).RuntimeID
	letGo(t, r)
	if _, err := dockertest.Engine(t).ContainerKill(t.Context(), victim, client.ContainerKillOptions{Signal: "KILL"}); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir, "", networks)
	boxes, _ := again.Sandboxes(t.Context())
	if len(boxes) != 2 {
		t.Fatalf("it finds %+v", boxes)
	}
	i := slices.IndexFunc(boxes, func(b agent.Sandbox) bool { return b.TaskID == runs.ID })
	if b := boxes[i]; b.Address != before.Address || !b.Containers[0].Running() || b.Containers[0].RuntimeID != id || !b.Containers[1].Running() {
		t.Errorf("what runs is found as %+v, was %+v", b, before)
	}
	if b := boxes[1-i]; !b.Containers[0].Ended() || b.Containers[0].ExitCode == nil || *b.Containers[0].ExitCode != 137 {
		t.Errorf("what ended is found as %+v", b)
	}
	// Without its record it is a stranger, to be removed by whoever knows the tasks.
	letGo(t, again)
	if err := os.RemoveAll(taskFolder(dir, runs.ID)); err != nil {
		t.Fatal(err)
	}
	third := open(t, dir, "", networks)
	boxes, _ = third.Sandboxes(t.Context())
	if !slices.ContainsFunc(boxes, func(b agent.Sandbox) bool { return b.TaskID == runs.ID && len(b.Containers) == 0 }) {
		t.Errorf("the stranger is not listed: %+v", boxes)
	}
	if err := third.Remove(t.Context(), runs.ID); err != nil {
		t.Fatal(err)
	}
	if left, err := third.containersOf(t.Context(), runs.ID); err != nil || len(left) > 0 {
		t.Errorf("the stranger is still there: %v, %v", left, err)
	}
	letGo(t, third)
}

func TestHostPorts(t *testing.T) {
	t.Parallel()
	r, _, networks := fresh(t)
	bridge := task(agent.NetworkBridge, one("web", "serve", ":8080"), one("ask", "get", "http://web:8080/"))
	bridge.Containers[0].Ports = []agent.Port{{Container: 8080}}
	bridge.Containers[1].Options.Links = []string{"web"}
	box := launch(t, r, bridge)
	if box.Address != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("a task in bridge mode is at %v", box.Address)
	}
	s := await(t, r, bridge.ID, "web", "running", running)
	env := get(t, fmt.Sprintf("http://127.0.0.1:%d/", s.Ports[0].Host))
	if !strings.Contains(env, "ROLLCALL_PORT_8080=8080\n") || s.Ports[0].Host == 8080 {
		t.Errorf("it is at %+v, and knows\n%s", s.Ports, env)
	}
	if own := r.find(bridge.ID).record.Containers[0].Address; !networks[0].Prefix.Contains(own) || !strings.Contains(env, "ROLLCALL_ADDRESS="+own.String()) {
		t.Errorf("its own address is %v, and it knows\n%s", own, env)
	}
	clash := task(agent.NetworkBridge, one("web", "serve", ":8080"))
	clash.Containers[0].Ports = []agent.Port{{Container: 8080, Host: s.Ports[0].Host}}
	if _, err := r.Create(t.Context(), clash); !fault.Is(err, fault.InUse) {
		t.Errorf("the same host port again: %v", err)
	}
	host := task(agent.NetworkHost, one("web", "serve", fmt.Sprintf("127.0.0.1:%d", freePort(t))))
	launch(t, r, host)
	await(t, r, host.ID, "web", "running", running)
	letGo(t, r)
}

func TestHealthAndRestarts(t *testing.T) {
	t.Parallel()
	r, _, _ := fresh(t)
	spec := task(agent.NetworkAWSVPC, one("web", "serve", ":8080"), one("again", "exit", "3"))
	spec.Containers[0].HealthCheck = &agent.HealthCheck{
		Command: []string{"CMD", "rollcall", "get", "http://127.0.0.1:8080/"}, Interval: time.Second, Timeout: 10 * time.Second, Retries: 1,
	}
	spec.Containers[1].Options.Restart = &engineopts.RestartPolicy{} // whenever it ends
	launch(t, r, spec)
	await(t, r, spec.ID, "web", "healthy", func(s agent.ContainerStatus) bool { return s.Health == agent.HealthHealthy })
	starts := map[string]bool{}
	dockertest.Eventually(t, "a container was restarted twice", func() bool {
		seen, err := r.engine.ContainerInspect(t.Context(), r.find(spec.ID).engineID("again"), client.ContainerInspectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		starts[seen.Container.State.StartedAt] = true
		return len(starts) > 2
	})
	if err := r.StopContainer(t.Context(), spec.ID, "again", 0); err != nil {
		t.Fatal(err)
	}
	await(t, r, spec.ID, "again", "ended", ended)
	letGo(t, r)
}

func TestVolumes(t *testing.T) {
	t.Parallel()
	r, _, _ := fresh(t)
	spec := task(agent.NetworkNone, one("write", "write", "/data/file", "kept"), one("read", "cat", "/mine/file"))
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
		if s := await(t, r, spec.ID, name, "ended", ended); s.ExitCode == nil || *s.ExitCode != 0 {
			t.Fatalf("%s: %+v", name, s)
		}
	}
	dockertest.Eventually(t, "what the one wrote, the other prints", func() bool { return strings.Contains(printed(r, spec.ID, "read"), "kept") })
	if err := r.Remove(t.Context(), spec.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := r.engine.VolumeInspect(t.Context(), translate.VolumeSource(&spec, &spec.Options.Volumes[0]), client.VolumeInspectOptions{}); err == nil {
		t.Error("the task's volume is still there")
	}
	absent := task(agent.NetworkNone, one("main", "exit", "0"))
	absent.Options.Volumes = []engineopts.Volume{{Name: "rollcall-test-no-such-volume", Shared: true}}
	if _, err := r.Create(t.Context(), absent); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "autoprovision") {
		t.Errorf("a shared volume that is not there: %v", err)
	}
	letGo(t, r)
}

// TestResolverFromInside: the self-test hears a server on the gateway, and says so when it does not.
func TestResolverFromInside(t *testing.T) {
	t.Parallel()
	r, _, networks := fresh(t)
	err := r.TestResolver(t.Context(), networks[0])
	if err == nil || !strings.Contains(err.Error(), "over udp") || !strings.Contains(err.Error(), network.BridgeName(r.owner, networks[0])) {
		t.Errorf("without a server: %v", err)
	}
	letGo(t, r)
}

// printed is what a container has printed, as the logbook has it.
func printed(r *Runtime, taskID, name string) string {
	var text strings.Builder
	for pos := int64(0); ; {
		lines, next, err := containerlog.Read(containerlog.Folder(containerlog.Root(r.config.Dir), taskID, name), pos)
		if err != nil || next == pos {
			return text.String() // nothing there yet is no error here: who waits asks again
		}
		for _, l := range lines {
			text.Write(append(l.Text, '\n'))
		}
		pos = next
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// TestLinkGoesAlong: where containers ask for metadata is there again when somebody has removed their network and a task
// has it made anew.
func TestLinkGoesAlong(t *testing.T) {
	t.Parallel()
	r, _, networks := fresh(t)
	l, err := r.Link(networks[0])
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go http.Serve(l, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})) // ends with l
	ask := func() int {
		spec := task(agent.NetworkAWSVPC, one("ask", "get", "http://169.254.170.2/"))
		launch(t, r, spec)
		defer r.Remove(t.Context(), spec.ID)
		return *await(t, r, spec.ID, "ask", "ended", ended).ExitCode
	}
	if status := ask(); status != 0 {
		t.Fatalf("at first a container gets %d", status)
	}
	dockertest.Eventually(t, "nothing is on the network", func() bool {
		_, err := r.engine.NetworkRemove(t.Context(), r.networkName(networks[0]), client.NetworkRemoveOptions{})
		return err == nil
	})
	if status := ask(); status != 0 {
		t.Errorf("on the network that was made anew a container gets %d", status)
	}
	letGo(t, r)
}

// TestLinksAndFolders: a link works with Rollcall's resolver too, a folder of the host that is not there is made, and a
// container without a network runs and has none.
func TestLinksAndFolders(t *testing.T) {
	t.Parallel()
	r, _, _ := fresh(t)
	missing := filepath.Join(t.TempDir(), "not", "there")
	bridge := task(agent.NetworkBridge, one("web", "serve", ":8080"), one("ask", "lookup", "database"), one("write", "write", "/data/x", "kept"))
	bridge.Resolver = &agent.Resolver{Nameserver: netip.MustParseAddr("127.0.0.9")} // answers nobody
	bridge.Options.Volumes = []engineopts.Volume{{Name: "data", HostPath: missing}}
	bridge.Containers[1].Options.Links = []string{"web:database"}
	bridge.Containers[2].Options.Mounts = []engineopts.Mount{{Volume: "data", Path: "/data"}}
	launch(t, r, bridge)
	for _, name := range []string{"ask", "write"} {
		if s := await(t, r, bridge.ID, name, "ended", ended); *s.ExitCode != 0 {
			t.Errorf("%s ended with %d: %s", name, *s.ExitCode, printed(r, bridge.ID, name))
		}
	}
	web := r.find(bridge.ID).record.Containers[0].Address.String()
	dockertest.Eventually(t, "the link leads to the container", func() bool { return strings.Contains(printed(r, bridge.ID, "ask"), web) })
	if text, err := os.ReadFile(filepath.Join(missing, "x")); string(text) != "kept" {
		t.Errorf("the folder of the host has %q, %v", text, err)
	}
	for _, mode := range []string{agent.NetworkAWSVPC, agent.NetworkBridge} {
		spec := task(mode, one("web", "serve", "127.0.0.1:8080"))
		spec.Containers[0].Options.DisableNetworking = true
		launch(t, r, spec)
		if s := await(t, r, spec.ID, "web", "told of", func(s agent.ContainerStatus) bool { return !s.StartedAt.IsZero() }); !s.Running() {
			t.Errorf("%s: %+v", mode, s)
		}
	}
	letGo(t, r)
}
