package docker

import (
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/test/harness"
)

// TestTasksThatCannotRun runs tasks that cannot start or that exit. They must stop with ECS's reasons, and an event
// must report an image that cannot be pulled. DNS must not answer with tasks that did not start, and other tasks must
// not be disturbed.
func TestTasksThatCannotRun(t *testing.T) {
	t.Parallel()
	image := clientsImage(t)
	s := serve(t)
	corp := s.CreateNamespace("corp")
	s.CreateECSService("good", s.RegisterDefinition(unchecked("good")), 1, s.CreateCloudMapService(corp, "good", 1))
	s.WaitStable("good")
	good := s.running("good")
	for name, c := range map[string]ecstypes.ContainerDefinition{
		"absent": container("main", "127.0.0.1:1/nowhere/nothing:1", "true"),
		"entry":  container("main", image, "/no/such/program"),
		"exits":  container("main", image, "sh", "-c", "exit 3"),
	} {
		s.CreateECSService(name, s.RegisterDefinition(task(name, c)), 1, s.CreateCloudMapService(corp, name, 1))
	}
	for name, want := range map[string]struct {
		reason, event string
		code          ecstypes.TaskStopCode
		exit          int32
	}{
		"absent": {"CannotPullContainerError: ", "CannotPullContainerError", ecstypes.TaskStopCodeTaskFailedToStart, 0},
		"entry":  {"ContainerRuntimeError|CannotStartContainerError: ", "", ecstypes.TaskStopCodeTaskFailedToStart, 0},
		"exits":  {"", "", ecstypes.TaskStopCodeEssentialContainerExited, 3},
	} {
		var ended ecstypes.Task
		harness.Eventually(t, time.Minute, "a task of "+name+" has stopped", func() bool {
			stopped := s.Tasks(name, ecstypes.DesiredStatusStopped)
			if len(stopped) == 0 {
				return false
			}
			ended = stopped[0]
			return *ended.LastStatus == "STOPPED"
		})
		why := aws.ToString(ended.StoppedReason) + " " + aws.ToString(ended.Containers[0].Reason)
		matches := false
		for part := range strings.SplitSeq(want.reason, "|") {
			matches = matches || strings.Contains(why, part)
		}
		if ended.StopCode != want.code || !matches || aws.ToInt32(ended.Containers[0].ExitCode) != want.exit {
			t.Errorf("%s: the task stopped as %s, %s", name, ended.StopCode, harness.AsJSON(ended))
		}
		if want.event != "" {
			harness.Eventually(t, time.Minute, "an event of "+name+" contains "+want.event,
				func() bool { return s.hasEvent(name, want.event) })
		}
		if name != "exits" && len(s.Lookup(name+".corp")) > 0 {
			t.Errorf("the answer for %s is %v, want none", name, s.Lookup(name+".corp"))
		}
		s.SetDesiredCount(name, 0)
	}
	if !s.answers("good.corp", address(good[0])) {
		t.Errorf("the answer for good.corp is %v", s.Lookup("good.corp"))
	}
	s.checkSame(good, s.running("good"))
}

// TestLogFlood runs a container that prints as fast as it can. It must use a bounded part of the disk, and must not
// delay other tasks.
func TestLogFlood(t *testing.T) {
	t.Parallel()
	image := clientsImage(t)
	s := serve(t)
	flood := container("main", image, "sh", "-c",
		`yes "all work and no play makes a log too long" | head -c 40000000; exec sleep 100000`)
	tell := container("main", image, "sh", "-c", "echo hello from inside; exec sleep 100000")
	noisy := s.start(task("flood", flood))
	s.CreateECSService("worker", s.RegisterDefinition(unchecked("worker")), 1,
		s.CreateCloudMapService(s.CreateNamespace("corp"), "worker", 1))
	quiet := s.start(task("tell", tell))
	s.WaitStable("worker")
	worker := s.running("worker")[0]
	harness.Eventually(t, time.Minute, "the output of the other task can be read",
		func() bool { return strings.Contains(s.logs(quiet), "hello from inside\n") })
	if !s.answers("worker.corp", address(worker)) {
		t.Errorf("the answer for worker.corp is %v", s.Lookup("worker.corp"))
	}
	s.checkSame([]ecstypes.Task{noisy}, []ecstypes.Task{s.describe(*noisy.TaskArn)})
	if !strings.Contains(s.logs(noisy), "all work and no play") {
		t.Error("the output of the flooding task cannot be read")
	}
	if mib := harness.Must(diskUsage(filepath.Join(s.Dir, "logs")))(t) >> 20; mib > 60 {
		t.Errorf("the logs have grown to %d MiB, want at most 60", mib)
	}
	if _, err := s.ECS().StopTask(t.Context(), &ecs.StopTaskInput{Task: noisy.TaskArn}); err != nil {
		t.Fatal(err)
	}
	s.waitStopped(noisy)
}

// TestHostPortTaken runs a task with a host port that another program uses. The task must not start, and an event of
// its service must report it.
func TestHostPortTaken(t *testing.T) {
	t.Parallel()
	harness.RequireEngine(t)
	s := serve(t)
	taken := harness.Must(net.Listen("tcp", "0.0.0.0:0"))(t)
	defer taken.Close()
	port := int32(taken.Addr().(*net.TCPAddr).Port)
	in := unchecked("taken")
	in.NetworkMode = ecstypes.NetworkModeBridge
	in.ContainerDefinitions[0].PortMappings[0].HostPort = &port
	definition := s.RegisterDefinition(in)
	create := &ecs.CreateServiceInput{ServiceName: in.Family, TaskDefinition: &definition, DesiredCount: aws.Int32(1)}
	harness.Must(s.ECS().CreateService(t.Context(), create))(t)
	harness.Eventually(t, time.Minute, "an event reports that the port is in use", func() bool {
		for _, e := range s.DescribeService("taken").Events {
			if strings.Contains(*e.Message, "port") {
				t.Log(*e.Message)
				return true
			}
		}
		return false
	})
	taken.Close()
	harness.Eventually(t, 2*time.Minute, "the task runs when the port is free",
		func() bool { return s.DescribeService("taken").RunningCount == 1 })
}

// TestOverlappingNetwork starts a server with a VPC whose network the machine already has. The server must not start,
// and the last line of its output must name the network.
func TestOverlappingNetwork(t *testing.T) {
	t.Parallel()
	harness.RequireEngine(t)
	const existing = "10.217.77.0/24"
	name := folders + "overlap"
	shared.TryCommand("network", "rm", name)
	shared.MustCommand(t, "network", "create", "--subnet", existing, name)
	t.Cleanup(func() { shared.MustCommand(t, "network", "rm", name) })
	watch := harness.StartStopwatch()
	s, err := shared.start(t, shared.dataFolder(t), "--vpc", "vpc-local="+existing+",subnet-local")
	if err == nil {
		t.Fatal("the server started with a network that already exists")
	}
	lines := strings.Split(strings.TrimSpace(s.Out.String()), "\n")
	last := lines[len(lines)-1]
	for _, part := range []string{"--vpc", existing, name} {
		if !strings.Contains(last, part) {
			t.Errorf("the last line does not name %s: %s", part, last)
		}
	}
	if code := s.Cmd.ProcessState.ExitCode(); code != 1 || watch.Unstalled() > 30*time.Second {
		t.Errorf("status %d after %v, want 1 within 30 s", code, watch.Elapsed())
	}
	// In a larger VPC the server uses a part that is free.
	s = shared.serve(t, "--vpc", "vpc-local=10.217.0.0/16,subnet-local")
	one := s.start(unchecked("worker"))
	if a := address(one); !netip.MustParsePrefix("10.217.0.0/16").Contains(a) ||
		netip.MustParsePrefix(existing).Contains(a) {
		t.Errorf("the task's address is %v", a)
	}
}
