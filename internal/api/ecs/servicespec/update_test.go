package servicespec

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/api/ecs/codec"
	"github.com/bakingclouds/rollcall/internal/task"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// prod is a cluster with the capacity providers of Fargate.
var prod = &task.Cluster{Name: "prod", Providers: []string{task.FargateProvider, task.FargateSpotProvider}}

// web is the task definition web:3.
var web = &task.Definition{Account: "123456789012", Region: "eu-west-1", Family: "web", Revision: 3}

// newService returns a service that runs web:3 and was created with these members, besides its name and a desired count
// of 1.
func newService(t *testing.T, members string) *task.Service {
	t.Helper()
	if !strings.Contains(members, "desiredCount") {
		members = `"desiredCount":1` + comma(members)
	}
	spec := decode[Spec](t, `{"serviceName":"web","taskDefinition":"web:3"`+comma(members)+`}`)
	FillDefaults(spec)
	ChooseLaunchType(spec, prod)
	if err := Check(spec); err != nil {
		t.Fatal(err)
	}
	svc := &task.Service{Account: "123456789012", Region: "eu-west-1", Cluster: "prod", Name: "web", Status: task.Active}
	SetRow(svc, web, *spec)
	svc.Deployments = []task.Deployment{NewDeployment("ecs-svc/1", web, spec, nil, noon)}
	return svc
}

// TestDesired checks which members an update changes, and which updates need a deployment.
func TestDesired(t *testing.T) {
	const (
		awsvpc  = `"networkConfiguration":{"awsvpcConfiguration":{"subnets":["a","b"],"securityGroups":["x","y"]}}`
		fargate = `"launchType":"FARGATE"`
		mixed   = `"capacityProviderStrategy":[{"capacityProvider":"FARGATE","weight":1},` +
			`{"capacityProvider":"FARGATE_SPOT","weight":3}]`
	)
	for _, tc := range []struct {
		name, service, update string
		want                  string // members of the desired Spec
		deploys               bool
	}{
		{"nothing", ``, ``, `"desiredCount":1,"launchType":"EC2"`, false},
		{"count", ``, `"desiredCount":0`, `"desiredCount":0`, false},
		{"grace period", ``, `"healthCheckGracePeriodSeconds":30`, `"healthCheckGracePeriodSeconds":30`, false},
		{"one percent", ``, `"deploymentConfiguration":{"maximumPercent":150}`,
			`"deploymentConfiguration":{"maximumPercent":150,"minimumHealthyPercent":100}`, false},
		{"exec", `"enableExecuteCommand":true`, `"enableExecuteCommand":false`, `"enableExecuteCommand":false`, false},
		{"absent exec", `"enableExecuteCommand":true`, ``, `"enableExecuteCommand":true`, false},
		{"constraints removed", `"placementConstraints":[{"type":"distinctInstance"}]`, `"placementConstraints":[]`,
			`"placementConstraints":[]`, false},
		{"constraints kept", `"placementConstraints":[{"type":"distinctInstance"}]`, ``,
			`"placementConstraints":[{"type":"distinctInstance"}]`, false},

		{"same network in another order", awsvpc,
			`"networkConfiguration":{"awsvpcConfiguration":{"subnets":["b","a"],"securityGroups":["y",` +
				`"x"]}}`, ``, false},
		{"other subnet", awsvpc,
			`"networkConfiguration":{"awsvpcConfiguration":{"subnets":["a","c"],"securityGroups":["x",` +
				`"y"]}}`, ``, true},
		{"public address", awsvpc, `"networkConfiguration":{"awsvpcConfiguration":{"subnets":["a","b"],` +
			`"securityGroups":["x","y"],"assignPublicIp":"ENABLED"}}`, ``, true},
		{"platform version", fargate, `"platformVersion":"1.4.0"`, `"platformVersion":"1.4.0"`, true},

		{"strategy replaces the launch type",
			fargate, mixed, `"launchType":"",` + mixed + `,"platformVersion":"LATEST"`,
			true},
		{"same strategy in another order", mixed, `"capacityProviderStrategy":[{"capacityProvider":"FARGATE_SPOT",` +
			`"weight":3},{"capacityProvider":"FARGATE","weight":1}]`, ``, false},
		{"other weight", mixed, `"capacityProviderStrategy":[{"capacityProvider":"FARGATE","weight":1},` +
			`{"capacityProvider":"FARGATE_SPOT","weight":1}]`, ``, true},
		{"empty strategy returns to the launch type", mixed, `"capacityProviderStrategy":[]`,
			`"launchType":"FARGATE","platformVersion":"LATEST"`, true},
		{"absent strategy is kept", mixed, `"desiredCount":2`, mixed, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			svc := newService(t, tc.service)
			current, err := Of(svc)
			if err != nil {
				t.Fatal(err)
			}
			before := codec.Encode(current)
			update := decode[sdk.UpdateServiceInput](t, `{"service":"web"`+comma(tc.update)+`}`)
			desired, err := Desired(current, update, prod)
			if err != nil {
				t.Fatal(err)
			}
			if after := codec.Encode(current); !bytes.Equal(before, after) {
				t.Errorf("Desired changed the current Spec\nfrom %s\nto   %s", before, after)
			}
			var got, want any
			if err := json.Unmarshal(codec.Encode(desired), &got); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(`{`+tc.want+`}`), &want); err != nil {
				t.Fatal(err)
			}
			if !contains(got, want) {
				t.Errorf("the desired Spec is\n%s\nwant the members\n%s", codec.Encode(desired), tc.want)
			}
			if got := NeedsDeployment(svc.Primary(), current, desired, web, nil); got != tc.deploys {
				t.Errorf("NeedsDeployment = %v, want %v", got, tc.deploys)
			}
		})
	}
}

// contains reports whether got has all members of want. An empty string in want is an absent member.
func contains(got, want any) bool {
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		for name := range want {
			ok = ok && contains(got[name], want[name])
		}
		return ok
	case []any:
		got, ok := got.([]any)
		ok = ok && len(got) == len(want)
		for i := range want {
			ok = ok && contains(got[i], want[i])
		}
		return ok
	case string:
		return got == want || got == nil && want == ""
	}
	return reflect.DeepEqual(got, want)
}

// TestNeedsDeployment checks the reasons for a deployment that do not come from members of the Spec.
func TestNeedsDeployment(t *testing.T) {
	svc := newService(t, ``)
	spec, err := Of(svc)
	if err != nil {
		t.Fatal(err)
	}
	registries := []task.Registry{{ARN: "arn:registry", ServiceID: "srv-1", ContainerName: "app", ContainerPort: 80}}
	for _, tc := range []struct {
		name       string
		def        task.Definition
		registries []task.Registry
		want       bool
	}{
		{"same", *web, nil, false},
		{"other revision", task.Definition{Family: "web", Revision: 4}, nil, true},
		{"other family", task.Definition{Family: "api", Revision: 3}, nil, true},
		{"new registry", *web, registries, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := NeedsDeployment(svc.Primary(), spec, spec, &tc.def, tc.registries); got != tc.want {
				t.Errorf("NeedsDeployment = %v, want %v", got, tc.want)
			}
		})
	}
	svc.Primary().Registries = registries
	if NeedsDeployment(svc.Primary(), spec, spec, web, registries) {
		t.Error("a deployment is needed although the registries are the same")
	}
	if !NeedsDeployment(svc.Primary(), spec, spec, web, nil) {
		t.Error("no deployment is needed although the registry was removed")
	}
}

// TestDesiredErrors checks that the rules apply to the whole of an updated service.
func TestDesiredErrors(t *testing.T) {
	for _, tc := range []struct{ name, service, update, want string }{
		{"maximum percent contradicts the stored minimum", ``, `"deploymentConfiguration":{"maximumPercent":100}`,
			`InvalidParameter: Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block ` +
				`deployments`},
		{"constraint on Fargate", `"launchType":"FARGATE"`, `"placementConstraints":[{"type":"distinctInstance"}]`,
			`InvalidParameter: Placement constraints are not supported with FARGATE launch type.`},
		{"platform version on EC2", ``, `"platformVersion":"1.4.0"`,
			`InvalidParameter: The platform version must be null when specifying an EC2 launch type`},
		{"capacity provider of another cluster", ``, `"capacityProviderStrategy":[{"capacityProvider":"own",` +
			`"weight":1}]`,
			`InvalidParameter: The specified capacity provider strategy cannot contain a capacity provider that is ` +
				`not ` +
				`associated with the cluster. Associate the capacity provider with the cluster and try again.`},
		{"count of a daemon service", `"schedulingStrategy":"DAEMON","desiredCount":null`, `"desiredCount":2`,
			`InvalidParameter: The daemon scheduling strategy does not support a desired count for services. ` +
				`Remove the desired count value and try again`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			current, err := Of(newService(t, tc.service))
			if err != nil {
				t.Fatal(err)
			}
			_, err = Desired(current, decode[sdk.UpdateServiceInput](t, `{"service":"web"`+comma(tc.update)+`}`), prod)
			if got := apitest.ErrorText(err); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

// TestOfAfterRollback checks that the members of a service revision come from the primary deployment, and the desired
// count from the row.
func TestOfAfterRollback(t *testing.T) {
	svc := newService(t, `"healthCheckGracePeriodSeconds":30`)
	earlier, err := Of(svc)
	if err != nil {
		t.Fatal(err)
	}
	revision := *earlier
	revision.LaunchType = "EXTERNAL"
	svc.Deployments = []task.Deployment{
		NewDeployment("ecs-svc/2", &task.Definition{Family: "web", Revision: 1}, &revision, nil, noon),
	}
	svc.DesiredCount = 7
	spec, err := Of(svc)
	if err != nil {
		t.Fatal(err)
	}
	if spec.LaunchType != "EXTERNAL" || !strings.HasSuffix(*spec.TaskDefinition, "/web:1") {
		t.Errorf("launch type %s, definition %s, want those of the primary deployment",
			spec.LaunchType, *spec.TaskDefinition)
	}
	if *spec.DesiredCount != 7 || *spec.HealthCheckGracePeriodSeconds != 30 {
		t.Errorf("desired count %d, grace period %d, want 7 and 30",
			*spec.DesiredCount, *spec.HealthCheckGracePeriodSeconds)
	}
}

// TestSetRevision checks that an update without a deployment changes the primary deployment of the new row only.
func TestSetRevision(t *testing.T) {
	stored := newService(t, ``)
	spec, err := Of(stored)
	if err != nil {
		t.Fatal(err)
	}
	spec.ServiceConnectConfiguration = &types.ServiceConnectConfiguration{}
	before := slices.Clone(stored.Primary().Sent)
	changed := *stored
	SetRevision(&changed, web, spec)
	if bytes.Equal(changed.Primary().Sent, before) {
		t.Error("the primary deployment does not have the new members")
	}
	if !bytes.Equal(stored.Primary().Sent, before) {
		t.Error("the stored row was changed")
	}

	old := *stored
	old.Deployments = []task.Deployment{{ID: "ecs-svc/1"}}
	if SetRevision(&old, web, spec); old.Primary().Sent != nil {
		t.Error("a deployment that was created without these members has them now")
	}
}
