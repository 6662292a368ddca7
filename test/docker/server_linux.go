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

// serve starts a server on the engine, with a new data folder.
func (e *engine) serve(t testing.TB, flags ...string) *server {
	t.Helper()
	return e.serveOn(t, e.dataFolder(t), flags...)
}

// serveOn starts a server on an existing data folder.
func (e *engine) serveOn(t testing.TB, dir string, flags ...string) *server {
	t.Helper()
	s, err := e.start(t, dir, flags...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// start starts a server as serveOn does. It returns an error if the server ends instead of getting ready.
func (e *engine) start(t testing.TB, dir string, flags ...string) (*server, error) {
	t.Helper()
	args := append([]string{"serve", "--data", dir, "--api", "127.0.0.1:0", "--dns", "127.0.0.1:0", "--node", "test",
		"--runtime", "docker"}, flags...)
	cmd := exec.Command(harness.BuiltBinary(t), args...)
	cmd.Env = append(harness.UserEnviron(), "XDG_RUNTIME_DIR="+dir)
	if e.Host != "" {
		cmd.Env = append(cmd.Env, "DOCKER_HOST="+e.Host)
	}
	s := &server{harness.NewServer(t, dir, cmd), e, flags}
	return s, s.Launch()
}

// restartAfterKill kills the server with SIGKILL and starts another on its data folder.
func (s *server) restartAfterKill() *server {
	s.T.Helper()
	s.Kill()
	return s.engine.serveOn(s.T, s.Dir, s.flags...)
}

// sampleImage is the image that the runtime builds from its own binary.
const sampleImage = "rollcall/sample"

// container returns a container definition with an image and a command.
func container(name, image string, command ...string) ecstypes.ContainerDefinition {
	c := ecstypes.ContainerDefinition{Name: &name, Image: &image, Command: command, Memory: aws.Int32(128)}
	if image != sampleImage { // the first process of a container ignores SIGTERM by default
		c.StopTimeout = aws.Int32(2)
	}
	return c
}

// task returns a definition of containers that share a network.
func task(family string, containers ...ecstypes.ContainerDefinition) *ecs.RegisterTaskDefinitionInput {
	return &ecs.RegisterTaskDefinitionInput{Family: &family, NetworkMode: ecstypes.NetworkModeAwsvpc,
		ContainerDefinitions: containers}
}

// sample returns the definition of a sample service, which is healthy after its first check.
func sample(family, program string) *ecs.RegisterTaskDefinitionInput {
	main := container("main", sampleImage, "rollcall", "sample", program)
	main.PortMappings = []ecstypes.PortMapping{{ContainerPort: aws.Int32(5000)}}
	main.HealthCheck = &ecstypes.HealthCheck{
		Command:  []string{"CMD", "rollcall", "sample", "check", "http://$ROLLCALL_ADDRESS:$ROLLCALL_PORT_5000/health"},
		Interval: aws.Int32(5), Timeout: aws.Int32(20), Retries: aws.Int32(3),
	}
	return task(family, main)
}

// unchecked returns the definition of a sample worker without a health check. DNS answers with its tasks as soon as
// they run.
func unchecked(family string) *ecs.RegisterTaskDefinitionInput {
	in := sample(family, "flask-worker")
	in.ContainerDefinitions[0].HealthCheck = nil
	return in
}

// running returns a service's tasks whose desired status is RUNNING.
func (s *server) running(service string) []ecstypes.Task {
	s.T.Helper()
	return s.Tasks(service, ecstypes.DesiredStatusRunning)
}

// id returns the engine's id of a task's container.
func id(t ecstypes.Task, container string) string {
	for _, c := range t.Containers {
		if aws.ToString(c.Name) == container {
			return aws.ToString(c.RuntimeId)
		}
	}
	return ""
}

// address returns a task's address.
func address(t ecstypes.Task) netip.Addr {
	a, _ := netip.ParseAddr(harness.Address(t))
	return a
}

// answers reports whether the answer for a name has exactly the addresses in want.
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

// waitWithout waits until an address has left the answers for a name.
func (s *server) waitWithout(name string, gone netip.Addr, within time.Duration) {
	s.T.Helper()
	began := time.Now()
	harness.Eventually(s.T, within, gone.String()+" has left the answers for "+name,
		func() bool { return !s.Lookup(name)[gone] })
	s.T.Logf("%s left the answers after %v", gone, time.Since(began).Round(time.Millisecond))
}

// waitStopped waits until a task has stopped, and returns it.
func (s *server) waitStopped(task ecstypes.Task) (now ecstypes.Task) {
	s.T.Helper()
	harness.Eventually(s.T, time.Minute, "task "+harness.TaskID(task)+" has stopped", func() bool {
		now = s.describe(*task.TaskArn)
		return aws.ToString(now.LastStatus) == "STOPPED"
	})
	return now
}

// describe returns a task.
func (s *server) describe(arn string) ecstypes.Task {
	s.T.Helper()
	out := harness.Must(s.ECS().DescribeTasks(s.T.Context(), &ecs.DescribeTasksInput{Tasks: []string{arn}}))(s.T)
	if len(out.Tasks) != 1 {
		s.T.Fatalf("task %s: %s", arn, harness.AsJSON(out.Failures))
	}
	return out.Tasks[0]
}

// start runs a task of a definition, waits until it is running or stopped, and returns it.
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
	harness.Eventually(s.T, time.Minute, "a task of "+*in.Family+" is running or stopped", func() bool {
		now = s.describe(*out.Tasks[0].TaskArn)
		return *now.LastStatus == "RUNNING" || *now.LastStatus == "STOPPED"
	})
	return now
}

// hasEvent reports whether one of a service's events contains a text.
func (s *server) hasEvent(service, text string) bool {
	s.T.Helper()
	for _, e := range s.DescribeService(service).Events {
		if strings.Contains(*e.Message, text) {
			return true
		}
	}
	return false
}

// waitReplaced waits until a service has n running tasks without old, and DNS answers with exactly these.
func (s *server) waitReplaced(service, name string, n int, old ecstypes.Task) {
	s.T.Helper()
	harness.Eventually(s.T, time.Minute, "the task of "+service+" is replaced, also in DNS", func() bool {
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

// logs returns what `rollcall logs` prints for a task.
func (s *server) logs(task ecstypes.Task) string {
	s.T.Helper()
	cmd := exec.Command(harness.BuiltBinary(s.T), "logs", "--data", s.Dir, harness.TaskID(task))
	cmd.Env = append(harness.UserEnviron(), "XDG_RUNTIME_DIR="+s.Dir)
	out, _ := cmd.CombinedOutput()
	return string(out)
}

// diskUsage returns the size of the files below a folder, in bytes.
func diskUsage(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			if os.IsNotExist(err) {
				return nil // the file was removed meanwhile
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
