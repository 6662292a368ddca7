package cloudwatchlogs_test

import (
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/loggroup"
)

// TestRepeatedCall checks that a call whose outcome is unknown can be repeated under its invocation id and then
// returns the first attempt's result, and that another caller's call with the same id does not receive it.
func TestRepeatedCall(t *testing.T) {
	db, loseNext := apitest.OpenLossy(t, loggroup.Schema()...)
	w := newWorldOn(t, db)
	create := func(c *sdk.Client, name string) (*sdk.CreateLogGroupOutput, error) {
		return c.CreateLogGroup(t.Context(), &sdk.CreateLogGroupInput{LogGroupName: &name})
	}
	id := apitest.WithInvocationID("8f14e45f-ceea-467f-a8f9-8d5b5f1d0c11")
	first, second := w.client(id), w.client(id, apitest.As(apitest.OtherAdministrator))

	loseNext()
	if _, err := create(first, "first"); apitest.ErrorCode(err) != "ServiceUnavailable" {
		t.Fatalf("first attempt: %v, want ServiceUnavailable", err)
	}
	apitest.Must(create(second, "second"))(t)
	apitest.Must(create(first, "first"))(t) // and not ResourceAlreadyExistsException
	groups := apitest.Must(w.DescribeLogGroups(t.Context(), &sdk.DescribeLogGroupsInput{}))(t).LogGroups
	if len(groups) != 2 || *groups[0].LogGroupName != "first" || *groups[1].LogGroupName != "second" {
		t.Errorf("log groups are %v, want first and second", groups)
	}
}
