package docker

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/test/harness"
)

// privateEngine is a Docker Engine of a test's own, beside the machine's: with other folders, and without firewall rules,
// which the two would take from each other.
type privateEngine struct {
	engine
	t    *testing.T
	dir  string
	args []string
	cmd  *exec.Cmd
	done chan struct{}
}

// startEngine starts an engine, whose data is in root, or in a folder of its own where that is empty.
func startEngine(t *testing.T, root string, args ...string) *privateEngine {
	t.Helper()
	harness.RequireEngine(t)
	dockerd, err := exec.LookPath("dockerd")
	if err != nil {
		dockerd = "/usr/sbin/dockerd"
	}
	if _, err := os.Stat(dockerd); err != nil {
		harness.SkipMissing(t, "dockerd")
	}
	dir := harness.Must(os.MkdirTemp("", fmt.Sprintf("%s%d-", engineFolders, os.Getpid())))(t)
	if root == "" {
		root = filepath.Join(dir, "root")
	}
	e := &privateEngine{engine: engine{harness.Engine{Host: "unix://" + filepath.Join(dir, "docker.sock")}}, t: t, dir: dir}
	e.args = append([]string{
		dockerd, "--host", e.Host, "--data-root", root, "--exec-root", filepath.Join(dir, "exec"), "--pidfile", filepath.Join(dir, "pid"),
		"--bridge", "none", "--iptables=false", "--ip6tables=false",
	}, args...)
	t.Cleanup(e.end)
	e.start()
	return e
}

// start starts it (again) and waits until it answers.
func (e *privateEngine) start() {
	e.t.Helper()
	log := harness.Must(os.OpenFile(filepath.Join(e.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600))(e.t)
	defer log.Close()
	cmd, done := exec.Command(e.args[0], e.args[1:]...), make(chan struct{})
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	go func() {
		cmd.Wait()
		close(done)
	}()
	e.cmd, e.done = cmd, done
	harness.Eventually(e.t, time.Minute, "the engine answers", func() bool {
		select {
		case <-done:
			text, _ := os.ReadFile(log.Name())
			e.t.Fatalf("the engine ended: %v:\n%s", cmd.ProcessState, text)
		default:
		}
		_, err := e.TryCommand("version")
		return err == nil
	})
}

// stop ends it as a restart does: with its containers, unless it is told to keep them (live-restore).
func (e *privateEngine) stop() {
	e.t.Helper()
	e.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-e.done:
	case <-time.After(time.Minute):
		e.cmd.Process.Kill()
		<-e.done
		e.t.Error("the engine did not stop within a minute")
	}
}

// end removes all of it.
func (e *privateEngine) end() {
	if e.done != nil {
		select {
		case <-e.done:
		default:
			if ids, err := e.TryCommand("ps", "-aq"); err == nil && ids != "" {
				e.TryCommand(append([]string{"rm", "-fv"}, strings.Fields(ids)...)...)
			}
			e.stop()
		}
	}
	if e.t.Failed() {
		text, _ := os.ReadFile(filepath.Join(e.dir, "log"))
		e.t.Logf("the end of the engine's log:\n%s", text[max(0, len(text)-4000):])
	}
	removeMounted(e.dir)
}

// workers is a server on the engine with a service of n sample workers, worker.corp.
func (e *engine) workers(t *testing.T, n int32) *server {
	t.Helper()
	s := e.serve(t)
	s.CreateECSService("worker", s.RegisterDefinition(unchecked("worker")), n, s.CreateCloudMapService(s.CreateNamespace("corp"), "worker", 1))
	s.WaitStable("worker")
	s.replaced("worker", "worker.corp", int(n), ecstypes.Task{TaskArn: aws.String("")})
	return s
}

// TestEngineRestartLive: an engine that keeps containers while it is restarted (live-restore) changes nothing; one that
// ends meanwhile is noticed at once.
func TestEngineRestartLive(t *testing.T) {
	t.Parallel()
	e := startEngine(t, "", "--live-restore")
	s := e.workers(t, 3)
	before := s.running("worker")
	pid := e.MustCommand(t, "inspect", "-f", "{{.State.Pid}}", id(before[0], "main"))
	e.stop()
	if got := s.Lookup("worker.corp"); len(got) != 3 {
		t.Errorf("without its engine the server answers %v", got)
	}
	syscallKill(t, pid)
	s.without("worker.corp", address(before[0]), 20*time.Second)
	if got := s.Lookup("worker.corp"); len(got) != 2 {
		t.Errorf("one of three is dead, and the server answers %v", got)
	}
	e.start()
	s.replaced("worker", "worker.corp", 3, before[0])
	var kept []ecstypes.Task
	for _, now := range s.running("worker") {
		if *now.TaskArn == *before[1].TaskArn || *now.TaskArn == *before[2].TaskArn {
			kept = append(kept, now)
		}
	}
	s.same(before[1:], kept)
}

func syscallKill(t *testing.T, pid string) {
	t.Helper()
	var n int
	if _, err := fmt.Sscan(pid, &n); err != nil || n < 2 {
		t.Fatalf("%q is no process: %v", pid, err)
	}
	if err := syscall.Kill(n, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// TestEngineRestart: an engine that ends its containers when it is restarted: they leave the answers, and are replaced
// when it is back.
func TestEngineRestart(t *testing.T) {
	t.Parallel()
	e := startEngine(t, "")
	s := e.workers(t, 2)
	before := s.running("worker")
	e.stop()
	for _, task := range before {
		s.without("worker.corp", address(task), 20*time.Second)
	}
	e.start()
	for _, task := range before {
		s.replaced("worker", "worker.corp", 2, task)
	}
}

// TestFullDisk: where the engine's disk is full, no task starts, and the reason is told; those that run are answered as
// before, and what waits starts when there is room again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	harness.RequireEngine(t)
	disk := harness.Must(os.MkdirTemp("", fmt.Sprintf("%s%d-", engineFolders, os.Getpid())))(t)
	t.Cleanup(func() { removeMounted(disk) })
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=400m"); err != nil {
		t.Fatal(err)
	}
	e := startEngine(t, disk)
	s := e.workers(t, 1)
	first := s.running("worker")[0]
	filler := filepath.Join(disk, "filler")
	out, _ := exec.Command("dd", "if=/dev/zero", "of="+filler, "bs=64k").CombinedOutput()
	if !strings.Contains(string(out), "No space left") {
		t.Fatalf("the disk is not full: %s", out)
	}
	s.SetDesiredCount("worker", 2)
	harness.Eventually(t, time.Minute, "an event of the service says why no task starts", func() bool { return s.said("worker", "no space left on device") })
	if !s.answers("worker.corp", address(first)) {
		t.Errorf("with a full disk the server answers %v, and not %v alone", s.Lookup("worker.corp"), address(first))
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 2*time.Minute, "with room again the second task runs, in DNS too", func() bool { return len(s.Lookup("worker.corp")) == 2 })
	if s.same([]ecstypes.Task{first}, s.running("worker")); t.Failed() {
		t.Log("the first task was not left alone")
	}
}
