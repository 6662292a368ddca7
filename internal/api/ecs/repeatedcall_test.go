package ecs_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/task"
)

// TestRepeatedCall checks that a call whose outcome is unknown can be repeated under its invocation id and then
// returns the first attempt's result, and that another caller's call with the same id does not receive it.
func TestRepeatedCall(t *testing.T) {
	db, loseNext := apitest.OpenLossy(t, append(task.Schema(), registry.Schema()...)...)
	api := newAPIOn(t, db)
	register := func(c *sdk.Client, family string) (*sdk.RegisterTaskDefinitionOutput, error) {
		return c.RegisterTaskDefinition(t.Context(), &sdk.RegisterTaskDefinitionInput{
			Family: &family,
			ContainerDefinitions: []types.ContainerDefinition{
				{Name: aws.String("app"), Image: aws.String("sample"), Memory: aws.Int32(64)}},
		})
	}
	id := apitest.WithInvocationID("8f14e45f-ceea-467f-a8f9-8d5b5f1d0c11")
	first, second := api.client(id), api.client(id, apitest.As(apitest.OtherAdministrator))

	loseNext()
	if _, err := register(first, "web"); apitest.ErrorCode(err) != "ServiceUnavailable" {
		t.Fatalf("first attempt: %v, want ServiceUnavailable", err)
	}
	if got := *apitest.Must(register(second, "job"))(
		t).TaskDefinition.TaskDefinitionArn; got != arns+"task-definition/job:1" {
		t.Errorf("the other caller registered job and received %s", got)
	}
	if got := *apitest.Must(register(first, "web"))(
		t).TaskDefinition.TaskDefinitionArn; got != arns+"task-definition/web:1" {
		t.Errorf("the repeated call registered web and received %s", got)
	}
}
