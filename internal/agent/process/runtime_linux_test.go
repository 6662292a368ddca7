package process

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/addrlease"
	"github.com/bakingclouds/rollcall/internal/agent/process/procfs"
	"github.com/bakingclouds/rollcall/internal/agent/process/protocol"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// startFailure begins the reasons of containers that could not start.
const startFailure = "CannotStartContainerError: "

func TestContainerEnds(t *testing.T) {
	t.Parallel()
	r := newRuntime(t)
	for _, tc := range []struct {
		name, script string
		want         int
	}{
		{"success", "exit 0", 0},
		{"failure", "exit 7", 7},
		{"signal", "kill -SEGV $$", 139},
	} {
		start(t, r, shellTask(tc.name, tc.script))
		got := awaitEnd(t, r, tc.name)
		if got.ExitCode == nil || *got.ExitCode != tc.want || got.Reason != "" || got.StartedAt.IsZero() {
			t.Errorf("%s: exit code %v, reason %q, started %v; want exit code %d and no reason", tc.name, got.ExitCode,
				got.Reason, got.StartedAt, tc.want)
		}
		if err := r.StartContainer(t.Context(), tc.name, "main"); err != nil {
			t.Errorf("%s: StartContainer of an ended container: %v; want nil, without a start", tc.name, err)
		}
	}
}

func TestStop(t *testing.T) {
	t.Parallel()
	r := newRuntime(t)
	for _, tc := range []struct {
		name, script string
		timeout      time.Duration
		want         int
	}{
		{"ends by SIGTERM", "echo ready; exec sleep 1000", time.Minute, 143},
		{"handles SIGTERM", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done", time.Minute, 3},
		{"children get SIGTERM",
			`trap : TERM; sh -c 'trap "exit 0" TERM; echo ready; while :; do sleep 0.01; done' & wait $!; wait $!; exit 5`,
			time.Minute, 5},
		{"ignores SIGTERM", "trap '' TERM; echo ready; while :; do sleep 0.01; done", 50 * time.Millisecond, 137},
		{"no timeout", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done", 0, 137},
	} {
		id := strings.ReplaceAll(tc.name, " ", "-")
		start(t, r, shellTask(id, tc.script))
		awaitOutput(t, r, id, "ready")
		if err := r.StopContainer(t.Context(), id, "main", tc.timeout); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		got := statusOf(t, r, id)
		if got.ExitCode == nil || *got.ExitCode != tc.want {
			t.Errorf("%s: status %+v after StopContainer; want exit code %d", tc.name, got, tc.want)
		}
		if err := r.StopContainer(t.Context(), id, "main", time.Minute); err != nil {
			t.Errorf("%s: the second StopContainer: %v", tc.name, err)
		}
	}
	if err := r.StopContainer(t.Context(), "unknown", "main", 0); err != nil {
		t.Errorf("StopContainer of an unknown task: %v; want nil", err)
	}
}

func TestStoppedBeforeStartNeverStarts(t *testing.T) {
	t.Parallel()
	r := newRuntime(t)
	if _, err := r.Create(t.Context(), shellTask("early", "echo ran")); err != nil {
		t.Fatal(err)
	}
	if err := r.StopContainer(t.Context(), "early", "main", time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := r.StartContainer(t.Context(), "early", "main"); err != nil {
		t.Fatal(err)
	}
	if got := statusOf(t, r, "early"); !got.Ended() || !got.StartedAt.IsZero() {
		t.Errorf("status %+v; want ended, never started", got)
	}
}

func TestNothingOutlivesItsContainer(t *testing.T) {
	t.Parallel()
	r := newRuntime(t)
	file := filepath.Join(t.TempDir(), "pid")
	// A grandchild in the container's session, and another that leaves session, group and parent.
	script := fmt.Sprintf("sleep 1000 & echo $! > %s.1; '%s' program session %s.2; exit 0", file, self()[0], file)
	start(t, r, shellTask("parent", script))
	awaitEnd(t, r, "parent")
	for _, name := range []string{".1", ".2"} {
		text, err := os.ReadFile(file + name)
		if err != nil {
			t.Fatal(err, output(t, r, "parent"))
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		if !ended(pid) {
			t.Errorf("process %d (%s) runs although its container has ended", pid, name)
		}
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	r := newRuntime(t)
	start(t, r, shellTask("short", "exec sleep 1000"))
	pid, err := strconv.Atoi(statusOf(t, r, "short").RuntimeID)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.Remove(t.Context(), "short"); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := r.Sandboxes(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("Sandboxes after Remove: %+v, %v", all, err)
	}
	if !ended(pid) {
		t.Errorf("process %d runs although its task is removed", pid)
	}
	if _, err := os.Stat(filepath.Join(protocol.TasksFolder(r.config.Dir), "short")); !os.IsNotExist(err) {
		t.Errorf("the folder of the removed task: %v; want that it does not exist", err)
	}
	if err := r.StartContainer(t.Context(), "short", "main"); !fault.Is(err, fault.NotFound) {
		t.Errorf("StartContainer of a removed task: %v; want not found", err)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("AWS_SECRET_ACCESS_KEY", "the server's")
	t.Setenv("ROLLCALL_SECRET_ACCESS_KEY", "the server's")
	r := newRuntime(t)
	spec := shellTask("env", "pwd; env")
	spec.DNS = "127.0.0.1:7053"
	spec.Env = map[string]string{"FROM": "task", "TASK": "yes", "ROLLCALL_ADDRESS": "forged"}
	spec.Containers[0].Env = map[string]string{"FROM": "container"}
	spec.Containers[0].Ports = []agent.Port{{Container: 5000, Protocol: "tcp"}}
	sandbox := start(t, r, spec)
	awaitEnd(t, r, "env")
	got := strings.Split(output(t, r, "env"), "\n")
	env := map[string]string{}
	for _, line := range got[1:] {
		name, value, _ := strings.Cut(line, "=")
		env[name] = value
	}
	for name, want := range map[string]string{
		"FROM": "container", "TASK": "yes", "ROLLCALL_DNS": "127.0.0.1:7053", "ROLLCALL_PORT_5000": "5000",
		"ROLLCALL_ADDRESS": sandbox.Address.String(), "AWS_SECRET_ACCESS_KEY": "", "ROLLCALL_SECRET_ACCESS_KEY": "",
	} {
		if env[name] != want {
			t.Errorf("%s is %q in the container, want %q", name, env[name], want)
		}
	}
	if self, _ := os.Executable(); !strings.HasPrefix(env["PATH"], filepath.Dir(self)+":") {
		t.Errorf("PATH is %q, want the folder of this binary first", env["PATH"])
	}
	if want := filepath.Join(protocol.TasksFolder(r.config.Dir), "env", "main", "work"); got[0] != want {
		t.Errorf("the container runs in %q, want its own folder %q", got[0], want)
	}
}

func TestStartFailures(t *testing.T) {
	t.Parallel()
	r := newRuntime(t)
	noProgram := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(noProgram, []byte("just text"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		spec agent.ContainerSpec
		want string
	}{
		{"no-program", agent.ContainerSpec{Command: []string{"no-such-program"}},
			`cannot run the program "no-such-program": it is not in PATH (`},
		{"no-file", agent.ContainerSpec{Command: []string{"/no/such/program"}},
			`cannot run the program "/no/such/program": `},
		{"not-executable", agent.ContainerSpec{Command: []string{noProgram}}, "permission denied"},
		{"no-directory", agent.ContainerSpec{Command: []string{"true"}, WorkingDirectory: "/no/such/folder"},
			"enter the working directory /no/such/folder: "},
		{"no-user", agent.ContainerSpec{Command: []string{"true"}, User: "no-such-user"},
			`no user "no-such-user" on this machine`},
	} {
		tc.spec.Name = "main"
		if _, err := r.Create(t.Context(),
			agent.TaskSpec{ID: tc.name, Containers: []agent.ContainerSpec{tc.spec}}); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second call returns the same error
			err := r.StartContainer(t.Context(), tc.name, "main")
			if err == nil || !strings.HasPrefix(err.Error(), startFailure) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: %v; want %s…%s", tc.name, err, startFailure, tc.want)
			}
		}
		got := statusOf(t, r, tc.name)
		if !got.Ended() || !got.StartedAt.IsZero() || got.ExitCode != nil || !strings.HasPrefix(got.Reason, startFailure) {
			t.Errorf("%s: status %+v; want ended without start, with the reason", tc.name, got)
		}
	}
}

func TestUser(t *testing.T) {
	t.Parallel()
	r := newRuntime(t)
	run := func(id, user string) (string, error) {
		spec := shellTask(id, "id -u; id -g; touch here && echo writes")
		spec.Containers[0].User = user
		if _, err := r.Create(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		if err := r.StartContainer(t.Context(), id, "main"); err != nil {
			return "", err
		}
		awaitEnd(t, r, id)
		return output(t, r, id), nil
	}
	self := strconv.Itoa(os.Geteuid())
	if got, err := run("self", self); err != nil || !strings.HasPrefix(got, self+"\n") {
		t.Errorf("as the user of the test: %q, %v", got, err)
	}
	got, err := run("other", "54321:54322")
	if os.Geteuid() != 0 {
		if err == nil || !strings.Contains(err.Error(), "only root") {
			t.Errorf("as another user, without root: %q, %v; want an error", got, err)
		}
		return
	}
	if want := "54321\n54322\nwrites\n"; err != nil || got != want {
		t.Errorf("as 54321:54322: %q, %v; want %q", got, err, want)
	}
}

func TestUlimit(t *testing.T) {
	t.Parallel()
	r := newRuntime(t)
	spec := shellTask("limited", "ulimit -Sn; ulimit -Hn; ulimit -Sc")
	spec.Containers[0].Ulimits = []agent.Ulimit{{Name: "nofile", Soft: 100, Hard: 200}, {Name: "core", Soft: 0, Hard: 0}}
	start(t, r, spec)
	awaitEnd(t, r, "limited")
	if got, want := output(t, r, "limited"), "100\n200\n0\n"; got != want {
		t.Errorf("limits %q, want %q", got, want)
	}
}

// TestUlimitBeyond checks that a limit which no process may set becomes the highest that this one may.
func TestUlimitBeyond(t *testing.T) {
	t.Parallel()
	r := newRuntime(t)
	spec := shellTask("limitless", "ulimit -Sn; ulimit -Hn")
	spec.Containers[0].Ulimits = []agent.Ulimit{{Name: "nofile", Soft: 100, Hard: 1 << 40}}
	start(t, r, spec)
	awaitEnd(t, r, "limitless")
	var have syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &have); err != nil {
		t.Fatal(err)
	}
	if got, want := output(t, r, "limitless"), fmt.Sprintf("100\n%d\n", have.Max); got != want {
		t.Errorf("limits %q, want %q", got, want)
	}
}

func TestCreateRejects(t *testing.T) {
	t.Parallel()
	r := newRuntime(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	taken := uint16(listener.Addr().(*net.TCPAddr).Port)
	one := func(c agent.ContainerSpec) []agent.ContainerSpec { return []agent.ContainerSpec{c} }
	for _, tc := range []struct {
		spec agent.TaskSpec
		kind fault.Kind
		want string
	}{
		{agent.TaskSpec{ID: "../escape"}, fault.Invalid, "the task id"},
		{agent.TaskSpec{ID: "empty"}, fault.Invalid, "no containers"},
		{agent.TaskSpec{ID: "a", NetworkMode: "vlan",
			Containers: one(agent.ContainerSpec{Name: "c", Command: []string{"true"}})}, fault.Invalid, "networkMode"},
		{agent.TaskSpec{ID: "a", Containers: one(agent.ContainerSpec{Name: "c/d", Command: []string{"true"}})}, fault.Invalid,
			"container \"c/d\": the name"},
		{agent.TaskSpec{ID: "a", Containers: one(agent.ContainerSpec{Name: "c", Image: "nginx"})}, fault.Invalid,
			"neither entryPoint nor command"},
		{agent.TaskSpec{ID: "a", Containers: one(agent.ContainerSpec{Name: "c", Command: []string{"true"},
			HealthCheck: &agent.HealthCheck{Command: []string{"curl"}}})}, fault.Invalid, "must begin with CMD"},
		{agent.TaskSpec{ID: "a", Containers: one(agent.ContainerSpec{Name: "c", Command: []string{"true"},
			Ulimits: []agent.Ulimit{{Name: "ink"}}})}, fault.Invalid, "ulimit"},
		{agent.TaskSpec{ID: "a", NetworkMode: agent.NetworkNone, Containers: one(agent.ContainerSpec{Name: "c",
			Command: []string{"true"}, Ports: []agent.Port{{Container: 80}}})}, fault.Invalid, "mode none"},
		{agent.TaskSpec{ID: "a", NetworkMode: agent.NetworkHost, Containers: one(agent.ContainerSpec{Name: "c",
			Command: []string{"true"}, Ports: []agent.Port{{Container: 80, Host: taken}}})}, fault.InUse,
			fmt.Sprintf("(pid %d)", os.Getpid())},
	} {
		_, err := r.Create(t.Context(), tc.spec)
		if !fault.Is(err, tc.kind) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("Create(%+v): %v; want %v: …%s", tc.spec, err, tc.kind, tc.want)
		}
	}
	if all, err := r.Sandboxes(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("Sandboxes after rejected calls: %+v, %v", all, err)
	}
}

func TestHostPorts(t *testing.T) {
	t.Parallel()
	r := newRuntime(t)
	other := newRuntime(t)
	spec := shellTask("bridge", `echo "$ROLLCALL_ADDRESS $ROLLCALL_PORT_80"; exec sleep 1000`)
	spec.NetworkMode = agent.NetworkBridge
	spec.Containers[0].Ports = []agent.Port{{Container: 80}, {Container: 80, Protocol: "udp"}, {Container: 81}}
	start(t, r, spec)
	ports := statusOf(t, r, "bridge").Ports
	if len(ports) != 3 || ports[0].Host == 0 || ports[0].Host != ports[1].Host || ports[0].Host == ports[2].Host {
		t.Fatalf("bindings %+v; want one host port for 80/tcp and 80/udp, and another for 81", ports)
	}
	awaitOutput(t, r, "bridge", fmt.Sprintf("127.0.0.1 %d\n", ports[0].Host))

	// The task has not bound its port, and still no other task gets it.
	fixed := shellTask("fixed", "true")
	fixed.NetworkMode = agent.NetworkHost
	fixed.Containers[0].Ports = []agent.Port{{Container: ports[0].Host, Host: ports[0].Host}}
	if _, err := other.Create(t.Context(), fixed); !fault.Is(err, fault.InUse) ||
		!strings.Contains(err.Error(), "leased by another task") {
		t.Errorf("Create with the same host port from another data folder: %v; want in use", err)
	}
}

// addressBlock is the range of tasks' addresses.
var addressBlock = netip.MustParsePrefix("127.64.0.0/10")

func TestAddressesAreUnique(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 2 {
		r := newRuntime(t)
		for i := range 20 {
			spec := shellTask(fmt.Sprintf("t%d", i), "true")
			first, err := r.Create(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			again, err := r.Create(t.Context(), spec)
			if err != nil || again.Address != first.Address {
				t.Errorf("the second Create returns %v, %v; want the same address %v", again.Address, err, first.Address)
			}
			text := first.Address.String()
			if seen[text] || !addressBlock.Contains(first.Address) || strings.HasSuffix(text, ".0") ||
				strings.HasSuffix(text, ".255") {
				t.Errorf("address %v is used twice, outside of %v, or not that of a host", first.Address, addressBlock)
			}
			seen[text] = true
		}
	}
}

func TestServerKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	argv := self("server", dir)
	server := exec.Command(argv[0], argv[1:]...)
	stdout, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Process.Kill() })
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "started\n" {
		t.Fatalf("the server prints %q, %v", line, err)
	}
	if err := server.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	server.Wait()

	r := runtimeIn(t, dir)
	found := await(t, r, "survivor", "running", agent.ContainerStatus.Running)
	pid, err := strconv.Atoi(found.RuntimeID)
	if err != nil || ended(pid) {
		t.Fatalf("the container's process %s: %v; want it running", found.RuntimeID, err)
	}
	if err := r.StartContainer(t.Context(), "survivor", "main"); err != nil {
		t.Fatal(err)
	}
	if got := statusOf(t, r, "survivor").RuntimeID; got != found.RuntimeID {
		t.Errorf("after a second StartContainer the process is %s; want the same %s", got, found.RuntimeID)
	}
	if err := r.StopContainer(t.Context(), "survivor", "main", time.Minute); err != nil {
		t.Fatal(err)
	}
	if got := statusOf(t, r, "survivor"); got.ExitCode == nil || *got.ExitCode != 143 {
		t.Errorf("status %+v; want exit code 143, since its supervisor kept running", got)
	}
}

func TestSupervisorKilled(t *testing.T) {
	t.Parallel()
	r := newRuntime(t)
	proceed := filepath.Join(t.TempDir(), "proceed")
	wait := fmt.Sprintf("while [ ! -e %s ]; do sleep 0.01; done; ", proceed)
	start(t, r, shellTask("stays", "exec sleep 1000"))
	sandbox := start(t, r, shellTask("ends-later", wait+"exit 4"))
	before := statusOf(t, r, "stays")

	killSupervisor(t, r)
	await(t, r, "stays", "running again", agent.ContainerStatus.Running)
	eventually(t, "the new supervisor answers", func() bool { _, err := r.Sandboxes(t.Context()); return err == nil })
	if after := statusOf(t, r, "stays"); after.RuntimeID != before.RuntimeID || !after.Running() {
		t.Errorf("adopted as %+v; want the same as before, %+v", after, before)
	}
	if _, err := addrlease.Acquire("address/" + sandbox.Address.String()); err == nil {
		t.Errorf("Acquire of the address %v of an adopted task succeeds", sandbox.Address)
	}
	if err := os.WriteFile(proceed, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := awaitEnd(t, r, "ends-later"); got.ExitCode != nil ||
		got.Reason != "Exit code unknown: the supervisor was restarted while the container ran." {
		t.Errorf("the end of an adopted container: %+v; want no exit code, and the reason", got)
	}
	if err := r.StopContainer(t.Context(), "stays", "main", time.Minute); err != nil {
		t.Fatal(err)
	}
	pid, _ := strconv.Atoi(before.RuntimeID)
	if got := statusOf(t, r, "stays"); !got.Ended() || !ended(pid) {
		t.Errorf("an adopted container after StopContainer: %+v", got)
	}
}

func TestEndedWhileNoSupervisorRan(t *testing.T) {
	t.Parallel()
	r := newRuntime(t)
	start(t, r, shellTask("orphan", "sleep 1000 & wait"))
	pid, err := strconv.Atoi(statusOf(t, r, "orphan").RuntimeID)
	if err != nil {
		t.Fatal(err)
	}
	dir := r.config.Dir
	r.Close() // so that no new supervisor is started
	killSupervisor(t, r)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the container has ended", func() bool { return ended(pid) })
	again := runtimeIn(t, dir)
	if got := awaitEnd(t, again, "orphan"); got.ExitCode != nil ||
		got.Reason != "Exit code unknown: the container ended while no supervisor ran." {
		t.Errorf("status %+v; want no exit code, and the reason", got)
	}
}

// TestSupervisorKilledAtAnyMoment kills the supervisor while it starts a container, and checks that the container runs
// at most once.
func TestSupervisorKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	r := newRuntime(t)
	folder := t.TempDir()
	for i := range 12 {
		id := fmt.Sprintf("t%d", i)
		file := filepath.Join(folder, id)
		if _, err := r.Create(t.Context(), shellTask(id, "echo ran >> "+file+"; exec sleep 1000")); err != nil {
			t.Fatal(err)
		}
		pid := supervisorPID(t, r.config.Dir)
		killer := time.AfterFunc(time.Duration(i)*4*time.Millisecond, func() { syscall.Kill(pid, syscall.SIGKILL) })
		err := r.StartContainer(t.Context(), id, "main")
		for fault.Is(err, fault.Unavailable) { // as the agent does
			err = r.StartContainer(t.Context(), id, "main")
		}
		if err != nil && err.Error() != startFailure+"the supervisor ended while it started the container, whose program "+
			"may have run." {
			t.Fatal(err)
		}
		killer.Stop()
		syscall.Kill(pid, syscall.SIGKILL)
		eventually(t, "the supervisor has ended", func() bool { return ended(pid) })
		eventually(t, "a new supervisor answers", func() bool { _, err := r.Sandboxes(t.Context()); return err == nil })
		if status := statusOf(t, r, id); status.Running() {
			eventually(t, "the container runs",
				func() bool { _, err := os.Stat(file); return err == nil || statusOf(t, r, id).Ended() })
		}
		if ran, _ := os.ReadFile(file); strings.Count(string(ran), "ran") > 1 {
			t.Errorf("%s ran %d times", id, strings.Count(string(ran), "ran"))
		}
		if err := r.Remove(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	all, err := procfs.Processes()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID))
		if strings.Contains(string(cmdline), folder) {
			t.Errorf("process %d still runs: %q", p.PID, cmdline)
		}
	}
}

// killSupervisor kills the supervisor of a runtime, and waits until it has ended.
func killSupervisor(t *testing.T, r *Runtime) {
	t.Helper()
	pid := supervisorPID(t, r.config.Dir)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the supervisor has ended", func() bool { return ended(pid) })
}
