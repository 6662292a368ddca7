package promises

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/test/harness"
)

// currentServiceDeployment returns a service's newest service deployment.
func currentServiceDeployment(s *harness.Server, service string) ecstypes.ServiceDeployment {
	s.T.Helper()
	arn := aws.ToString(s.DescribeService(service).CurrentServiceDeployment)
	out := harness.Must(s.ECS().DescribeServiceDeployments(s.T.Context(),
		&ecs.DescribeServiceDeploymentsInput{ServiceDeploymentArns: []string{arn}}))(s.T)
	if len(out.ServiceDeployments) != 1 {
		s.T.Fatalf("service deployment %s: %s", arn, harness.AsJSON(out.Failures))
	}
	return out.ServiceDeployments[0]
}

// TestDeploymentRollback deploys a definition whose task exits immediately, which trips the circuit breaker, and then
// stops a deployment with StopServiceDeployment. Each time the service must return to the definition before, and a task
// must be running at all times.
func TestDeploymentRollback(t *testing.T) {
	s := harness.Serve(t)
	update := func(definition string, watched bool) {
		t.Helper()
		in := &ecs.UpdateServiceInput{Service: aws.String("web"),
			DeploymentConfiguration: &ecstypes.DeploymentConfiguration{
				DeploymentCircuitBreaker: &ecstypes.DeploymentCircuitBreaker{Enable: watched, Rollback: watched},
			}}
		if definition != "" {
			in.TaskDefinition = &definition
		}
		harness.Must(s.ECS().UpdateService(t.Context(), in))(t)
	}
	until := func(status ...ecstypes.ServiceDeploymentStatus) ecstypes.ServiceDeployment {
		t.Helper()
		var d ecstypes.ServiceDeployment
		harness.Eventually(t, time.Minute, fmt.Sprintf("the service deployment is %s", status), func() bool {
			if n := s.DescribeService("web").RunningCount; n < 1 {
				t.Fatalf("%d running tasks, want at least 1", n)
			}
			d = currentServiceDeployment(s, "web")
			return slices.Contains(status, d.Status)
		})
		return d
	}
	good := s.RegisterDefinition(harness.Program(t, "web", "/bin/sh", "-c", "exec sleep 1000"))
	s.CreateECSService("web", good, 1, nil)
	s.WaitStable("web")
	first := s.Tasks("web", ecstypes.DesiredStatusRunning)

	bad := s.RegisterDefinition(harness.Program(t, "web", "/bin/sh", "-c", "exit 3"))
	update(bad, true)
	d := until(ecstypes.ServiceDeploymentStatusRollbackInProgress, ecstypes.ServiceDeploymentStatusRollbackSuccessful)
	if b := d.DeploymentCircuitBreaker; b.Status != ecstypes.ServiceDeploymentRollbackMonitorsStatusTriggered ||
		b.FailureCount != 3 || b.Threshold != 3 {
		t.Errorf("the circuit breaker is %s", harness.AsJSON(b))
	}
	svc := s.DescribeService("web")
	if *svc.TaskDefinition != good || *svc.Deployments[0].TaskDefinition != good {
		t.Errorf("during the rollback the service has the definition %s", *svc.TaskDefinition)
	}
	for _, want := range []string{") deployment failed: tasks failed to start.",
		"rolling back to deployment " + *first[0].StartedBy + "."} {
		if !slices.ContainsFunc(svc.Events, func(e ecstypes.ServiceEvent) bool {
			return strings.Contains(*e.Message, want)
		}) {
			t.Errorf("no event contains %q: %s", want, harness.AsJSON(svc.Events))
		}
	}
	// A task without a health check counts as healthy once it has run for ten seconds.
	if !slices.ContainsFunc(s.Tasks("web", ecstypes.DesiredStatusRunning), func(t ecstypes.Task) bool {
		return *t.TaskArn == *first[0].TaskArn || t.StartedAt != nil && time.Since(*t.StartedAt) >= 10*time.Second
	}) {
		t.Error("the old task was replaced by a task that has not run for ten seconds")
	}
	update("", false) // without the circuit breaker the rollback need not wait ten seconds
	until(ecstypes.ServiceDeploymentStatusRollbackSuccessful)
	s.WaitStable("web")

	// neither healthy nor unhealthy for five minutes
	slow := harness.Program(t, "web", "/bin/sh", "-c", "exec sleep 1000")
	slow.ContainerDefinitions[0].HealthCheck = &ecstypes.HealthCheck{Command: []string{"CMD-SHELL", "false"},
		StartPeriod: aws.Int32(300)}
	update(s.RegisterDefinition(slow), true)
	d = until(ecstypes.ServiceDeploymentStatusInProgress)
	harness.Must(s.ECS().StopServiceDeployment(t.Context(), &ecs.StopServiceDeploymentInput{
		ServiceDeploymentArn: d.ServiceDeploymentArn}))(t)
	until(ecstypes.ServiceDeploymentStatusRollbackInProgress, ecstypes.ServiceDeploymentStatusRollbackSuccessful)
	update("", false)
	until(ecstypes.ServiceDeploymentStatusRollbackSuccessful)
	s.WaitStable("web")
	if svc := s.DescribeService("web"); *svc.TaskDefinition != good {
		t.Errorf("after the rollback the service has the definition %s", *svc.TaskDefinition)
	}
}

// deployments is the number of deployments that TestDeploymentsUnderLoad makes; `make soak` makes 200.
var deployments = flag.Int("deployments", 5, "number of deployments under load")

// newLoadTest starts a load test whose tasks are processes.
func newLoadTest(t *testing.T) *harness.LoadTest {
	t.Helper()
	command := []string{harness.TestBinary(t), "sample", "flask-backend"}
	if err := harness.CheckTaskResolver(t); err == nil {
		// then the backend uses the resolver of its system
		command = slices.Concat([]string{"env", "-u", "ROLLCALL_DNS"}, command)
	} else if os.Getenv("CI") == "true" {
		t.Fatalf("tasks cannot have a resolver: %v", err)
	}
	worker := func(family string) *ecs.RegisterTaskDefinitionInput {
		in := harness.Worker(t, family, "")
		// one passed check is enough; more would only cost time
		in.ContainerDefinitions[0].HealthCheck.Interval = aws.Int32(60)
		return in
	}
	return harness.NewLoadTest(t, harness.Serve(t), worker, harness.Program(t, "backend", command...))
}

// TestDeploymentsUnderLoad checks exact drain and no gap with tasks that are processes.
func TestDeploymentsUnderLoad(t *testing.T) {
	newLoadTest(t).Run(*deployments)
}

// TestRequestsAfterKilledTask kills a task's process. Requests may fail until the server has noticed and the answers
// with the task's address have expired, and not after that.
func TestRequestsAfterKilledTask(t *testing.T) {
	load := newLoadTest(t)
	s := load.Server.Load()
	victim := s.Tasks("team", ecstypes.DesiredStatusRunning)[0]
	pid := harness.Must(strconv.Atoi(aws.ToString(victim.Containers[0].RuntimeId)))(t)
	killed := time.Now()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, time.Minute, "the killed task has left the answers", func() bool {
		return !s.Lookup("team.corp")[netip.MustParseAddr(harness.Address(victim))]
	})
	detected := time.Now()
	load.WaitStable("team")
	load.WaitStopped(victim)
	load.Stop()
	failed, late := 0, 0
	for _, failure := range load.TakeFailures() {
		failed++
		if failure.Empty || failure.At.Before(killed) ||
			failure.At.After(detected.Add((harness.LoadTestTTL+1)*time.Second)) {
			late++
			t.Errorf("killed at %s, out of the answers at %s: %v", killed.Format("15:04:05.000"),
				detected.Format("15:04:05.000"), failure)
		}
	}
	sent, _ := load.Counts()
	t.Logf("out of the answers after %v; of %d requests %d failed, %d of them after the answers had expired",
		detected.Sub(killed), sent, failed, late)
}
