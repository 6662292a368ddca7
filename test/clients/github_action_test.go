package clients

import (
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/test/harness"
)

// TestGitHubAction makes the calls of GitHub's action that deploys a task definition. It registers again what
// DescribeTaskDefinition returns, without the members that only AWS writes, and waits with the waiters of `aws ecs
// wait`.
func TestGitHubAction(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--runtime", "process")
	api, ctx := s.ECSWithoutRetries(), t.Context()
	in := harness.Program(t, "app", "sleep", "1000")
	in.ContainerDefinitions[0].PortMappings = []ecstypes.PortMapping{
		{ContainerPort: aws.Int32(8080), Name: aws.String("http")}}
	in.ContainerDefinitions[0].DockerLabels = map[string]string{"a": "1"}
	s.CreateECSService("app", s.RegisterDefinition(in), 1, nil)
	if err := s.WaitServicesStable("app"); err != nil {
		t.Fatal(err)
	}

	shown := harness.Must(api.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{
		TaskDefinition: aws.String("app")}))(t).TaskDefinition
	again := &ecs.RegisterTaskDefinitionInput{}
	for to, from, i := reflect.ValueOf(again).Elem(), reflect.ValueOf(shown).Elem(), 0; i < to.NumField(); i++ {
		if f := from.FieldByName(to.Type().Field(i).Name); f.IsValid() && to.Type().Field(i).IsExported() {
			to.Field(i).Set(f)
		}
	}
	again.ContainerDefinitions[0].Image = aws.String("app:2")
	next := harness.Must(api.RegisterTaskDefinition(ctx, again))(t).TaskDefinition
	if got := harness.AsJSON(next.ContainerDefinitions); got != harness.AsJSON(again.ContainerDefinitions) ||
		next.Revision != 2 {
		t.Errorf("the definition registered again is revision %d: %s", next.Revision, got)
	}
	if svc := s.DescribeService("app"); *svc.Status != "ACTIVE" {
		t.Fatalf("the service is %s", *svc.Status)
	}
	updated := harness.Must(api.UpdateService(ctx, &ecs.UpdateServiceInput{Service: aws.String("app"),
		TaskDefinition: next.TaskDefinitionArn}))(t)
	if n := len(updated.Service.Deployments); n != 2 {
		t.Errorf("UpdateService returns %d deployments, want 2; otherwise a waiter considers the service stable", n)
	}
	if err := s.WaitServicesStable("app"); err != nil {
		t.Fatal(err)
	}
	if tasks := s.Tasks("app", ecstypes.DesiredStatusRunning); len(tasks) != 1 ||
		*tasks[0].TaskDefinitionArn != *next.TaskDefinitionArn || *tasks[0].Containers[0].Image != "app:2" {
		t.Errorf("after the deployment the tasks are %s", harness.AsJSON(tasks))
	}

	harness.Must(api.DeleteService(ctx, &ecs.DeleteServiceInput{Service: aws.String("app"), Force: aws.Bool(true)}))(t)
	if err := s.WaitServicesInactive("app"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"app", "none"} { // a deleted service, and one that never existed
		if err := s.WaitServicesStable(name); err == nil || !strings.Contains(err.Error(), "Failure") {
			t.Errorf("services-stable waiter for %s: %v, want a failure", name, err)
		}
	}
	if err := s.WaitServicesInactive("none"); err == nil || !strings.Contains(err.Error(), "Failure") {
		t.Errorf("services-inactive waiter for a service that never existed: %v, want a failure", err)
	}
}
