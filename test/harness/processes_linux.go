package harness

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
)

// The tests of this file end processes as kill -9 and a power cut do, and hold that nothing that was acknowledged is
// lost, that running tasks go on and that nothing is left over.

// MarkVariable is set in the environment of the tasks below, to the path of the file that their starts are written to. So
// the processes of one test's tasks can be found whoever their parent is.
const MarkVariable = "ROLLCALL_TEST_STARTS"

// MarkedWorker is the sample worker, which first writes its pid down. It has no health check, so that a task is one
// process.
func MarkedWorker(t testing.TB, starts string) *ecs.RegisterTaskDefinitionInput {
	in := Program(t, "marked-worker", "/bin/sh", "-c", `echo $$ >> "$`+MarkVariable+`" && exec `+Self(t)+` sample flask-worker`)
	in.ContainerDefinitions[0].PortMappings = []ecstypes.PortMapping{{ContainerPort: aws.Int32(5000)}}
	in.ContainerDefinitions[0].Environment = []ecstypes.KeyValuePair{{Name: aws.String(MarkVariable), Value: &starts}}
	return in
}

// StartedPIDs are the pids of all tasks that were ever started, in order.
func StartedPIDs(t testing.TB, file string) []string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Fields(string(b))
}

// MarkedProcesses are the processes that now run with the marker, those of health checks and of programs of tasks alike.
func MarkedProcesses(t testing.TB, starts string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	var pids []string
	for _, file := range files {
		environ, err := os.ReadFile(file) // fails for what has ended meanwhile, and for other users' processes
		if err == nil && bytes.Contains(append([]byte{0}, environ...), []byte("\x00"+MarkVariable+"="+starts+"\x00")) {
			pids = append(pids, strings.Split(file, "/")[2])
		}
	}
	slices.Sort(pids)
	return pids
}

// startTime is when a process started, in clock ticks since the boot (proc_pid_stat(5), field 22); empty when there is no
// such process. With its pid it tells a process from all others.
func startTime(pid string) string {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return ""
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	return fields[22-3]
}

// TaskProcesses are the running tasks of a service: the pid of each, and when that process started.
func (s *Server) TaskProcesses(service string) map[string]string {
	s.T.Helper()
	all := map[string]string{}
	for _, task := range s.Tasks(service, ecstypes.DesiredStatusRunning) {
		if aws.ToString(task.LastStatus) == "RUNNING" {
			pid := aws.ToString(task.Containers[0].RuntimeId)
			all[pid] = startTime(pid)
		}
	}
	return all
}

// sandboxes are the tasks that the supervisor of a data folder holds, by id.
func sandboxes(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "tasks", "*", "sandbox.json"))
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, file := range files {
		ids = append(ids, filepath.Base(filepath.Dir(file)))
	}
	slices.Sort(ids)
	return ids
}

// CheckOnlyTasks holds that of a service exactly n tasks run, and that they are all: no process, no sandbox and no
// address in DNS or DiscoverInstances beside theirs.
func (s *Server) CheckOnlyTasks(service, starts string, n int) {
	s.T.Helper()
	s.Stable(service)
	var said string
	defer func() {
		if s.T.Failed() {
			s.T.Log(said)
		}
	}()
	Eventually(s.T, 20*time.Second, fmt.Sprintf("%s is %d tasks and nothing else", service, n), func() bool {
		var ids, pids, addresses []string
		for _, task := range s.Tasks(service, ecstypes.DesiredStatusRunning) {
			ids, addresses = append(ids, TaskID(task)), append(addresses, Address(task))
		}
		for pid := range s.TaskProcesses(service) {
			pids = append(pids, pid)
		}
		slices.Sort(pids)
		boxes, running := sandboxes(s.T, s.Dir), MarkedProcesses(s.T, starts)
		dns := slices.Collect(maps.Keys(s.Lookup(service + ".shop")))
		found := slices.Collect(maps.Values(s.Discover("shop", service, sdtypes.HealthStatusFilterAll)))
		said = fmt.Sprintf("tasks %v at %v, pids %v; sandboxes %v, processes %v, DNS %v, DiscoverInstances %v", ids, addresses, pids, boxes, running, dns, found)
		return len(ids) == n && sameSet(boxes, ids) && slices.Equal(running, pids) && len(dns) == min(n, 8) && sameSet(found, addresses)
	})
}

// CheckStartedOnce holds that no task was started twice: every pid that was ever written down is that of another process,
// and there are as many as ECS has tasks whose container was started.
func (s *Server) CheckStartedOnce(service, starts string) {
	s.T.Helper()
	var got, expected []string
	defer func() {
		if s.T.Failed() {
			s.T.Logf("the tasks that were started are %v, those that ECS knows %v", got, expected)
		}
	}()
	Eventually(s.T, 5*time.Second, "every task was started once", func() bool { // a task runs a moment before it writes its pid
		got, expected = StartedPIDs(s.T, starts), nil
		for _, status := range []ecstypes.DesiredStatus{ecstypes.DesiredStatusRunning, ecstypes.DesiredStatusStopped} {
			for _, task := range s.Tasks(service, status) {
				if pid := aws.ToString(task.Containers[0].RuntimeId); pid != "" {
					expected = append(expected, pid)
				}
			}
		}
		return sameSet(got, expected)
	})
}

// SupervisorPID is the process that is the parent of a data folder's tasks.
func SupervisorPID(t testing.TB, dir string) int {
	t.Helper()
	b := Must(os.ReadFile(filepath.Join(dir, "supervisor.lock")))(t)
	return Must(strconv.Atoi(strings.TrimSpace(string(b))))(t)
}

// KillProcess ends a process and waits until it is gone.
func KillProcess(t testing.TB, pid int) {
	t.Helper()
	was := startTime(strconv.Itoa(pid))
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("kill %d: %v", pid, err)
	}
	Eventually(t, 5*time.Second, "the killed process is gone", func() bool {
		now := startTime(strconv.Itoa(pid))
		return now != was || isZombie(pid)
	})
}

func isZombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && bytes.HasPrefix(b[bytes.LastIndexByte(b, ')')+1:], []byte(" Z"))
}

// CheckNothingLeft holds that a service which is being deleted goes, with all that was of it.
func (s *Server) CheckNothingLeft(service, starts string) {
	s.T.Helper()
	Eventually(s.T, 30*time.Second, "the deleted service is gone", func() bool {
		return aws.ToString(s.Describe(service).Status) == "INACTIVE" && len(MarkedProcesses(s.T, starts)) == 0 && len(sandboxes(s.T, s.Dir)) == 0 &&
			len(s.Lookup(service+".shop")) == 0 && len(s.Discover("shop", service, sdtypes.HealthStatusFilterAll)) == 0
	})
}
