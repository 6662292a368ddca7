package failures

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"

	"github.com/bakingclouds/rollcall/test/harness"
)

// TestHangingHealthCheck runs a task whose health check never ends. At its timeout the check must count as failed and
// its processes must end. The task must never be answered, and must be replaced.
func TestHangingHealthCheck(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	starts := filepath.Join(t.TempDir(), "starts")
	in := markContainers(harness.Worker(t, "hanging", "sleep 1000 & sleep 1000; true"), starts)
	in.ContainerDefinitions[0].StopTimeout, in.ContainerDefinitions[0].HealthCheck.Timeout = aws.Int32(2), aws.Int32(2)
	s.CreateECSService("cart", s.RegisterDefinition(in), 1,
		s.CreateCloudMapService(s.CreateNamespace("shop"), "cart", 1))
	harness.Eventually(t, 20*time.Second, "the task is unhealthy", func() bool {
		if got := s.Lookup("cart.shop"); len(got) != 0 {
			t.Fatalf("the answer has %v, a task that has not passed a health check", got)
		}
		return slices.ContainsFunc(s.Tasks("cart", ecstypes.DesiredStatusRunning),
			func(task ecstypes.Task) bool { return task.HealthStatus == ecstypes.HealthStatusUnhealthy })
	})
	tasks := waitStoppedTasks(s, "cart", 1, 30*time.Second)
	if got := aws.ToString(tasks[0].StoppedReason); got != "Task failed container health checks" {
		t.Errorf("the stopped reason is %q", got)
	}
	// A task is one process. Its check is a shell with two children, which live for at most the timeout of 2 s.
	if n := len(harness.MarkedProcesses(t, starts)); n > 3*4 {
		t.Errorf("%d processes of the task and its checks, want at most %d", n, 3*4)
	}
	forceDeleteService(s, "cart", starts)
}

// TestHealthCheckDecidesAnswers runs a task whose health check a test controls. The task must be answered from its
// first passed check, must leave the answers when the check fails, and must be replaced.
func TestHealthCheckDecidesAnswers(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	flag := filepath.Join(t.TempDir(), "healthy")
	s.CreateECSService("cart", s.RegisterDefinition(harness.Worker(t, "flask-worker", "test -e "+flag)), 1,
		s.CreateCloudMapService(s.CreateNamespace("shop"), "cart", 1))
	harness.Eventually(t, 20*time.Second, "the task is registered", func() bool {
		return len(s.Discover("shop", "cart", sdtypes.HealthStatusFilterAll)) == 1
	})
	if got := s.Lookup("cart.shop"); len(got) != 0 {
		t.Errorf("the answer has %v, a task that has not passed a health check", got)
	}
	if err := os.WriteFile(flag, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s.WaitStable("cart")
	first := s.Tasks("cart", ecstypes.DesiredStatusRunning)[0]
	if first.HealthStatus != ecstypes.HealthStatusHealthy {
		t.Errorf("the task's health is %s", first.HealthStatus)
	}
	s.CheckAnswers("cart", 1)
	if err := os.Remove(flag); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 30*time.Second, "the unhealthy task is being replaced", func() bool {
		for _, task := range s.Tasks("cart", ecstypes.DesiredStatusRunning) {
			if harness.TaskID(task) != harness.TaskID(first) {
				return true
			}
		}
		return false
	})
	if err := os.WriteFile(flag, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s.WaitStable("cart")
	s.CheckAnswers("cart", 1)
}
