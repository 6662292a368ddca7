package servicespec

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/task"
)

// parseStrategy parses a strategy written as "FARGATE:1+2 own:3": weight and base of each capacity provider.
func parseStrategy(s string) []types.CapacityProviderStrategyItem {
	var items []types.CapacityProviderStrategyItem
	for _, field := range strings.Fields(s) {
		name, numbers, _ := strings.Cut(field, ":")
		item := types.CapacityProviderStrategyItem{CapacityProvider: &name}
		fmt.Sscanf(numbers, "%d+%d", &item.Weight, &item.Base)
		items = append(items, item)
	}
	return items
}

func TestChooseLaunchType(t *testing.T) {
	for _, tc := range []struct {
		name, requested, strategy, clusterStrategy string
		// launch type of the Spec, launch type of its tasks, platform version
		want string
	}{
		{"nothing", "", "", "", "EC2 EC2 "},
		{"launch type", "EXTERNAL", "", "FARGATE:1", "EXTERNAL EXTERNAL "},
		{"Fargate", "FARGATE", "", "", "FARGATE FARGATE LATEST"},
		{"strategy", "", "FARGATE_SPOT:1", "own:1", " FARGATE LATEST"},
		{"strategy of the cluster", "", "", "FARGATE:1", " FARGATE LATEST"},
		{"own capacity provider", "", "own:1", "", " EC2 "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			spec := &Spec{LaunchType: types.LaunchType(tc.requested), CapacityProviderStrategy: parseStrategy(tc.strategy)}
			ChooseLaunchType(spec, &task.Cluster{Strategy: StrategyRow(parseStrategy(tc.clusterStrategy))})
			got := fmt.Sprint(spec.LaunchType, " ", LaunchType(spec), " ", aws.ToString(spec.PlatformVersion))
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// TestCheckStrategy checks strategies in a cluster that has the capacity providers FARGATE, FARGATE_SPOT and own.
func TestCheckStrategy(t *testing.T) {
	many := make([]types.CapacityProviderStrategyItem, 21)
	if got, want := apitest.ErrorText(CheckStrategy(many, nil)),
		"InvalidParameter: A capacity provider strategy can contain a maximum of 20 capacity providers."; got != want {
		t.Errorf("21 items: got %s, want %s", got, want)
	}
	for _, tc := range []struct{ name, strategy, want string }{
		{"empty", "", ""},
		{"base and weights", "FARGATE:1+2 FARGATE_SPOT:3", ""},
		{"ARN", "arn/capacity-provider/own:1", ""},
		{"no name", ":1", "capacityProvider can not be blank."},
		{"not associated", "other:1", "The specified capacity provider strategy cannot contain a capacity provider " +
			"that is not associated with the cluster. Associate the capacity provider with the cluster and try again."},
		{"twice", "own:1 own:2",
			"The specified capacity provider strategy contains the capacity provider own more than once."},
		{"weight", "own:1001", "The weight of a capacity provider must be between 0 and 1000."},
		{"base", "own:1+100001", "The base of a capacity provider must be between 0 and 100000."},
		{"two bases", "FARGATE:1+1 FARGATE_SPOT:1+1", "The specified capacity provider strategy contains " +
			"multiple capacity providers with a base value defined"},
		{"no weight", "FARGATE:0", "There are no capacity providers in the capacity provider strategy " +
			"with a weight value greater than zero"},
		{"Fargate and own", "FARGATE:1 own:1", "A capacity provider strategy cannot contain a mix of capacity " +
			"providers using Auto Scaling groups and Fargate. Specify one or the other and try again."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := CheckStrategy(parseStrategy(tc.strategy), []string{"FARGATE", "FARGATE_SPOT", "own"})
			if got := strings.TrimPrefix(apitest.ErrorText(err), "InvalidParameter: "); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

// TestFillDefaults checks the defaults that depend on other members.
func TestFillDefaults(t *testing.T) {
	for _, tc := range []struct{ name, members, want string }{
		{"replicas", ``, "REPLICA 100..200% ENABLED"},
		{"replicas without surplus", `"deploymentConfiguration":{"maximumPercent":100}`, "REPLICA 100..100% DISABLED"},
		{"daemon", `"schedulingStrategy":"DAEMON"`, "DAEMON 0..100% DISABLED"},
		{"no default applies", `"availabilityZoneRebalancing":"DISABLED","deploymentConfiguration":` +
			`{"minimumHealthyPercent":50,"maximumPercent":150}`, "REPLICA 50..150% DISABLED"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			spec := decode[Spec](t, `{"serviceName":"web"`+comma(tc.members)+`}`)
			FillDefaults(spec)
			d := spec.DeploymentConfiguration
			got := fmt.Sprintf("%s %d..%d%% %s", spec.SchedulingStrategy, *d.MinimumHealthyPercent, *d.MaximumPercent,
				spec.AvailabilityZoneRebalancing)
			if got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}
