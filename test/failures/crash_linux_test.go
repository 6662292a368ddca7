package failures

import (
	"maps"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/test/harness"
)

// changes are the points at which TestKillAtAnyPoint kills processes.
var changes = []struct {
	name  string
	count int32 // of tasks before
	// begin starts a change, waits until it is under way, and returns the desired count, or -1 for a deletion.
	begin func(t *testing.T, s *harness.Server, starts string) int
	// sameTasks requires that the tasks of before survive.
	sameTasks bool
}{
	{"while ten tasks are created", 0, func(t *testing.T, s *harness.Server, starts string) int {
		t.Helper()
		s.SetDesiredCount("cart", 10)
		harness.Eventually(t, 10*time.Second, "some tasks have started",
			func() bool { return len(harness.StartedPIDs(t, starts)) >= 3 })
		return 10
	}, false},
	{"right after a request for ten tasks", 0, func(_ *testing.T, s *harness.Server, _ string) int {
		s.SetDesiredCount("cart", 10)
		return 10
	}, false},
	{"during a rollout", 3, func(t *testing.T, s *harness.Server, starts string) int {
		t.Helper()
		harness.Must(s.ECS().UpdateService(t.Context(), &ecs.UpdateServiceInput{Service: aws.String("cart"),
			ForceNewDeployment: true}))(t)
		harness.Eventually(t, 10*time.Second, "new tasks have started",
			func() bool { return len(harness.StartedPIDs(t, starts)) > 3 })
		return 3
	}, false},
	{"during a drain", 2, func(t *testing.T, s *harness.Server, _ string) int {
		t.Helper()
		s.Lookup("cart.shop") // so that the drain waits for this answer
		victim := s.Tasks("cart", ecstypes.DesiredStatusRunning)[0]
		harness.Must(s.ECS().StopTask(t.Context(), &ecs.StopTaskInput{Task: victim.TaskArn}))(t)
		harness.Eventually(t, 5*time.Second, "the task has left the answers", func() bool {
			for ip := range s.Lookup("cart.shop") {
				if ip.String() == harness.Address(victim) {
					return false
				}
			}
			return true
		})
		return 2
	}, false},
	{"during a deletion", 3, func(t *testing.T, s *harness.Server, _ string) int {
		t.Helper()
		harness.Must(s.ECS().DeleteService(t.Context(), &ecs.DeleteServiceInput{Service: aws.String("cart"),
			Force: aws.Bool(true)}))(t)
		return -1
	}, false},
	{"with nothing to do", 3, func(*testing.T, *harness.Server, string) int { return 3 }, true},
}

// TestKillAtAnyPoint kills the server, the supervisor or both while a control loop is in the middle of something. After
// the restart the service must have exactly the desired tasks, no task may have been started twice, and nothing else
// may be left.
func TestKillAtAnyPoint(t *testing.T) {
	t.Parallel()
	const ttl = 2
	for _, tc := range changes {
		for _, killed := range []string{"server", "supervisor", "both"} {
			t.Run(tc.name+", "+killed, func(t *testing.T) {
				t.Parallel()
				s := harness.Serve(t)
				starts := filepath.Join(t.TempDir(), "starts")
				s.CreateECSService("cart", s.RegisterDefinition(harness.MarkedWorker(t, starts)), tc.count,
					s.CreateCloudMapService(s.CreateNamespace("shop"), "cart", ttl))
				s.WaitStable("cart")
				before := s.TaskProcesses("cart")
				want := tc.begin(t, s, starts)

				supervisor := harness.SupervisorPID(t, s.Dir)
				if killed != "supervisor" {
					s.Kill()
				}
				if killed != "server" {
					harness.KillProcess(t, supervisor)
				}
				if killed != "supervisor" {
					s = harness.ServeOn(t, s.Dir)
				}

				if want < 0 {
					s.CheckNothingLeft("cart", starts)
					return
				}
				s.CheckOnlyTasks("cart", starts, want)
				s.CheckStartedOnce("cart", starts)
				if now := s.TaskProcesses("cart"); tc.sameTasks && !maps.Equal(now, before) {
					t.Errorf("processes of the tasks are %v, were %v", now, before)
				}
			})
		}
	}
}

// TestKilledTaskIsReplaced kills a task's process. The task must leave the answers and be replaced.
func TestKilledTaskIsReplaced(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	s.CreateECSService("cart", s.RegisterDefinition(harness.Worker(t, "flask-worker", "")), 2,
		s.CreateCloudMapService(s.CreateNamespace("shop"), "cart", 1))
	s.WaitStable("cart")
	victim := s.Tasks("cart", ecstypes.DesiredStatusRunning)[0]
	pid, err := strconv.Atoi(aws.ToString(victim.Containers[0].RuntimeId))
	if err != nil {
		t.Fatalf("runtime id %q is not a pid", aws.ToString(victim.Containers[0].RuntimeId))
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 5*time.Second, "the killed task has left the answers", func() bool {
		for ip := range s.Lookup("cart.shop") {
			if ip.String() == harness.Address(victim) {
				return false
			}
		}
		return true
	})
	s.WaitStable("cart")
	s.CheckAnswers("cart", 2)
	for _, stopped := range s.Tasks("cart", ecstypes.DesiredStatusStopped) {
		if harness.TaskID(stopped) != harness.TaskID(victim) {
			continue
		}
		if stopped.StopCode != ecstypes.TaskStopCodeEssentialContainerExited ||
			aws.ToInt32(stopped.Containers[0].ExitCode) != 137 {
			t.Errorf("stop code %s, exit code %d", stopped.StopCode, aws.ToInt32(stopped.Containers[0].ExitCode))
		}
	}
}
