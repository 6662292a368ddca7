package identifier

import (
	"errors"
	"testing"

	"github.com/aws/smithy-go"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/task"
)

var scope = arn.Scope{Account: "123456789012", Region: "eu-west-1"}

const arns = "arn:aws:ecs:eu-west-1:123456789012:"

// message returns the text of an API error, or the empty string for nil.
func message(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorMessage()
	}
	if err != nil {
		return "untyped: " + err.Error()
	}
	return ""
}

func TestParseIn(t *testing.T) {
	const id, uuid = "0123456789abcdef0123456789abcdef", "01234567-89ab-cdef-0123-456789abcdef"
	for _, tc := range []struct {
		name, kind, s string
		want          ID
		err           string
	}{
		{"short name", Service, "web", ID{Cluster: "prod", Name: "web"}, ""},
		{"long ARN", Service, arns + "service/prod/web", ID{ARN: arns + "service/prod/web", Cluster: "prod", Name: "web"},
			""},
		{"short ARN", Service, arns + "service/web", ID{ARN: arns + "service/web", Cluster: "prod", Name: "web"}, ""},
		{"other cluster", Service, arns + "service/test/web", ID{},
			"Invalid identifier: Identifier is for cluster test. Your cluster is prod"},
		{"other account", Service, "arn:aws:ecs:eu-west-1:999999999999:service/prod/web",
			ID{ARN: "arn:aws:ecs:eu-west-1:999999999999:service/prod/web", Cluster: "prod"}, ""},
		{"other region", Service, "arn:aws:ecs:us-east-1:123456789012:service/prod/web",
			ID{ARN: "arn:aws:ecs:us-east-1:123456789012:service/prod/web", Cluster: "prod"}, ""},
		{"other resource type", Service, arns + "task/prod/" + id, ID{},
			"Invalid identifier: Unexpected resource type in " + arns + "task/prod/" + id + "; expected service"},
		{"other AWS service", Service, "arn:aws:servicediscovery:eu-west-1:123456789012:service/srv-1", ID{},
			"Invalid identifier: arn:aws:servicediscovery:eu-west-1:123456789012:service/srv-1 is not an ARN of " +
				"Amazon ECS"},
		{"id of a task", Task, id, ID{Cluster: "prod", Name: id}, ""},
		{"UUID of a task", Task, uuid, ID{Cluster: "prod", Name: id}, ""},
		{"UUID of a container instance", ContainerInstance, uuid, ID{Cluster: "prod", Name: id}, ""},
		{"service named like a UUID", Service, uuid, ID{Cluster: "prod", Name: uuid}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ParseIn(task.ClusterRef{Scope: scope, Name: "prod"}, tc.kind, tc.s)
			if tc.want != (ID{}) {
				tc.want.Scope = scope
			}
			if got != tc.want || message(err) != tc.err {
				t.Errorf("ParseIn(%q) = %+v, %q\nwant %+v, %q", tc.s, got, message(err), tc.want, tc.err)
			}
		})
	}
}

func TestParseCluster(t *testing.T) {
	for s, want := range map[string]string{
		"": "default", "prod": "prod", arns + "cluster/prod": "prod", "arn:aws:ecs:us-east-1:123456789012:cluster/prod": "",
	} {
		if got, err := ParseCluster(scope, &s); got.Name != want || got.Scope != scope || err != nil {
			t.Errorf("ParseCluster(%q) = %v, %v, want %q", s, got, err, want)
		}
	}
	if got, err := ParseCluster(scope, nil); got.Name != "default" || err != nil {
		t.Errorf("ParseCluster(nil) = %v, %v, want default", got, err)
	}
}

func TestParseDefinition(t *testing.T) {
	for _, tc := range []struct {
		s    string
		want Definition
		err  string
	}{
		{"web", Definition{"web", 0}, ""},
		{"web:3", Definition{"web", 3}, ""},
		{arns + "task-definition/web:3", Definition{"web", 3}, ""},
		{arns + "task-definition/web", Definition{"web", 0}, ""},
		{"arn:aws:ecs:us-east-1:123456789012:task-definition/web:3", Definition{}, ""},
		{"web:0", Definition{}, "Invalid revision number. Number: 0"},
		{"web:-1", Definition{}, "Invalid revision number. Number: -1"},
		{"web:latest", Definition{}, "Invalid revision number. Number: latest"},
	} {
		if got, err := ParseDefinition(scope, tc.s); got != tc.want || message(err) != tc.err {
			t.Errorf("ParseDefinition(%q) = %v, %q, want %v, %q", tc.s, got, message(err), tc.want, tc.err)
		}
	}
}

func TestCompareDefinitions(t *testing.T) {
	ordered := []Definition{{"web", 2}, {"web", 10}, {"web-api", 1}}
	for i, a := range ordered {
		for j, b := range ordered {
			if got := CompareDefinitions(a, b); (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("CompareDefinitions(%v, %v) = %d", a, b, got)
			}
		}
	}
}

func TestParsePart(t *testing.T) {
	for _, tc := range []struct {
		s    string
		want Part
		err  string
	}{
		{arns + "service-revision/prod/web/42", Part{task.ServiceRef{Scope: scope, Cluster: "prod", Name: "web"}, "42"}, ""},
		{"arn:aws:ecs:us-east-1:123456789012:service-revision/prod/web/42", Part{}, ""},
		{"42", Part{}, `Invalid identifier: "42" is not an ARN`},
		{arns + "service-revision/web/42", Part{},
			"Invalid identifier: " + arns + "service-revision/web/42 must name a cluster, a service and a service " +
				"revision"},
	} {
		if got, err := ParsePart(scope, ServiceRevision, tc.s); got != tc.want || message(err) != tc.err {
			t.Errorf("ParsePart(%q) = %v, %q, want %v, %q", tc.s, got, message(err), tc.want, tc.err)
		}
	}
}

func TestServiceRoleARN(t *testing.T) {
	for region, want := range map[string]string{
		"eu-west-1":  "arn:aws:iam::123456789012:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS",
		"cn-north-1": "arn:aws-cn:iam::123456789012:role/aws-service-role/ecs.amazonaws.com.cn/AWSServiceRoleForECS",
	} {
		if got := ServiceRoleARN(arn.Scope{Account: scope.Account, Region: region}); got != want {
			t.Errorf("ServiceRoleARN in %s = %s, want %s", region, got, want)
		}
	}
}
