package servicespec

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
	"github.com/bakingclouds/rollcall/internal/api/ecs/identifier"
	"github.com/bakingclouds/rollcall/internal/task"
)

// ChooseLaunch settles how the tasks of a request are launched: as it says, else as the cluster's default
// strategy does, else on EC2.
func ChooseLaunch(s *Spec, cluster *task.Cluster) {
	if s.LaunchType == "" && len(s.CapacityProviderStrategy) == 0 {
		s.CapacityProviderStrategy = RenderStrategy(cluster.Strategy)
	}
	if s.LaunchType == "" && len(s.CapacityProviderStrategy) == 0 {
		s.LaunchType = types.LaunchTypeEc2
	}
	if LaunchType(s) == types.LaunchTypeFargate && aws.ToString(s.PlatformVersion) == "" {
		s.PlatformVersion = aws.String("LATEST")
	}
}

// LaunchType is the launch type that tasks are reported with.
func LaunchType(s *Spec) types.LaunchType {
	if s.LaunchType != "" {
		return s.LaunchType
	}
	return types.LaunchType(task.LaunchTypeOf(StrategyRow(s.CapacityProviderStrategy)))
}

// StrategyRow is a strategy as rows keep it, by the names of its providers; strategyView is one as ECS sends it.
func StrategyRow(items []types.CapacityProviderStrategyItem) []task.StrategyItem {
	var strategy []task.StrategyItem
	for _, item := range items {
		strategy = append(strategy, task.StrategyItem{
			Provider: identifier.LastSegment(aws.ToString(item.CapacityProvider)), Base: int(item.Base), Weight: int(item.Weight),
		})
	}
	return strategy
}

func RenderStrategy(strategy []task.StrategyItem) []types.CapacityProviderStrategyItem {
	var items []types.CapacityProviderStrategyItem
	for _, item := range strategy {
		items = append(items, types.CapacityProviderStrategyItem{
			CapacityProvider: aws.String(item.Provider), Base: int32(item.Base), Weight: int32(item.Weight),
		})
	}
	return items
}

// CheckStrategy applies the rules of a capacity provider strategy; associated are the cluster's providers.
func CheckStrategy(items []types.CapacityProviderStrategyItem, associated []string) error {
	if len(items) > 20 {
		return ecserr.Invalid("A capacity provider strategy can contain a maximum of 20 capacity providers.")
	}
	bases, weights := 0, int32(0)
	kinds, seen := map[bool]bool{}, map[string]bool{}
	for _, item := range items {
		name := identifier.LastSegment(aws.ToString(item.CapacityProvider))
		switch {
		case name == "":
			return ecserr.Invalid("capacityProvider can not be blank.")
		case !slices.Contains(associated, name):
			return ecserr.Invalid("The specified capacity provider strategy cannot contain a capacity provider that is not associated with the cluster. Associate the capacity provider with the cluster and try again.")
		case seen[name]:
			return ecserr.Invalid("The specified capacity provider strategy contains the capacity provider %s more than once.", name)
		case item.Weight < 0 || item.Weight > 1000:
			return ecserr.Invalid("The weight of a capacity provider must be between 0 and 1000.")
		case item.Base < 0 || item.Base > 100000:
			return ecserr.Invalid("The base of a capacity provider must be between 0 and 100000.")
		}
		if item.Base > 0 {
			bases++
		}
		weights += item.Weight
		seen[name] = true
		kinds[name == task.FargateProvider || name == task.FargateSpotProvider] = true
	}
	switch {
	case bases > 1:
		return ecserr.Invalid("The specified capacity provider strategy contains multiple capacity providers with a base value defined")
	case len(items) > 0 && weights == 0:
		return ecserr.Invalid("There are no capacity providers in the capacity provider strategy with a weight value greater than zero")
	case len(kinds) > 1:
		return ecserr.Invalid("A capacity provider strategy cannot contain a mix of capacity providers using Auto Scaling groups and Fargate. Specify one or the other and try again.")
	}
	return nil
}

// SameStrategy compares strategies as sets.
func SameStrategy(a, b []task.StrategyItem) bool {
	if len(a) != len(b) {
		return false
	}
	for _, item := range a {
		if !slices.Contains(b, item) {
			return false
		}
	}
	return true
}
