package test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// deployed is a service's newest service deployment.
func (s *server) deployed(service string) ecstypes.ServiceDeployment {
	s.T.Helper()
	arn := aws.ToString(s.Describe(service).CurrentServiceDeployment)
	out := must[*ecs.DescribeServiceDeploymentsOutput](s.T)(s.ECS().DescribeServiceDeployments(s.T.Context(),
		&ecs.DescribeServiceDeploymentsInput{ServiceDeploymentArns: []string{arn}}))
	if len(out.ServiceDeployments) != 1 {
		s.T.Fatalf("service deployment %s: %s", arn, asJSON(out.Failures))
	}
	return out.ServiceDeployments[0]
}

// TestRollback: a definition whose task exits at once trips the circuit breaker, and a deployment under way is stopped
// by hand. Each time the definition before comes back, and the task that served is there until it does.
func TestRollback(t *testing.T) {
	s := serve(t)
	update := func(definition string, watched bool) {
		t.Helper()
		in := &ecs.UpdateServiceInput{Service: aws.String("web"), DeploymentConfiguration: &ecstypes.DeploymentConfiguration{
			DeploymentCircuitBreaker: &ecstypes.DeploymentCircuitBreaker{Enable: watched, Rollback: watched},
		}}
		if definition != "" {
			in.TaskDefinition = &definition
		}
		must[*ecs.UpdateServiceOutput](t)(s.ECS().UpdateService(t.Context(), in))
	}
	until := func(status ...ecstypes.ServiceDeploymentStatus) ecstypes.ServiceDeployment {
		t.Helper()
		var d ecstypes.ServiceDeployment
		eventually(t, time.Minute, fmt.Sprintf("the service deployment is %s", status), func() bool {
			if n := s.Describe("web").RunningCount; n < 1 {
				t.Fatalf("%d tasks run", n)
			}
			d = s.deployed("web")
			return slices.Contains(status, d.Status)
		})
		return d
	}
	good := s.Register(program(t, "web", "/bin/sh", "-c", "exec sleep 1000"))
	s.Run("web", good, 1, nil)
	s.Stable("web")
	first := s.Tasks("web", ecstypes.DesiredStatusRunning)

	bad := s.Register(program(t, "web", "/bin/sh", "-c", "exit 3"))
	update(bad, true)
	d := until(ecstypes.ServiceDeploymentStatusRollbackInProgress, ecstypes.ServiceDeploymentStatusRollbackSuccessful)
	if b := d.DeploymentCircuitBreaker; b.Status != ecstypes.ServiceDeploymentRollbackMonitorsStatusTriggered || b.FailureCount != 3 || b.Threshold != 3 {
		t.Errorf("the circuit breaker: %s", asJSON(b))
	}
	svc := s.Describe("web")
	if *svc.TaskDefinition != good || *svc.Deployments[0].TaskDefinition != good {
		t.Errorf("while it rolls back, the service has the definition %s", *svc.TaskDefinition)
	}
	for _, want := range []string{") deployment failed: tasks failed to start.", "rolling back to deployment " + *first[0].StartedBy + "."} {
		if !slices.ContainsFunc(svc.Events, func(e ecstypes.ServiceEvent) bool { return strings.Contains(*e.Message, want) }) {
			t.Errorf("no event says %q: %s", want, asJSON(svc.Events))
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
	s.Stable("web")

	slow := program(t, "web", "/bin/sh", "-c", "exec sleep 1000") // not healthy for five minutes, nor unhealthy
	slow.ContainerDefinitions[0].HealthCheck = &ecstypes.HealthCheck{Command: []string{"CMD-SHELL", "false"}, StartPeriod: aws.Int32(300)}
	update(s.Register(slow), true)
	d = until(ecstypes.ServiceDeploymentStatusInProgress)
	must[*ecs.StopServiceDeploymentOutput](t)(s.ECS().StopServiceDeployment(t.Context(), &ecs.StopServiceDeploymentInput{ServiceDeploymentArn: d.ServiceDeploymentArn}))
	until(ecstypes.ServiceDeploymentStatusRollbackInProgress, ecstypes.ServiceDeploymentStatusRollbackSuccessful)
	update("", false)
	until(ecstypes.ServiceDeploymentStatusRollbackSuccessful)
	s.Stable("web")
	if svc := s.Describe("web"); *svc.TaskDefinition != good {
		t.Errorf("in the end the service has the definition %s", *svc.TaskDefinition)
	}
}
