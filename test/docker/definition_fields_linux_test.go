package docker

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/test/harness"
)

// fieldsDefinition returns a definition with most fields of a task and of a container.
func fieldsDefinition(image, hostDir string) *ecs.RegisterTaskDefinitionInput {
	first := container("first", image, "sh", "-c",
		"echo made > /data/first && chmod 644 /data/first && echo host > /host/file")
	first.Essential = aws.Bool(false)
	first.MountPoints = []ecstypes.MountPoint{{SourceVolume: aws.String("data"), ContainerPath: aws.String("/data")},
		{SourceVolume: aws.String("host"), ContainerPath: aws.String("/host")}}

	app := container("app", image)
	app.EntryPoint = []string{"sh", "-c"}
	app.Command = []string{`test -e /data/first && echo "started in $PWD" && exec sleep 100000`}
	app.DependsOn = []ecstypes.ContainerDependency{{ContainerName: aws.String("first"),
		Condition: ecstypes.ContainerConditionSuccess}}
	app.MountPoints = []ecstypes.MountPoint{{SourceVolume: aws.String("data"), ContainerPath: aws.String("/data"),
		ReadOnly: aws.Bool(true)}}
	app.User, app.WorkingDirectory = aws.String("1000:2000"), aws.String("/tmp")
	app.Environment = []ecstypes.KeyValuePair{{Name: aws.String("GREETING"), Value: aws.String("hello")},
		{Name: aws.String("BOTH"), Value: aws.String("environment")}}
	app.EnvironmentFiles = []ecstypes.EnvironmentFile{
		{Type: ecstypes.EnvironmentFileTypeS3, Value: aws.String("arn:aws:s3:::conf/app.env")}}
	app.Ulimits = []ecstypes.Ulimit{{Name: ecstypes.UlimitNameNofile, SoftLimit: 333, HardLimit: 444}}
	app.ReadonlyRootFilesystem = aws.Bool(true)
	app.DockerLabels = map[string]string{"org.example.team": "shop"}
	app.Cpu, app.Memory, app.MemoryReservation = 128, aws.Int32(96), aws.Int32(48)
	app.LinuxParameters = &ecstypes.LinuxParameters{
		InitProcessEnabled: aws.Bool(true), Capabilities: &ecstypes.KernelCapabilities{Drop: []string{"NET_RAW"},
			Add: []string{"SYS_PTRACE"}},
		Tmpfs: []ecstypes.Tmpfs{{
			ContainerPath: aws.String("/scratch"), Size: 8, MountOptions: []string{"rw", "noexec"}}},
		SharedMemorySize: aws.Int32(32),
	}
	app.HealthCheck = &ecstypes.HealthCheck{Command: []string{"CMD-SHELL", "test -e /data/first"},
		Interval: aws.Int32(5)}

	last := container("last", image, "sleep", "100000")
	last.DependsOn = []ecstypes.ContainerDependency{{ContainerName: aws.String("app"),
		Condition: ecstypes.ContainerConditionHealthy}}
	last.VolumesFrom = []ecstypes.VolumeFrom{{SourceContainer: aws.String("app"), ReadOnly: aws.Bool(true)}}

	in := task("fields", first, app, last)
	in.Volumes = []ecstypes.Volume{{Name: aws.String("data")},
		{Name: aws.String("host"), Host: &ecstypes.HostVolumeProperties{SourcePath: &hostDir}}}
	return in
}

// TestDefinitionFields runs a task with several containers that uses most fields of a task definition, and checks their
// effect from inside the containers.
func TestDefinitionFields(t *testing.T) {
	t.Parallel()
	image := clientsImage(t)
	s := serve(t)
	file := filepath.Join(s.Dir, "files/conf/app.env")
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700),
		os.WriteFile(file, []byte("FROM_FILE=yes\nBOTH=file\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	hostDir := t.TempDir()

	many := s.start(fieldsDefinition(image, hostDir))
	if *many.LastStatus != "RUNNING" {
		t.Fatalf("the task is %s", harness.AsJSON(many))
	}
	a, l := id(many, "app"), id(many, "last")
	inApp := func(command ...string) string { t.Helper(); return shared.Exec(t, a, command...) }
	for _, tc := range []struct{ what, got, want string }{
		{"the user", inApp("id", "-u") + ":" + inApp("id", "-g"), "1000:2000"},
		{"the working directory", inApp("pwd"), "/tmp"},
		{"open files", openFilesLimit(t, a), "333 444"},
		{"the environment", inApp("sh", "-c", "echo $GREETING $FROM_FILE $BOTH"), "hello yes environment"},
		{"the volume", inApp("cat", "/data/first"), "made"},
		{"the volumes of another container", shared.Exec(t, l, "cat", "/data/first"), "made"},
		{"the root file system", inApp("sh", "-c", "touch /new 2>/dev/null || echo read-only"), "read-only"},
		{"the read-only volume", inApp("sh", "-c", "touch /data/new 2>/dev/null || echo read-only"), "read-only"},
		{"shared memory",
			inApp("sh", "-c", `while read -r d m t o x; do [ $m != /dev/shm ] || echo $o; done </proc/mounts |
				grep -o 'size=[0-9]*k'`),
			"size=32768k"},
		{"the label",
			shared.MustCommand(t, "inspect", "-f",
				`{{index .Config.Labels "org.example.team"}} `+
					`{{index .Config.Labels "com.amazonaws.ecs.container-name"}}`, a),
			"shop app"},
		{"CPU and memory",
			shared.MustCommand(t, "inspect", "-f",
				"{{.HostConfig.CpuShares}} {{.HostConfig.Memory}} {{.HostConfig.MemoryReservation}}", a),
			"128 100663296 50331648"},
		{"capabilities", shared.MustCommand(t, "inspect", "-f", "{{.HostConfig.CapDrop}} {{.HostConfig.CapAdd}}", a),
			"[NET_RAW] [SYS_PTRACE]"},
		{"init", shared.MustCommand(t, "inspect", "-f", "{{.HostConfig.Init}}", a), "true"},
	} {
		if got := strings.ReplaceAll(tc.got, "CAP_", ""); got != tc.want { // some engines add the prefix
			t.Errorf("%s: %q, want %q", tc.what, got, tc.want)
		}
	}
	if log := s.logs(many); !strings.HasSuffix(log, "started in /tmp\n") {
		t.Errorf("the log is %q", log)
	}
	if scratch := inApp("sh", "-c", "grep /scratch /proc/mounts"); !strings.Contains(scratch, "noexec") ||
		!strings.Contains(scratch, "size=8192k") {
		t.Errorf("the tmpfs is %s, want 8 MiB and noexec", scratch)
	}
	if text, err := os.ReadFile(filepath.Join(hostDir, "file")); err != nil || string(text) != "host\n" {
		t.Errorf("the file in the host folder has %q, %v", text, err)
	}
	// The containers share their network, and the first has exited with 0.
	one, other := inApp("cat", "/proc/net/fib_trie"), shared.Exec(t, l, "cat", "/proc/net/fib_trie")
	if one != other || !strings.Contains(one, address(many).String()) {
		t.Errorf("the containers' addresses are %q and %q, want the same", one, other)
	}
	i := slices.IndexFunc(many.Containers, func(c ecstypes.Container) bool { return *c.Name == "first" })
	if c := many.Containers[i]; c.ExitCode == nil || *c.ExitCode != 0 {
		t.Errorf("the first container is %s, want exit code 0", harness.AsJSON(c))
	}
	volumes := "label=" + labelTask + "=" + harness.TaskID(many)
	if n := len(strings.Fields(shared.MustCommand(t, "volume", "ls", "-q", "--filter", volumes))); n != 1 {
		t.Errorf("the task has %d volumes, want 1", n)
	}
	s.stopTask(many)
	s.waitStopped(many)
	harness.Eventually(t, time.Minute, "the containers and the volume of the stopped task are removed", func() bool {
		return shared.MustCommand(t, "volume", "ls", "-q", "--filter", volumes) == "" &&
			shared.MustCommand(t, "ps", "-aq", "--filter", volumes) == ""
	})
}

// openFilesLimit returns the soft and the hard limit on open files of a container's main process. It reads them from
// outside: a process that `docker exec` starts does not always have the limits of the container (runc 1.1).
func openFilesLimit(t *testing.T, container string) string {
	t.Helper()
	pid := shared.MustCommand(t, "inspect", "-f", "{{.State.Pid}}", container)
	limits := harness.Must(os.ReadFile("/proc/" + pid + "/limits"))(t)
	for line := range strings.Lines(string(limits)) {
		if values, ok := strings.CutPrefix(line, "Max open files"); ok {
			fields := strings.Fields(values) // 333 444 files
			return strings.Join(fields[:2], " ")
		}
	}
	t.Fatalf("no limit on open files in %s", limits)
	return ""
}

// TestRestartPolicy runs a container that ends after its restart period. It must be started again, in the same task.
func TestRestartPolicy(t *testing.T) {
	t.Parallel()
	image := clientsImage(t)
	s := serve(t)
	dir := t.TempDir()
	// 60 s is the shortest period that ECS accepts
	main := container("main", image, "sh", "-c", "echo x >> /runs/log; sleep 62; exit 1")
	main.RestartPolicy = &ecstypes.ContainerRestartPolicy{Enabled: aws.Bool(true), RestartAttemptPeriod: aws.Int32(60)}
	main.MountPoints = []ecstypes.MountPoint{{SourceVolume: aws.String("runs"), ContainerPath: aws.String("/runs")}}
	in := task("again", main)
	in.Volumes = []ecstypes.Volume{{Name: aws.String("runs"), Host: &ecstypes.HostVolumeProperties{SourcePath: &dir}}}
	again := s.start(in)
	harness.Eventually(t, 3*time.Minute, "the container has started again", func() bool {
		text, _ := os.ReadFile(filepath.Join(dir, "log"))
		return string(text) == "x\nx\n"
	})
	if now := s.describe(*again.TaskArn); *now.LastStatus != "RUNNING" || address(now) != address(again) {
		t.Errorf("the task is %s", harness.AsJSON(now))
	}
}

// eater waits for a file, and then allocates more memory than its container may use.
const eater = `import os, time
while not os.path.exists("/tmp/eat"): time.sleep(0.05)
b = b"x" * 10**9`

// TestOutOfMemory runs a container that exceeds its memory limit. The task must leave the answers, and stop with ECS's
// reason.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	image := clientsImage(t)
	s := serve(t)
	greedy := container("main", image, "python3", "-c", eater)
	greedy.Memory = aws.Int32(32)
	s.CreateECSService("greedy", s.RegisterDefinition(task("greedy", greedy)), 1,
		s.CreateCloudMapService(s.CreateNamespace("corp"), "greedy", 1))
	s.WaitStable("greedy")
	victim := s.running("greedy")[0]
	shared.Exec(t, id(victim, "main"), "touch", "/tmp/eat")
	s.waitWithout("greedy.corp", address(victim), 20*time.Second)
	s.waitReplaced("greedy", "greedy.corp", 1, victim)
	ended := s.waitStopped(victim)
	if c := ended.Containers[0]; !strings.Contains(aws.ToString(c.Reason), "OutOfMemoryError") ||
		aws.ToInt32(c.ExitCode) != 137 {
		t.Errorf("the task ended as %s: %s", ended.StopCode, harness.AsJSON(ended.Containers))
	}
}

// TestContainerNameInUse removes a task's container while the server is down, and gives its name to another container.
// The server must leave that container alone, and stop the task.
func TestContainerNameInUse(t *testing.T) {
	t.Parallel()
	image := clientsImage(t)
	s := serve(t)
	first := s.start(unchecked("clash"))
	name := strings.TrimPrefix(shared.MustCommand(t, "inspect", "-f", "{{.Name}}", id(first, "main")), "/")
	if !strings.HasPrefix(name, "ecs-clash-1-main-") || !strings.HasSuffix(name, harness.TaskID(first)[:20]) {
		t.Errorf("the container has the name %s", name)
	}
	// While the server is down its container is removed, and another container gets the name.
	s.Kill()
	shared.MustCommand(t, "rm", "-f", id(first, "main"))
	foreign := shared.MustCommand(t, "run", "-d", "--name", name, "--network", "none", "--label",
		labelData+".test="+s.Dir, image, "sleep", "100000")
	t.Cleanup(func() { shared.TryCommand("rm", "-f", foreign) })
	s = shared.serveOn(t, s.Dir)
	ended := s.waitStopped(first)
	t.Logf("the task stopped as %s: %s %s", ended.StopCode, aws.ToString(ended.StoppedReason),
		aws.ToString(ended.Containers[0].Reason))
	if state := shared.MustCommand(t, "inspect", "-f", "{{.State.Status}} {{.ID}}", name); state != "running "+foreign {
		t.Errorf("the other container is %s, want running", state)
	}
}

// TestLinks checks links, hostnames, extra hosts and search domains of containers in bridge mode.
func TestLinks(t *testing.T) {
	t.Parallel()
	image := clientsImage(t)
	s := serve(t)
	db := container("db", image, "busybox", "httpd", "-f", "-p", "80", "-h", "/etc")
	web := container("web", image, "sleep", "100000")
	web.Links = []string{"db:database"}
	web.Hostname = aws.String("front")
	web.ExtraHosts = []ecstypes.HostEntry{{Hostname: aws.String("legacy"), IpAddress: aws.String("192.0.2.7")}}
	web.DnsSearchDomains = []string{"corp"}
	in := task("pair", db, web)
	in.NetworkMode = ecstypes.NetworkModeBridge
	s.CreateECSService("worker", s.RegisterDefinition(unchecked("worker")), 1,
		s.CreateCloudMapService(s.CreateNamespace("corp"), "worker", 5))
	s.WaitStable("worker")
	pair := s.start(in)
	c := id(pair, "web")
	if got := shared.Exec(t, c, "wget", "-q", "-O", "-", "http://database/hostname"); got == "" {
		t.Error("the linked container does not answer")
	}
	if got := shared.Exec(t, c, "cat", "/proc/sys/kernel/hostname"); got != "front" {
		t.Errorf("the hostname is %s, want front", got)
	}
	if got := shared.Exec(t, c, "getent", "hosts", "legacy"); !strings.HasPrefix(got, "192.0.2.7 ") {
		t.Errorf("the extra host legacy is %q", got)
	}
	found, _ := s.lookup(c, "python", "worker") // with the search domain
	if want := address(s.running("worker")[0]).String(); !slices.Equal(found, []string{want}) {
		t.Errorf("worker resolves to %q, want %s", found, want)
	}
}

// stopTask stops a task with StopTask.
func (s *server) stopTask(task ecstypes.Task) {
	s.T.Helper()
	harness.Must(s.ECS().StopTask(s.T.Context(), &ecs.StopTaskInput{Task: task.TaskArn}))(s.T)
}
