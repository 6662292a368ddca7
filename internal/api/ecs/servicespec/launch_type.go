package servicespec

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
	"github.com/bakingclouds/rollcall/internal/api/ecs/identifier"
	"github.com/bakingclouds/rollcall/internal/task"
)

// ChooseLaunchType completes a request without a launch type or capacity provider strategy: it sets the cluster's
// default strategy, or the launch type EC2 if the cluster has none.
func ChooseLaunchType(spec *Spec, cluster *task.Cluster) {
	if spec.LaunchType == "" && len(spec.CapacityProviderStrategy) == 0 {
		spec.CapacityProviderStrategy = RenderStrategy(cluster.Strategy)
	}
	if spec.LaunchType == "" && len(spec.CapacityProviderStrategy) == 0 {
		spec.LaunchType = types.LaunchTypeEc2
	}
	if LaunchType(spec) == types.LaunchTypeFargate && aws.ToString(spec.PlatformVersion) == "" {
		spec.PlatformVersion = aws.String("LATEST")
	}
}

// LaunchType returns the launch type that ECS reports for the tasks of a request.
func LaunchType(spec *Spec) types.LaunchType {
	if spec.LaunchType != "" {
		return spec.LaunchType
	}
	return types.LaunchType(task.LaunchTypeOf(StrategyRow(spec.CapacityProviderStrategy)))
}

// StrategyRow converts a capacity provider strategy to the form that rows have, with the names of the providers.
func StrategyRow(items []types.CapacityProviderStrategyItem) []task.StrategyItem {
	var row []task.StrategyItem
	for _, item := range items {
		row = append(row, task.StrategyItem{
			Provider: identifier.LastSegment(aws.ToString(item.CapacityProvider)),
			Base:     int(item.Base), Weight: int(item.Weight),
		})
	}
	return row
}

// RenderStrategy converts a capacity provider strategy of a row to the form that ECS returns.
func RenderStrategy(row []task.StrategyItem) []types.CapacityProviderStrategyItem {
	var items []types.CapacityProviderStrategyItem
	for _, item := range row {
		items = append(items, types.CapacityProviderStrategyItem{
			CapacityProvider: aws.String(item.Provider), Base: int32(item.Base), Weight: int32(item.Weight),
		})
	}
	return items
}

// CheckStrategy checks a capacity provider strategy. associated are the names of the cluster's capacity providers.
func CheckStrategy(items []types.CapacityProviderStrategyItem, associated []string) error {
	if len(items) > 20 {
		return ecserr.Invalid("A capacity provider strategy can contain a maximum of 20 capacity providers.")
	}
	bases, weights, fargate := 0, int32(0), 0
	seen := map[string]bool{}
	for _, item := range items {
		name := identifier.LastSegment(aws.ToString(item.CapacityProvider))
		if err := checkStrategyItem(item, name, associated, seen); err != nil {
			return err
		}
		if item.Base > 0 {
			bases++
		}
		if name == task.FargateProvider || name == task.FargateSpotProvider {
			fargate++
		}
		weights += item.Weight
	}
	switch {
	case bases > 1:
		return ecserr.Invalid("The specified capacity provider strategy contains multiple capacity providers " +
			"with a base value defined")
	case len(items) > 0 && weights == 0:
		return ecserr.Invalid("There are no capacity providers in the capacity provider strategy " +
			"with a weight value greater than zero")
	case fargate > 0 && fargate < len(items):
		return ecserr.Invalid("A capacity provider strategy cannot contain a mix of capacity providers using " +
			"Auto Scaling groups and Fargate. Specify one or the other and try again.")
	}
	return nil
}

// checkStrategyItem checks the item of the capacity provider with this name and adds the name to seen.
func checkStrategyItem(
	item types.CapacityProviderStrategyItem, name string, associated []string, seen map[string]bool,
) error {
	switch {
	case name == "":
		return ecserr.Invalid("capacityProvider can not be blank.")
	case !slices.Contains(associated, name):
		return ecserr.Invalid("The specified capacity provider strategy cannot contain a capacity provider " +
			"that is not associated with the cluster. Associate the capacity provider with the cluster and try again.")
	case seen[name]:
		return ecserr.Invalid("The specified capacity provider strategy contains the capacity provider %s "+
			"more than once.", name)
	case item.Weight < 0 || item.Weight > 1000:
		return ecserr.Invalid("The weight of a capacity provider must be between 0 and 1000.")
	case item.Base < 0 || item.Base > 100000:
		return ecserr.Invalid("The base of a capacity provider must be between 0 and 100000.")
	}
	seen[name] = true
	return nil
}
