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

// currentServiceDeployment is a service's newest service deployment.
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

// TestDeploymentRollback: a definition whose task exits at once trips the circuit breaker, and a deployment under way is stopped
// by hand. Each time the definition before comes back, and the task that served is there until it does.
func TestDeploymentRollback(t *testing.T) {
	s := harness.Serve(t)
	update := func(definition string, watched bool) {
		t.Helper()
		in := &ecs.UpdateServiceInput{Service: aws.String("web"), DeploymentConfiguration: &ecstypes.DeploymentConfiguration{
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
				t.Fatalf("%d tasks run", n)
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
	if b := d.DeploymentCircuitBreaker; b.Status != ecstypes.ServiceDeploymentRollbackMonitorsStatusTriggered || b.FailureCount != 3 || b.Threshold != 3 {
		t.Errorf("the circuit breaker: %s", harness.AsJSON(b))
	}
	svc := s.DescribeService("web")
	if *svc.TaskDefinition != good || *svc.Deployments[0].TaskDefinition != good {
		t.Errorf("while it rolls back, the service has the definition %s", *svc.TaskDefinition)
	}
	for _, want := range []string{") deployment failed: tasks failed to start.", "rolling back to deployment " + *first[0].StartedBy + "."} {
		if !slices.ContainsFunc(svc.Events, func(e ecstypes.ServiceEvent) bool { return strings.Contains(*e.Message, want) }) {
			t.Errorf("no event says %q: %s", want, harness.AsJSON(svc.Events))
		}
	}
	// Without a health check a task proves itself by serving for ten seconds.
	if !slices.ContainsFunc(s.Tasks("web", ecstypes.DesiredStatusRunning), func(t ecstypes.Task) bool {
		return *t.TaskArn == *first[0].TaskArn || t.StartedAt != nil && time.Since(*t.StartedAt) >= 10*time.Second
	}) {
		t.Error("the task that served was replaced by none that has proven itself")
	}
	update("", false) // the rollback need not prove itself any more, which would take 10 s
	until(ecstypes.ServiceDeploymentStatusRollbackSuccessful)
	s.WaitStable("web")

	slow := harness.Program(t, "web", "/bin/sh", "-c", "exec sleep 1000") // not healthy for five minutes, nor unhealthy
	slow.ContainerDefinitions[0].HealthCheck = &ecstypes.HealthCheck{Command: []string{"CMD-SHELL", "false"}, StartPeriod: aws.Int32(300)}
	update(s.RegisterDefinition(slow), true)
	d = until(ecstypes.ServiceDeploymentStatusInProgress)
	harness.Must(s.ECS().StopServiceDeployment(t.Context(), &ecs.StopServiceDeploymentInput{ServiceDeploymentArn: d.ServiceDeploymentArn}))(t)
	until(ecstypes.ServiceDeploymentStatusRollbackInProgress, ecstypes.ServiceDeploymentStatusRollbackSuccessful)
	update("", false)
	until(ecstypes.ServiceDeploymentStatusRollbackSuccessful)
	s.WaitStable("web")
	if svc := s.DescribeService("web"); *svc.TaskDefinition != good {
		t.Errorf("in the end the service has the definition %s", *svc.TaskDefinition)
	}
}

// deployments is how many updates TestDeploymentsUnderLoad makes; `make soak` asks for 200.
var deployments = flag.Int("deployments", 5, "how many deployments the proof of exact drain makes")

// newProof is the proof's services as processes.
func newProof(t *testing.T) *harness.LoadTest {
	command := []string{harness.TestBinary(t), "sample", "flask-backend"}
	if why := harness.CheckTaskResolver(t); why == nil {
		command = slices.Concat([]string{"env", "-u", "ROLLCALL_DNS"}, command) // leaves it the system's resolver
	} else if os.Getenv("CI") == "true" {
		t.Fatalf("tasks have no resolver of their own: %v", why)
	}
	quick := func(family string) *ecs.RegisterTaskDefinitionInput {
		in := harness.Worker(t, family, "")
		in.ContainerDefinitions[0].HealthCheck.Interval = aws.Int32(60) // once healthy, it need not be asked often
		return in
	}
	return harness.NewLoadTest(t, harness.Serve(t), quick, harness.Program(t, "backend", command...))
}

// TestDeploymentsUnderLoad is the proof of exact drain and of no gap for processes.
func TestDeploymentsUnderLoad(t *testing.T) {
	newProof(t).Run(*deployments)
}

// TestRequestsAfterKilledTask: when a task's process is killed, requests fail until that is noticed and its answers have expired,
// and not for longer.
func TestRequestsAfterKilledTask(t *testing.T) {
	p := newProof(t)
	s := p.Server.Load()
	victim := s.Tasks("team", ecstypes.DesiredStatusRunning)[0]
	pid := harness.Must(strconv.Atoi(aws.ToString(victim.Containers[0].RuntimeId)))(t)
	killed := time.Now()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, time.Minute, "the task that was killed has left the answers", func() bool {
		return !s.Lookup("team.corp")[netip.MustParseAddr(harness.Address(victim))]
	})
	detected := time.Now()
	p.WaitStable("team")
	p.WaitStopped(victim)
	p.Stop()
	failed, late := 0, 0
	for _, trouble := range p.TakeFailures() {
		failed++
		if trouble.Empty || trouble.At.Before(killed) || trouble.At.After(detected.Add((harness.LoadTestTTL+1)*time.Second)) {
			late++
			t.Errorf("killed at %s, noticed by %s: %v", killed.Format("15:04:05.000"), detected.Format("15:04:05.000"), trouble)
		}
	}
	sent, _ := p.Counts()
	t.Logf("noticed within %v; of %d requests %d failed, %d of them later than a TTL after that", detected.Sub(killed), sent, failed, late)
}
