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

// TestKillAtAnyPoint kills the server, the supervisor or both in the middle of what the loops do. Afterwards there are
// exactly the desired tasks, none was started twice, and nothing else is left.
func TestKillAtAnyPoint(t *testing.T) {
	t.Parallel()
	const ttl = 2
	for _, tc := range []struct {
		name  string
		count int32 // of tasks before, and after unless the case scales
		// upset begins something and returns when the middle of it is reached, with the count that is then wanted.
		upset func(t *testing.T, s *harness.Server, starts string) int
		// keeps says that the tasks which ran before are those which run after.
		keeps bool
	}{
		{"while ten tasks are created", 0, func(t *testing.T, s *harness.Server, starts string) int {
			s.SetDesiredCount("cart", 10)
			harness.Eventually(t, 10*time.Second, "some tasks are started", func() bool { return len(harness.StartedPIDs(t, starts)) >= 3 })
			return 10
		}, false},
		{"as soon as ten tasks are asked for", 0, func(_ *testing.T, s *harness.Server, _ string) int {
			s.SetDesiredCount("cart", 10)
			return 10
		}, false},
		{"during a rollout", 3, func(t *testing.T, s *harness.Server, starts string) int {
			harness.Must(s.ECS().UpdateService(t.Context(), &ecs.UpdateServiceInput{Service: aws.String("cart"), ForceNewDeployment: true}))(t)
			harness.Eventually(t, 10*time.Second, "new tasks are started", func() bool { return len(harness.StartedPIDs(t, starts)) > 3 })
			return 3
		}, false},
		{"during a drain", 2, func(t *testing.T, s *harness.Server, _ string) int {
			s.Lookup("cart.shop") // so that there is something to wait for
			victim := s.Tasks("cart", ecstypes.DesiredStatusRunning)[0]
			harness.Must(s.ECS().StopTask(t.Context(), &ecs.StopTaskInput{Task: victim.TaskArn}))(t)
			harness.Eventually(t, 5*time.Second, "the task is draining", func() bool {
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
			harness.Must(s.ECS().DeleteService(t.Context(), &ecs.DeleteServiceInput{Service: aws.String("cart"), Force: aws.Bool(true)}))(t)
			return -1
		}, false},
		{"at rest", 3, func(*testing.T, *harness.Server, string) int { return 3 }, true},
	} {
		for _, whom := range []string{"server", "supervisor", "both"} {
			t.Run(tc.name+", "+whom, func(t *testing.T) {
				t.Parallel()
				s := harness.Serve(t)
				starts := filepath.Join(t.TempDir(), "starts")
				s.CreateECSService("cart", s.RegisterDefinition(harness.MarkedWorker(t, starts)), tc.count, s.CreateCloudMapService(s.CreateNamespace("shop"), "cart", ttl))
				s.WaitStable("cart")
				before := s.TaskProcesses("cart")
				want := tc.upset(t, s, starts)

				supervisor := harness.SupervisorPID(t, s.Dir)
				if whom != "supervisor" {
					s.Kill()
				}
				if whom != "server" {
					harness.KillProcess(t, supervisor)
				}
				if whom != "supervisor" {
					s = harness.ServeOn(t, s.Dir)
				}

				if want < 0 {
					s.CheckNothingLeft("cart", starts)
					return
				}
				s.CheckOnlyTasks("cart", starts, want)
				s.CheckStartedOnce("cart", starts)
				if now := s.TaskProcesses("cart"); tc.keeps && !maps.Equal(now, before) {
					t.Errorf("processes of the tasks: %v, before: %v", now, before)
				}
			})
		}
	}
}

// TestKilledTaskIsReplaced: a killed task is noticed, leaves the answers and is replaced.
func TestKilledTaskIsReplaced(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	s.CreateECSService("cart", s.RegisterDefinition(harness.Worker(t, "flask-worker", "")), 2, s.CreateCloudMapService(s.CreateNamespace("shop"), "cart", 1))
	s.WaitStable("cart")
	victim := s.Tasks("cart", ecstypes.DesiredStatusRunning)[0]
	pid, err := strconv.Atoi(aws.ToString(victim.Containers[0].RuntimeId))
	if err != nil {
		t.Fatalf("runtime id %q is no pid", aws.ToString(victim.Containers[0].RuntimeId))
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 5*time.Second, "the dead task is out of the answers", func() bool {
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
		if stopped.StopCode != ecstypes.TaskStopCodeEssentialContainerExited || aws.ToInt32(stopped.Containers[0].ExitCode) != 137 {
			t.Errorf("stop code %s, exit code %d", stopped.StopCode, aws.ToInt32(stopped.Containers[0].ExitCode))
		}
	}
}
