package ecs_test

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/api/awsapi"
)

// fullRequest returns a request with every member that a runtime supports.
func fullRequest(t *testing.T) *sdk.RegisterTaskDefinitionInput {
	t.Helper()
	body, err := os.ReadFile("taskdef/testdata/full.json")
	if err != nil {
		t.Fatal(err)
	}
	in := new(sdk.RegisterTaskDefinitionInput)
	if err := awsapi.LowerCamel.Decode(body, in); err != nil {
		t.Fatal(err)
	}
	return in
}

// compareDefinition compares a described definition with the request, member by member.
func compareDefinition(t *testing.T, sent *sdk.RegisterTaskDefinitionInput, got *types.TaskDefinition) {
	t.Helper()
	in, out := reflect.ValueOf(sent).Elem(), reflect.ValueOf(got).Elem()
	for i := range in.NumField() {
		f := in.Type().Field(i)
		if !f.IsExported() || f.Name == "Tags" {
			continue
		}
		if d := diff(in.Field(i).Interface(), out.FieldByName(f.Name).Interface()); d != "" {
			t.Errorf("%s (-sent +read back):\n%s", f.Name, d)
		}
	}
}

// TestRoundTrip checks that a complete definition is described as it was sent, and that the description can be
// registered again.
func TestRoundTrip(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	in := fullRequest(t)
	in.Tags = []types.Tag{{Key: aws.String("team"), Value: aws.String("blue")}}
	registered := apitest.Must(api.RegisterTaskDefinition(ctx, in))(t)
	compareDefinition(t, in, registered.TaskDefinition)
	if d := diff(in.Tags, registered.Tags); d != "" {
		t.Errorf("tags of the answer (-want +got):\n%s", d)
	}

	read := apitest.Must(api.DescribeTaskDefinition(ctx, &sdk.DescribeTaskDefinitionInput{
		TaskDefinition: aws.String("everything")}))(t)
	got := read.TaskDefinition
	compareDefinition(t, in, got)
	if d := diff(registered.TaskDefinition, got); d != "" {
		t.Errorf("RegisterTaskDefinition and DescribeTaskDefinition differ:\n%s", d)
	}
	if read.Tags == nil || len(read.Tags) != 0 {
		t.Errorf("tags that the request does not include: %v", read.Tags)
	}
	if *got.TaskDefinitionArn != arns+"task-definition/everything:1" || got.Revision != 1 || got.Status != "ACTIVE" ||
		!got.RegisteredAt.Equal(epoch.Add(time.Second)) || *got.RegisteredBy != "arn:aws:iam::"+account+":root" {
		t.Errorf("computed members: %v %v %v %v %v", *got.TaskDefinitionArn, got.Revision, got.Status, got.RegisteredAt,
			*got.RegisteredBy)
	}

	again := &sdk.RegisterTaskDefinitionInput{}
	from, to := reflect.ValueOf(got).Elem(), reflect.ValueOf(again).Elem()
	for i := range to.NumField() {
		if f := to.Type().Field(i); f.IsExported() && f.Name != "Tags" {
			to.Field(i).Set(from.FieldByName(f.Name))
		}
	}
	second := apitest.Must(api.RegisterTaskDefinition(ctx, again))(t)
	compareDefinition(t, again, second.TaskDefinition)
	if second.TaskDefinition.Revision != 2 {
		t.Errorf("the second revision has the number %d", second.TaskDefinition.Revision)
	}
}

// TestDefinitionDefaults checks the members that AWS fills in, on a definition with only the required members.
func TestDefinitionDefaults(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	for _, tc := range []struct {
		mode          types.NetworkMode
		hostPort      int32
		compatibility string
	}{
		{"", 0, "[EXTERNAL EC2]"},
		{types.NetworkModeBridge, 0, "[EXTERNAL EC2]"},
		{types.NetworkModeHost, 80, "[EXTERNAL EC2]"},
		{types.NetworkModeAwsvpc, 80, "[EC2 MANAGED_INSTANCES FARGATE]"},
	} {
		t.Run("mode "+string(tc.mode), func(t *testing.T) {
			got := apitest.Must(api.RegisterTaskDefinition(ctx, &sdk.RegisterTaskDefinitionInput{
				Family: aws.String("web"), NetworkMode: tc.mode, Cpu: aws.String(".25 vCPU"), Memory: aws.String("0.5 GB"),
				ContainerDefinitions: []types.ContainerDefinition{{
					Name: aws.String("app"), Image: aws.String("i"),
					PortMappings: []types.PortMapping{{ContainerPort: aws.Int32(80)}},
					HealthCheck:  &types.HealthCheck{Command: []string{"CMD", "true"}},
				}},
			}))(t).TaskDefinition
			want := &types.TaskDefinition{
				TaskDefinitionArn: got.TaskDefinitionArn, Family: aws.String("web"), Revision: got.Revision, Status: "ACTIVE",
				RegisteredAt: got.RegisteredAt, RegisteredBy: got.RegisteredBy, RequiresAttributes: got.RequiresAttributes,
				Compatibilities: got.Compatibilities, NetworkMode: tc.mode, Cpu: aws.String("256"), Memory: aws.String("512"),
				Volumes: []types.Volume{}, PlacementConstraints: []types.TaskDefinitionPlacementConstraint{},
				ContainerDefinitions: []types.ContainerDefinition{{
					Name: aws.String("app"), Image: aws.String("i"), Essential: aws.Bool(true),
					PortMappings: []types.PortMapping{{ContainerPort: aws.Int32(80), HostPort: aws.Int32(tc.hostPort),
						Protocol: "tcp"}},
					HealthCheck: &types.HealthCheck{Command: []string{"CMD", "true"}, Interval: aws.Int32(30),
						Timeout: aws.Int32(5), Retries: aws.Int32(3)},
					Environment: []types.KeyValuePair{}, MountPoints: []types.MountPoint{}, VolumesFrom: []types.VolumeFrom{},
					SystemControls: []types.SystemControl{},
				}},
			}
			if d := diff(want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if s := fmt.Sprint(got.Compatibilities); s != tc.compatibility {
				t.Errorf("compatibilities %s, want %s", s, tc.compatibility)
			}
		})
	}
}

// TestDeregister checks that an inactive revision is described by its number but not by its family, and that its number
// is not used again.
func TestDeregister(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.registerDefinition("web", "")
	api.registerDefinition("web", "")
	deregister := func(id string) (*sdk.DeregisterTaskDefinitionOutput, error) {
		return api.DeregisterTaskDefinition(ctx, &sdk.DeregisterTaskDefinitionInput{TaskDefinition: &id})
	}
	describe := func(id string) string {
		out, err := api.DescribeTaskDefinition(ctx, &sdk.DescribeTaskDefinitionInput{TaskDefinition: &id})
		if err != nil {
			return apitest.ErrorText(err)
		}
		return fmt.Sprintf("%d %s", out.TaskDefinition.Revision, out.TaskDefinition.Status)
	}
	expect := func(id, want string) {
		t.Helper()
		if got := describe(id); got != want {
			t.Errorf("DescribeTaskDefinition %s = %s, want %s", id, got, want)
		}
	}
	expect("web", "2 ACTIVE")
	for range 2 { // the repeated call returns the same answer
		if d := apitest.Must(deregister("web:2"))(t).TaskDefinition; d.Status != "INACTIVE" || d.DeregisteredAt == nil {
			t.Errorf("DeregisterTaskDefinition: %s at %v", d.Status, d.DeregisteredAt)
		}
	}
	expect("web", "1 ACTIVE")
	expect("web:2", "2 INACTIVE")
	expect(arns+"task-definition/web:2", "2 INACTIVE")
	expect("arn:aws:ecs:us-east-1:"+account+":task-definition/web:2", "Client: Unable to describe task definition.")
	apitest.Must(deregister(arns + "task-definition/web:1"))(t)
	expect("web", "Client: Unable to describe task definition.")
	expect("web:3", "Client: Unable to describe task definition.")
	if got := api.registerDefinition("web", ""); got != arns+"task-definition/web:3" {
		t.Errorf("the next revision is %s", got)
	}
	for id, want := range map[string]string{
		"web":    "Client: Revision is missing.",
		"web:0":  "InvalidParameter: Invalid revision number. Number: 0",
		"web:x":  "InvalidParameter: Invalid revision number. Number: x",
		"none:1": "Client: Unable to describe task definition.",
	} {
		wantError(deregister(id))(t, want)
	}
}

func TestListDefinitions(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	for _, family := range []string{"web", "web-api", "web", "job"} {
		api.registerDefinition(family, "")
	}
	for range 9 {
		api.registerDefinition("web-api", "") // a tenth revision, which is listed after the ninth
	}
	for _, id := range []string{"job:1", "web-api:4"} {
		apitest.Must(api.DeregisterTaskDefinition(ctx, &sdk.DeregisterTaskDefinitionInput{TaskDefinition: aws.String(id)}))(t)
	}
	definitions := func(in sdk.ListTaskDefinitionsInput) string {
		var names []string
		pages := sdk.NewListTaskDefinitionsPaginator(api, &in)
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return apitest.ErrorText(err)
			}
			for _, arn := range page.TaskDefinitionArns {
				names = append(names, strings.TrimPrefix(arn, arns+"task-definition/"))
			}
		}
		return strings.Join(names, " ")
	}
	const webAPI = "web-api:1 web-api:2 web-api:3 web-api:5 web-api:6 web-api:7 web-api:8 web-api:9 web-api:10"
	for _, tc := range []struct {
		name string
		in   sdk.ListTaskDefinitionsInput
		want string
	}{
		{"all", sdk.ListTaskDefinitionsInput{}, "web:1 web:2 " + webAPI},
		{"one to a page", sdk.ListTaskDefinitionsInput{MaxResults: aws.Int32(1)}, "web:1 web:2 " + webAPI},
		{"family", sdk.ListTaskDefinitionsInput{FamilyPrefix: aws.String("web")}, "web:1 web:2"},
		{"prefix of a family", sdk.ListTaskDefinitionsInput{FamilyPrefix: aws.String("we")}, ""},
		{"newest first", sdk.ListTaskDefinitionsInput{FamilyPrefix: aws.String("web"), Sort: "DESC",
			MaxResults: aws.Int32(1)}, "web:2 web:1"},
		{"inactive", sdk.ListTaskDefinitionsInput{Status: "INACTIVE"}, "job:1 web-api:4"},
		{"inactive, newest first", sdk.ListTaskDefinitionsInput{Status: "INACTIVE", Sort: "DESC"}, "web-api:4 job:1"},
		{"deleted", sdk.ListTaskDefinitionsInput{Status: "DELETE_IN_PROGRESS"}, ""},
		{"unknown status", sdk.ListTaskDefinitionsInput{Status: "GONE"},
			"InvalidParameter: status should be one of [ACTIVE,INACTIVE,DELETE_IN_PROGRESS]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := definitions(tc.in); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
	families := func(in sdk.ListTaskDefinitionFamiliesInput) string {
		var names []string
		in.MaxResults = aws.Int32(1)
		pages := sdk.NewListTaskDefinitionFamiliesPaginator(api, &in)
		for pages.HasMorePages() {
			names = append(names, apitest.Must(pages.NextPage(ctx))(t).Families...)
		}
		return strings.Join(names, " ")
	}
	for _, tc := range []struct {
		in   sdk.ListTaskDefinitionFamiliesInput
		want string
	}{
		{sdk.ListTaskDefinitionFamiliesInput{}, "job web web-api"},
		{sdk.ListTaskDefinitionFamiliesInput{Status: "ALL"}, "job web web-api"},
		{sdk.ListTaskDefinitionFamiliesInput{Status: "ACTIVE"}, "web web-api"},
		{sdk.ListTaskDefinitionFamiliesInput{Status: "INACTIVE"}, "job"},
		{sdk.ListTaskDefinitionFamiliesInput{FamilyPrefix: aws.String("we")}, "web web-api"},
	} {
		if got := families(tc.in); got != tc.want {
			t.Errorf("families %v: %s, want %s", tc.in, got, tc.want)
		}
	}
}

// TestTooLarge checks that a definition of more than 64 KiB is rejected.
func TestTooLarge(t *testing.T) {
	api := newAPI(t)
	wantError(api.RegisterTaskDefinition(t.Context(), &sdk.RegisterTaskDefinitionInput{
		Family: aws.String("web"), ContainerDefinitions: []types.ContainerDefinition{{
			Name: aws.String("app"), Image: aws.String("i"), Memory: aws.Int32(64),
			Command: []string{strings.Repeat("x", 64<<10)},
		}},
	}))(t, "Client: The task definition has 65...")
}
