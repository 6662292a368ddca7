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

// privateEngine is a Docker Engine of one test. It runs next to the machine's engine, with other folders and without
// firewall rules, which the two engines would overwrite.
type privateEngine struct {
	engine
	t    *testing.T
	dir  string
	args []string
	cmd  *exec.Cmd
	done chan struct{}
}

// startEngine starts an engine whose data is in root, or in a new folder if root is empty.
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
	e := &privateEngine{engine: engine{harness.Engine{Host: "unix://" + filepath.Join(dir, "docker.sock")}}, t: t,
		dir: dir}
	e.args = append([]string{
		dockerd, "--host", e.Host, "--data-root", root, "--exec-root", filepath.Join(dir, "exec"),
		"--pidfile", filepath.Join(dir, "pid"), "--bridge", "none", "--iptables=false", "--ip6tables=false",
	}, args...)
	t.Cleanup(e.end)
	e.start()
	return e
}

// start starts the engine, also after stop, and waits until it answers.
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

// stop stops the engine. Its containers stop too, unless it runs with --live-restore.
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

// end removes the engine and its data.
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

// serveWorkers starts a server on the engine with a service of n sample workers, worker.corp.
func (e *engine) serveWorkers(t *testing.T, n int32) *server {
	t.Helper()
	s := e.serve(t)
	s.CreateECSService("worker", s.RegisterDefinition(unchecked("worker")), n,
		s.CreateCloudMapService(s.CreateNamespace("corp"), "worker", 1))
	s.WaitStable("worker")
	s.waitReplaced("worker", "worker.corp", int(n), ecstypes.Task{TaskArn: aws.String("")})
	return s
}

// TestEngineRestartWithLiveRestore restarts an engine that keeps its containers meanwhile. Tasks and answers must not
// change, and a container that ends during the restart must leave the answers.
func TestEngineRestartWithLiveRestore(t *testing.T) {
	t.Parallel()
	e := startEngine(t, "", "--live-restore")
	s := e.serveWorkers(t, 3)
	before := s.running("worker")
	pid := e.MustCommand(t, "inspect", "-f", "{{.State.Pid}}", id(before[0], "main"))
	e.stop()
	if got := s.Lookup("worker.corp"); len(got) != 3 {
		t.Errorf("without an engine the answer is %v, want 3 addresses", got)
	}
	killContainerProcess(t, pid)
	s.waitWithout("worker.corp", address(before[0]), 20*time.Second)
	if got := s.Lookup("worker.corp"); len(got) != 2 {
		t.Errorf("after one of three containers was killed the answer is %v, want 2 addresses", got)
	}
	e.start()
	s.waitReplaced("worker", "worker.corp", 3, before[0])
	var kept []ecstypes.Task
	for _, now := range s.running("worker") {
		if *now.TaskArn == *before[1].TaskArn || *now.TaskArn == *before[2].TaskArn {
			kept = append(kept, now)
		}
	}
	s.checkSame(before[1:], kept)
}

// killContainerProcess kills the main process of a container.
func killContainerProcess(t *testing.T, pid string) {
	t.Helper()
	var n int
	if _, err := fmt.Sscan(pid, &n); err != nil || n < 2 {
		t.Fatalf("%q is not a pid: %v", pid, err)
	}
	if err := syscall.Kill(n, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// TestEngineRestart restarts an engine that stops its containers. The tasks must leave the answers, and must be
// replaced when the engine is back.
func TestEngineRestart(t *testing.T) {
	t.Parallel()
	e := startEngine(t, "")
	s := e.serveWorkers(t, 2)
	before := s.running("worker")
	e.stop()
	for _, task := range before {
		s.waitWithout("worker.corp", address(task), 20*time.Second)
	}
	e.start()
	for _, task := range before {
		s.waitReplaced("worker", "worker.corp", 2, task)
	}
}

// TestFullDisk fills the engine's disk. No new task may start, an event must report the reason, and DNS must still
// answer with the running task. When there is space again, the waiting task must start.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	harness.RequireEngine(t)
	disk := harness.Must(os.MkdirTemp("", fmt.Sprintf("%s%d-", engineFolders, os.Getpid())))(t)
	t.Cleanup(func() { removeMounted(disk) })
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=400m"); err != nil {
		t.Fatal(err)
	}
	e := startEngine(t, disk)
	s := e.serveWorkers(t, 1)
	first := s.running("worker")[0]
	filler := filepath.Join(disk, "filler")
	out, _ := exec.Command("dd", "if=/dev/zero", "of="+filler, "bs=64k").CombinedOutput()
	if !strings.Contains(string(out), "No space left") {
		t.Fatalf("the disk is not full: %s", out)
	}
	s.SetDesiredCount("worker", 2)
	harness.Eventually(t, time.Minute, "an event reports why no task starts",
		func() bool { return s.hasEvent("worker", "no space left on device") })
	if !s.answers("worker.corp", address(first)) {
		t.Errorf("with a full disk the answer is %v, want only %v", s.Lookup("worker.corp"), address(first))
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 2*time.Minute, "the second task runs, also in DNS",
		func() bool { return len(s.Lookup("worker.corp")) == 2 })
	s.checkSame([]ecstypes.Task{first}, s.running("worker"))
}
