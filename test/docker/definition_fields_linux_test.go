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

// TestFields: one task of many containers that uses most of what a definition can say, looked at from inside.
func TestFields(t *testing.T) {
	t.Parallel()
	image := clients(t)
	s := serve(t)
	file := filepath.Join(s.Dir, "files/conf/app.env")
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte("FROM_FILE=yes\nBOTH=file\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	hostDir := t.TempDir()

	first := container("first", image, "sh", "-c", "echo made > /data/first && chmod 644 /data/first && echo host > /host/file")
	first.Essential = aws.Bool(false)
	first.MountPoints = []ecstypes.MountPoint{{SourceVolume: aws.String("data"), ContainerPath: aws.String("/data")}, {SourceVolume: aws.String("host"), ContainerPath: aws.String("/host")}}

	app := container("app", image)
	app.EntryPoint, app.Command = []string{"sh", "-c"}, []string{`test -e /data/first && echo "started in $PWD" && exec sleep 100000`}
	app.DependsOn = []ecstypes.ContainerDependency{{ContainerName: aws.String("first"), Condition: ecstypes.ContainerConditionSuccess}}
	app.MountPoints = []ecstypes.MountPoint{{SourceVolume: aws.String("data"), ContainerPath: aws.String("/data"), ReadOnly: aws.Bool(true)}}
	app.User, app.WorkingDirectory = aws.String("1000:2000"), aws.String("/tmp")
	app.Environment = []ecstypes.KeyValuePair{{Name: aws.String("GREETING"), Value: aws.String("hello")}, {Name: aws.String("BOTH"), Value: aws.String("environment")}}
	app.EnvironmentFiles = []ecstypes.EnvironmentFile{{Type: ecstypes.EnvironmentFileTypeS3, Value: aws.String("arn:aws:s3:::conf/app.env")}}
	app.Ulimits = []ecstypes.Ulimit{{Name: ecstypes.UlimitNameNofile, SoftLimit: 333, HardLimit: 444}}
	app.ReadonlyRootFilesystem = aws.Bool(true)
	app.DockerLabels = map[string]string{"org.example.team": "shop"}
	app.Cpu, app.Memory, app.MemoryReservation = 128, aws.Int32(96), aws.Int32(48)
	app.LinuxParameters = &ecstypes.LinuxParameters{
		InitProcessEnabled: aws.Bool(true), Capabilities: &ecstypes.KernelCapabilities{Drop: []string{"NET_RAW"}, Add: []string{"SYS_PTRACE"}},
		Tmpfs: []ecstypes.Tmpfs{{ContainerPath: aws.String("/scratch"), Size: 8, MountOptions: []string{"rw", "noexec"}}}, SharedMemorySize: aws.Int32(32),
	}
	app.HealthCheck = &ecstypes.HealthCheck{Command: []string{"CMD-SHELL", "test -e /data/first"}, Interval: aws.Int32(5)}

	last := container("last", image, "sleep", "100000")
	last.DependsOn = []ecstypes.ContainerDependency{{ContainerName: aws.String("app"), Condition: ecstypes.ContainerConditionHealthy}}
	last.VolumesFrom = []ecstypes.VolumeFrom{{SourceContainer: aws.String("app"), ReadOnly: aws.Bool(true)}}

	in := task("fields", first, app, last)
	in.Volumes = []ecstypes.Volume{{Name: aws.String("data")}, {Name: aws.String("host"), Host: &ecstypes.HostVolumeProperties{SourcePath: &hostDir}}}
	many := s.start(in)
	if *many.LastStatus != "RUNNING" {
		t.Fatalf("the task is %s", harness.AsJSON(many))
	}
	a, l := id(many, "app"), id(many, "last")
	in1 := func(command ...string) string { t.Helper(); return shared.Exec(t, a, command...) }
	for _, tc := range []struct{ what, got, want string }{
		{"the user", in1("id", "-u") + ":" + in1("id", "-g"), "1000:2000"},
		{"the working directory", in1("pwd"), "/tmp"},
		{"open files", in1("sh", "-c", "ulimit -Sn; ulimit -Hn"), "333\n444"},
		{"the environment", in1("sh", "-c", "echo $GREETING $FROM_FILE $BOTH"), "hello yes environment"},
		{"the volume", in1("cat", "/data/first"), "made"},
		{"the other's volumes", shared.Exec(t, l, "cat", "/data/first"), "made"},
		{"the root", in1("sh", "-c", "touch /new 2>/dev/null || echo read-only"), "read-only"},
		{"the volume that is read only", in1("sh", "-c", "touch /data/new 2>/dev/null || echo read-only"), "read-only"},
		{"shared memory", in1("sh", "-c", `while read -r d m t o x; do [ $m != /dev/shm ] || echo $o; done </proc/mounts | grep -o 'size=[0-9]*k'`), "size=32768k"},
		{"the label", shared.MustCommand(t, "inspect", "-f", `{{index .Config.Labels "org.example.team"}} {{index .Config.Labels "com.amazonaws.ecs.container-name"}}`, a), "shop app"},
		{"bounds", shared.MustCommand(t, "inspect", "-f", "{{.HostConfig.CpuShares}} {{.HostConfig.Memory}} {{.HostConfig.MemoryReservation}}", a), "128 100663296 50331648"},
		{"capabilities", shared.MustCommand(t, "inspect", "-f", "{{.HostConfig.CapDrop}} {{.HostConfig.CapAdd}}", a), "[NET_RAW] [SYS_PTRACE]"},
		{"init", shared.MustCommand(t, "inspect", "-f", "{{.HostConfig.Init}}", a), "true"},
		{"its log", strings.TrimSpace(s.logs(many)), "started in /tmp"},
	} {
		if got := strings.ReplaceAll(tc.got, "CAP_", ""); got != tc.want && !(tc.what == "its log" && strings.HasSuffix(got, tc.want)) {
			t.Errorf("%s: %q, want %q", tc.what, got, tc.want)
		}
	}
	if scratch := in1("sh", "-c", "grep /scratch /proc/mounts"); !strings.Contains(scratch, "noexec") || !strings.Contains(scratch, "size=8192k") {
		t.Errorf("the tmpfs is %s", scratch)
	}
	if text, err := os.ReadFile(filepath.Join(hostDir, "file")); err != nil || string(text) != "host\n" {
		t.Errorf("the host's folder has %q, %v", text, err)
	}
	// They share their address, and the first has ended well.
	if one, other := in1("sh", "-c", "cat /proc/net/fib_trie"), shared.Exec(t, l, "cat", "/proc/net/fib_trie"); one != other || !strings.Contains(one, address(many).String()) {
		t.Errorf("the containers' addresses are %q and %q", one, other)
	}
	i := slices.IndexFunc(many.Containers, func(c ecstypes.Container) bool { return *c.Name == "first" })
	if c := many.Containers[i]; c.ExitCode == nil || *c.ExitCode != 0 {
		t.Errorf("the first container is %s", harness.AsJSON(c))
	}
	volumes := "label=" + labelTask + "=" + harness.TaskID(many)
	if n := len(strings.Fields(shared.MustCommand(t, "volume", "ls", "-q", "--filter", volumes))); n != 1 {
		t.Errorf("the task has %d volumes", n)
	}
	s.stop(many)
	s.stopped(many)
	harness.Eventually(t, time.Minute, "containers and volume of a task that has stopped are gone", func() bool {
		return shared.MustCommand(t, "volume", "ls", "-q", "--filter", volumes)+shared.MustCommand(t, "ps", "-aq", "--filter", volumes) == ""
	})
}

// TestRestartPolicy: a container that has run for its period and ends is started again, in the task that it was.
func TestRestartPolicy(t *testing.T) {
	t.Parallel()
	image := clients(t)
	s := serve(t)
	dir := t.TempDir()
	main := container("main", image, "sh", "-c", "echo x >> /runs/log; sleep 62; exit 1") // 60 s is ECS's least
	main.RestartPolicy = &ecstypes.ContainerRestartPolicy{Enabled: aws.Bool(true), RestartAttemptPeriod: aws.Int32(60)}
	main.MountPoints = []ecstypes.MountPoint{{SourceVolume: aws.String("runs"), ContainerPath: aws.String("/runs")}}
	in := task("again", main)
	in.Volumes = []ecstypes.Volume{{Name: aws.String("runs"), Host: &ecstypes.HostVolumeProperties{SourcePath: &dir}}}
	again := s.start(in)
	harness.Eventually(t, 3*time.Minute, "the container is started again", func() bool {
		text, _ := os.ReadFile(filepath.Join(dir, "log"))
		return string(text) == "x\nx\n"
	})
	if now := s.task(*again.TaskArn); *now.LastStatus != "RUNNING" || address(now) != address(again) {
		t.Errorf("the task is %s", harness.AsJSON(now))
	}
}

// eater waits for somebody to tell it, and then takes more memory than it may have.
const eater = `import os, time
while not os.path.exists("/tmp/eat"): time.sleep(0.05)
b = b"x" * 10**9`

// TestOutOfMemory: a container that takes more memory than it may leaves the answers, and ECS's words say why.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	image := clients(t)
	s := serve(t)
	greedy := container("main", image, "python3", "-c", eater)
	greedy.Memory = aws.Int32(32)
	s.CreateECSService("greedy", s.RegisterDefinition(task("greedy", greedy)), 1, s.CreateCloudMapService(s.CreateNamespace("corp"), "greedy", 1))
	s.WaitStable("greedy")
	victim := s.running("greedy")[0]
	shared.Exec(t, id(victim, "main"), "touch", "/tmp/eat")
	s.without("greedy.corp", address(victim), 20*time.Second)
	s.replaced("greedy", "greedy.corp", 1, victim)
	if ended := s.stopped(victim); !strings.Contains(aws.ToString(ended.Containers[0].Reason), "OutOfMemoryError") || aws.ToInt32(ended.Containers[0].ExitCode) != 137 {
		t.Errorf("the task ended as %s: %s", ended.StopCode, harness.AsJSON(ended.Containers))
	}
}

// TestNameClash: somebody else's container has the name that a task's would get: it is left alone, and the task runs or
// says why not.
func TestNameClash(t *testing.T) {
	t.Parallel()
	image := clients(t)
	s := serve(t)
	first := s.start(unchecked("clash"))
	name := strings.TrimPrefix(shared.MustCommand(t, "inspect", "-f", "{{.Name}}", id(first, "main")), "/")
	if !strings.HasPrefix(name, "ecs-clash-1-main-") || !strings.HasSuffix(name, harness.TaskID(first)[:20]) {
		t.Errorf("the container is called %s", name)
	}
	// The one whose name it was is gone, and somebody else takes it, before the server sees either.
	s.Kill()
	shared.MustCommand(t, "rm", "-f", id(first, "main"))
	other := shared.MustCommand(t, "run", "-d", "--name", name, "--network", "none", "--label", labelData+".test="+s.Dir, image, "sleep", "100000")
	t.Cleanup(func() { shared.TryCommand("rm", "-f", other) })
	s = shared.serveOn(t, s.Dir)
	ended := s.stopped(first)
	t.Logf("the task stopped as %s: %s %s", ended.StopCode, aws.ToString(ended.StoppedReason), aws.ToString(ended.Containers[0].Reason))
	if state := shared.MustCommand(t, "inspect", "-f", "{{.State.Status}} {{.ID}}", name); state != "running "+other {
		t.Errorf("somebody else's container is %s", state)
	}
}

// TestLinks: in bridge mode containers of a task find each other by links, and have names, hosts and resolvers as the
// definition says.
func TestLinks(t *testing.T) {
	t.Parallel()
	image := clients(t)
	s := serve(t)
	db := container("db", image, "busybox", "httpd", "-f", "-p", "80", "-h", "/etc")
	web := container("web", image, "sleep", "100000")
	web.Links = []string{"db:database"}
	web.Hostname = aws.String("front")
	web.ExtraHosts = []ecstypes.HostEntry{{Hostname: aws.String("legacy"), IpAddress: aws.String("192.0.2.7")}}
	web.DnsSearchDomains = []string{"corp"}
	in := task("pair", db, web)
	in.NetworkMode = ecstypes.NetworkModeBridge
	s.CreateECSService("worker", s.RegisterDefinition(unchecked("worker")), 1, s.CreateCloudMapService(s.CreateNamespace("corp"), "worker", 5))
	s.WaitStable("worker")
	pair := s.start(in)
	c := id(pair, "web")
	if got := shared.Exec(t, c, "wget", "-q", "-O", "-", "http://database/hostname"); got == "" {
		t.Error("the link leads nowhere")
	}
	if got := shared.Exec(t, c, "cat", "/proc/sys/kernel/hostname"); got != "front" {
		t.Errorf("hostname is %s", got)
	}
	if got := shared.Exec(t, c, "getent", "hosts", "legacy"); !strings.HasPrefix(got, "192.0.2.7 ") {
		t.Errorf("legacy is %s", got)
	}
	found, _ := s.lookup(c, "python", "worker") // by the search domain
	if want := address(s.running("worker")[0]).String(); !slices.Equal(found, []string{want}) {
		t.Errorf("worker is %q, want %s", found, want)
	}
}

// stop stops a task by hand.
func (s *server) stop(task ecstypes.Task) {
	s.T.Helper()
	harness.Must(s.ECS().StopTask(s.T.Context(), &ecs.StopTaskInput{Task: task.TaskArn}))(s.T)
}
