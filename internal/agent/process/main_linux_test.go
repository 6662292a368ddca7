package process

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/process/procfs"
	"github.com/bakingclouds/rollcall/internal/agent/process/protocol"
)

// TestMain runs the tests, or plays the supervisor, container-init or a program of the tests, which are this same
// binary.
func TestMain(m *testing.M) {
	if status, ok := Main(os.Args[1:]); ok {
		os.Exit(status)
	}
	if len(os.Args) > 2 && os.Args[1] == "program" {
		programs[os.Args[2]](os.Args[3:])
	}
	os.Exit(m.Run())
}

// programs are run as separate processes; each exits.
var programs = map[string]func(args []string){
	"listen":        listenProgram,
	"session":       sessionProgram,
	"server":        serverProgram,
	"show-resolver": showResolverProgram,
}

// listenProgram NETWORK ADDRESS listens until it is killed.
func listenProgram(args []string) {
	var err error
	if strings.HasPrefix(args[0], "udp") {
		_, err = net.ListenPacket(args[0], args[1])
	} else {
		_, err = net.Listen(args[0], args[1])
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("listening")
	select {}
}

// sessionProgram FILE starts a sleep in a new session, writes its pid to FILE and exits.
func sessionProgram(args []string) {
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	if err := os.WriteFile(args[0], []byte(strconv.Itoa(cmd.Process.Pid)), 0o600); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serverProgram DIR runs one task as a server would, prints "started", and waits to be killed.
func serverProgram(args []string) {
	ctx := context.Background()
	r, err := New(ctx, Config{Dir: args[0]})
	if err == nil {
		_, err = r.Create(ctx, shellTask("survivor", "sleep 1000"))
	}
	if err == nil {
		err = r.StartContainer(ctx, "survivor", "main")
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("started")
	select {}
}

// showResolverProgram DIR prints the result of showResolver.
func showResolverProgram(args []string) {
	text, err := showResolver(context.Background(), args[0])
	fmt.Print(text)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// self returns the command line of one of the programs.
func self(program ...string) []string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return append([]string{exe, "program"}, program...)
}

// shellTask returns a task with one container, "main", that runs a shell script.
func shellTask(id, script string) agent.TaskSpec {
	return commandTask(id, "/bin/sh", "-c", script)
}

func commandTask(id string, argv ...string) agent.TaskSpec {
	return agent.TaskSpec{
		ID: id, NetworkMode: agent.NetworkAWSVPC, Containers: []agent.ContainerSpec{{Name: "main", Command: argv}},
	}
}

// newRuntime returns a runtime in a new folder, whose tasks and supervisor end with the test.
func newRuntime(t *testing.T) *Runtime {
	t.Helper()
	return runtimeIn(t, t.TempDir())
}

func runtimeIn(t *testing.T, dir string) *Runtime {
	t.Helper()
	r, err := New(t.Context(), Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		endSupervisor(t, dir)
	})
	return r
}

// endSupervisor removes all tasks of a folder, waits until its supervisor has ended, and checks the supervisor's log.
func endSupervisor(t *testing.T, dir string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	r, err := New(ctx, Config{Dir: dir})
	if err != nil {
		t.Error(err)
		return
	}
	if err := r.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	eventually(t, "the supervisor has ended", func() bool { return lockIsFree(dir) })
	log, err := os.ReadFile(protocol.SupervisorLogFile(dir))
	if err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"DATA RACE", "panic:", "level=ERROR"} {
		if strings.Contains(string(log), bad) {
			t.Errorf("the supervisor's log contains %q:\n%s", bad, log)
		}
	}
}

// lockIsFree reports whether no supervisor holds the lock of a data folder.
func lockIsFree(dir string) bool {
	file, err := os.OpenFile(protocol.LockFile(dir), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return false
	}
	defer file.Close()
	return unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}

// eventually polls for a condition that other processes make true.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(20 * time.Second)
	for !holds() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("timed out: want that %s", what)
		}
	}
}

// await reads events until want returns true for the status of the task's container "main".
func await(
	t *testing.T, r *Runtime, task, what string, want func(agent.ContainerStatus) bool,
) agent.ContainerStatus {
	t.Helper()
	deadline := time.After(20 * time.Second)
	var last agent.ContainerStatus
	for {
		select {
		case e, ok := <-r.Events():
			if !ok {
				t.Fatal("the channel of events is closed")
			}
			if e.TaskID != task || e.Status.Name != "main" {
				continue
			}
			if last = e.Status; want(last) {
				return last
			}
		case <-deadline:
			t.Fatalf("task %s: no event with a container that is %s; the last was %+v", task, what, last)
		}
	}
}

func awaitEnd(t *testing.T, r *Runtime, task string) agent.ContainerStatus {
	t.Helper()
	return await(t, r, task, "ended", agent.ContainerStatus.Ended)
}

// start creates a task and starts its container "main".
func start(t *testing.T, r *Runtime, spec agent.TaskSpec) agent.Sandbox {
	t.Helper()
	sandbox, err := r.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.StartContainer(t.Context(), spec.ID, "main"); err != nil {
		t.Fatal(err)
	}
	return sandbox
}

// statusOf returns the status of a task's container "main" in Sandboxes.
func statusOf(t *testing.T, r *Runtime, task string) agent.ContainerStatus {
	t.Helper()
	all, err := r.Sandboxes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.TaskID == task {
			return s.Containers[0]
		}
	}
	t.Fatalf("Sandboxes has no task %s: %+v", task, all)
	panic("not reached")
}

// output returns the output of a container.
func output(t *testing.T, r *Runtime, task string) string {
	t.Helper()
	text, err := os.ReadFile(LogFile(r.config.Dir, task, "main"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// awaitOutput waits until the output of a container contains want.
func awaitOutput(t *testing.T, r *Runtime, task, want string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s prints %q", task, want),
		func() bool { return strings.Contains(output(t, r, task), want) })
}

func supervisorPID(t *testing.T, dir string) int {
	t.Helper()
	text, err := os.ReadFile(protocol.LockFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// ended reports whether no live process has this pid.
func ended(pid int) bool {
	stat, err := procfs.ReadStat(pid)
	return err != nil || stat.Ended()
}
