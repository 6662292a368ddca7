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

// MarkVariable is an environment variable of the tasks below. Its value is the path of the file that a task writes its
// pid to when it starts. A test finds the processes of its tasks by that value, whichever process is their parent.
const MarkVariable = "ROLLCALL_TEST_STARTS"

// MarkedWorker returns the definition of a sample worker that writes its pid to the file starts when it starts. It has
// no health check, so each of its tasks is one process.
func MarkedWorker(t testing.TB, starts string) *ecs.RegisterTaskDefinitionInput {
	t.Helper()
	in := Program(t, "marked-worker", "/bin/sh", "-c",
		`echo $$ >> "$`+MarkVariable+`" && exec `+TestBinary(t)+` sample flask-worker`)
	in.ContainerDefinitions[0].PortMappings = []ecstypes.PortMapping{{ContainerPort: aws.Int32(5000)}}
	in.ContainerDefinitions[0].Environment = []ecstypes.KeyValuePair{{Name: aws.String(MarkVariable), Value: &starts}}
	return in
}

// StartedPIDs returns the pids that tasks have written to a file when they started, in order.
func StartedPIDs(t testing.TB, file string) []string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Fields(string(b))
}

// MarkedProcesses returns the pids of all running processes whose MarkVariable is starts: tasks, their health checks
// and their children.
func MarkedProcesses(t testing.TB, starts string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	var pids []string
	for _, file := range files {
		environ, err := os.ReadFile(file) // fails for a process that has ended, or of another user
		if err == nil && bytes.Contains(append([]byte{0}, environ...), []byte("\x00"+MarkVariable+"="+starts+"\x00")) {
			pids = append(pids, strings.Split(file, "/")[2])
		}
	}
	slices.Sort(pids)
	return pids
}

// startTime returns when a process started, in clock ticks since the machine started (proc_pid_stat(5), field 22), or
// "" if there is no such process. A pid and a start time identify a process.
func startTime(pid string) string {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return ""
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	return fields[22-3]
}

// TaskProcesses returns the pid and start time of each running task of a service.
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

// sandboxes returns the ids of the tasks for which a data folder has a sandbox.
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

// CheckOnlyTasks waits until a service has exactly n running tasks and nothing else: every process, every sandbox and
// every address in DNS and DiscoverInstances belongs to one of them.
func (s *Server) CheckOnlyTasks(service, starts string, n int) {
	s.T.Helper()
	s.WaitStable(service)
	var state string
	defer func() {
		if s.T.Failed() {
			s.T.Log(state)
		}
	}()
	Eventually(s.T, 20*time.Second, fmt.Sprintf("%s has %d tasks and nothing else", service, n), func() bool {
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
		state = fmt.Sprintf(
			"tasks %v with addresses %v and pids %v; sandboxes %v, processes %v, DNS %v, DiscoverInstances %v",
			ids, addresses, pids, boxes, running, dns, found)
		return len(ids) == n && sameElements(boxes, ids) && slices.Equal(running, pids) &&
			len(dns) == min(n, 8) && sameElements(found, addresses)
	})
}

// CheckStartedOnce waits until the pids in the file starts are those of the tasks that ECS lists, which holds only if
// no task was started twice.
func (s *Server) CheckStartedOnce(service, starts string) {
	s.T.Helper()
	var got, expected []string
	defer func() {
		if s.T.Failed() {
			s.T.Logf("started pids %v, pids of the tasks that ECS lists %v", got, expected)
		}
	}()
	// A task writes its pid a moment after it has started.
	Eventually(s.T, 5*time.Second, "every task was started once", func() bool {
		got, expected = StartedPIDs(s.T, starts), nil
		for _, status := range []ecstypes.DesiredStatus{ecstypes.DesiredStatusRunning, ecstypes.DesiredStatusStopped} {
			for _, task := range s.Tasks(service, status) {
				if pid := aws.ToString(task.Containers[0].RuntimeId); pid != "" {
					expected = append(expected, pid)
				}
			}
		}
		return sameElements(got, expected)
	})
}

// SupervisorPID returns the pid of the supervisor of a data folder.
func SupervisorPID(t testing.TB, dir string) int {
	t.Helper()
	b := Must(os.ReadFile(filepath.Join(dir, "supervisor.lock")))(t)
	return Must(strconv.Atoi(strings.TrimSpace(string(b))))(t)
}

// KillProcess ends a process with SIGKILL and waits until it has ended.
func KillProcess(t testing.TB, pid int) {
	t.Helper()
	was := startTime(strconv.Itoa(pid))
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("kill %d: %v", pid, err)
	}
	Eventually(t, 5*time.Second, "the killed process has ended", func() bool {
		now := startTime(strconv.Itoa(pid))
		return now != was || isZombie(pid)
	})
}

// isZombie reports whether a process has ended and its parent has not yet waited for it.
func isZombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && bytes.HasPrefix(b[bytes.LastIndexByte(b, ')')+1:], []byte(" Z"))
}

// CheckNothingLeft waits until a service that is being deleted is inactive, and its processes, sandboxes and addresses
// are gone.
func (s *Server) CheckNothingLeft(service, starts string) {
	s.T.Helper()
	Eventually(s.T, 30*time.Second, "the deleted service has no process, sandbox or address", func() bool {
		return aws.ToString(s.DescribeService(service).Status) == "INACTIVE" &&
			len(MarkedProcesses(s.T, starts)) == 0 && len(sandboxes(s.T, s.Dir)) == 0 &&
			len(s.Lookup(service+".shop")) == 0 && len(s.Discover("shop", service, sdtypes.HealthStatusFilterAll)) == 0
	})
}
