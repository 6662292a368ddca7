package docker

import (
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/test/harness"
)

// server is a server whose tasks are containers.
type server struct {
	*harness.Server
	engine *engine
	flags  []string
}

// serve starts a server on the machine's engine.
func serve(t testing.TB, flags ...string) *server {
	t.Helper()
	harness.RequireEngine(t)
	return shared.serve(t, flags...)
}

func (e *engine) serve(t testing.TB, flags ...string) *server {
	t.Helper()
	return e.serveOn(t, e.dataFolder(t), flags...)
}

// serveOn starts a server on a data folder.
func (e *engine) serveOn(t testing.TB, dir string, flags ...string) *server {
	t.Helper()
	s, err := e.start(t, dir, flags...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// start is serveOn; an error says how the server ended.
func (e *engine) start(t testing.TB, dir string, flags ...string) (*server, error) {
	t.Helper()
	args := append([]string{"serve", "--data", dir, "--api", "127.0.0.1:0", "--dns", "127.0.0.1:0", "--node", "test", "--runtime", "docker"}, flags...)
	cmd := exec.Command(harness.BuiltBinary(t), args...)
	cmd.Env = append(harness.UserEnviron(), "XDG_RUNTIME_DIR="+dir)
	if e.Host != "" {
		cmd.Env = append(cmd.Env, "DOCKER_HOST="+e.Host)
	}
	s := &server{harness.NewServer(t, dir, cmd), e, flags}
	return s, s.Launch()
}

// again kills the server, as a power cut would, and starts the next on its folder.
func (s *server) again() *server {
	s.T.Helper()
	s.Kill()
	return s.engine.serveOn(s.T, s.Dir, s.flags...)
}

// sampleImage is made by the runtime out of its own binary.
const sampleImage = "rollcall/sample"

// container is one of an image, which runs a command.
func container(name, image string, command ...string) ecstypes.ContainerDefinition {
	c := ecstypes.ContainerDefinition{Name: &name, Image: &image, Command: command, Memory: aws.Int32(128)}
	if image != sampleImage { // what is the first process of its container does not mind SIGTERM
		c.StopTimeout = aws.Int32(2)
	}
	return c
}

// task is a definition of containers that share an address.
func task(family string, containers ...ecstypes.ContainerDefinition) *ecs.RegisterTaskDefinitionInput {
	return &ecs.RegisterTaskDefinitionInput{Family: &family, NetworkMode: ecstypes.NetworkModeAwsvpc, ContainerDefinitions: containers}
}

// sample is one of the samples, healthy as soon as its first check has passed.
func sample(family, program string) *ecs.RegisterTaskDefinitionInput {
	main := container("main", sampleImage, "rollcall", "sample", program)
	main.PortMappings = []ecstypes.PortMapping{{ContainerPort: aws.Int32(5000)}}
	main.HealthCheck = &ecstypes.HealthCheck{
		Command:  []string{"CMD", "rollcall", "sample", "check", "http://$ROLLCALL_ADDRESS:$ROLLCALL_PORT_5000/health"},
		Interval: aws.Int32(5), Timeout: aws.Int32(20), Retries: aws.Int32(3),
	}
	return task(family, main)
}

// unchecked is the sample worker without a health check: it is answered once it runs.
func unchecked(family string) *ecs.RegisterTaskDefinitionInput {
	in := sample(family, "flask-worker")
	in.ContainerDefinitions[0].HealthCheck = nil
	return in
}

// running are a service's tasks that shall run.
func (s *server) running(service string) []ecstypes.Task {
	s.T.Helper()
	return s.Tasks(service, ecstypes.DesiredStatusRunning)
}

// id is the engine's of a task's container.
func id(t ecstypes.Task, container string) string {
	for _, c := range t.Containers {
		if aws.ToString(c.Name) == container {
			return aws.ToString(c.RuntimeId)
		}
	}
	return ""
}

// address is a task's.
func address(t ecstypes.Task) netip.Addr {
	a, _ := netip.ParseAddr(harness.Address(t))
	return a
}

// answers are what DNS answers for a name.
func (s *server) answers(name string, want ...netip.Addr) bool {
	s.T.Helper()
	got := s.Lookup(name)
	for _, a := range want {
		if !got[a] {
			return false
		}
	}
	return len(got) == len(want)
}

// without waits until an address has left the answers of a name.
func (s *server) without(name string, gone netip.Addr, within time.Duration) {
	s.T.Helper()
	began := time.Now()
	harness.Eventually(s.T, within, gone.String()+" is answered for "+name+" no more", func() bool { return !s.Lookup(name)[gone] })
	s.T.Logf("%s had left the answers after %v", gone, time.Since(began).Round(time.Millisecond))
}

// stopped waits until a task has stopped, and describes it.
func (s *server) stopped(task ecstypes.Task) (now ecstypes.Task) {
	s.T.Helper()
	harness.Eventually(s.T, time.Minute, "task "+harness.TaskID(task)+" has stopped", func() bool {
		now = s.task(*task.TaskArn)
		return aws.ToString(now.LastStatus) == "STOPPED"
	})
	return now
}

// task describes one.
func (s *server) task(arn string) ecstypes.Task {
	s.T.Helper()
	out := harness.Must(s.ECS().DescribeTasks(s.T.Context(), &ecs.DescribeTasksInput{Tasks: []string{arn}}))(s.T)
	if len(out.Tasks) != 1 {
		s.T.Fatalf("task %s: %s", arn, harness.AsJSON(out.Failures))
	}
	return out.Tasks[0]
}

// start runs one task of a definition and waits until it runs, or has stopped.
func (s *server) start(in *ecs.RegisterTaskDefinitionInput) (now ecstypes.Task) {
	s.T.Helper()
	s.RegisterDefinition(in)
	run := &ecs.RunTaskInput{TaskDefinition: in.Family}
	if in.NetworkMode == ecstypes.NetworkModeAwsvpc {
		run.NetworkConfiguration = harness.AWSVPC()
	}
	out := harness.Must(s.ECS().RunTask(s.T.Context(), run))(s.T)
	if len(out.Tasks) != 1 {
		s.T.Fatalf("run %s: %s", *in.Family, harness.AsJSON(out.Failures))
	}
	harness.Eventually(s.T, time.Minute, "a task of "+*in.Family+" runs, or has ended", func() bool {
		now = s.task(*out.Tasks[0].TaskArn)
		return *now.LastStatus == "RUNNING" || *now.LastStatus == "STOPPED"
	})
	return now
}

// said says whether one of a service's events has a text.
func (s *server) said(service, text string) bool {
	s.T.Helper()
	for _, e := range s.DescribeService(service).Events {
		if strings.Contains(*e.Message, text) {
			return true
		}
	}
	return false
}

// replaced waits until a service runs n tasks, none of which is the one given, and DNS answers exactly them.
func (s *server) replaced(service, name string, n int, old ecstypes.Task) {
	s.T.Helper()
	harness.Eventually(s.T, time.Minute, "the task of "+service+" is replaced, in DNS too", func() bool {
		var want []netip.Addr
		for _, t := range s.running(service) {
			if *t.TaskArn == *old.TaskArn || *t.LastStatus != "RUNNING" {
				return false
			}
			want = append(want, address(t))
		}
		return len(want) == n && s.answers(name, want...)
	})
}

// logs is what `rollcall logs` shows of a task.
func (s *server) logs(task ecstypes.Task) string {
	s.T.Helper()
	cmd := exec.Command(harness.BuiltBinary(s.T), "logs", "--data", s.Dir, harness.TaskID(task))
	cmd.Env = append(harness.UserEnviron(), "XDG_RUNTIME_DIR="+s.Dir)
	out, _ := cmd.CombinedOutput()
	return string(out)
}

// diskUsage is what a folder takes of the disk, in bytes.
func diskUsage(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			if os.IsNotExist(err) {
				return nil // it has just gone
			}
			return err
		}
		if info, err := d.Info(); err == nil {
			sum += info.Size()
		}
		return nil
	})
	return sum, err
}
