package servicespec

import (
	"cmp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
	"github.com/bakingclouds/rollcall/internal/api/ecs/identifier"
	"github.com/bakingclouds/rollcall/internal/api/ecs/taskdef"
	"github.com/bakingclouds/rollcall/internal/task"
)

// CheckPlacement applies the rules of constraints and strategies of services and tasks.
func CheckPlacement(s *Spec) error {
	fargate := LaunchType(s) == types.LaunchTypeFargate
	switch {
	case fargate && len(s.PlacementConstraints) > 0:
		return ecserr.Invalid("Placement constraints are not supported with FARGATE launch type.")
	case fargate && len(s.PlacementStrategy) > 0:
		return ecserr.Invalid("Placement strategies are not supported with FARGATE launch type.")
	case len(s.PlacementStrategy) > 5:
		return ecserr.Invalid("Maximum number of strategies is 5")
	}
	for _, c := range s.PlacementConstraints {
		expression := aws.ToString(c.Expression)
		if err := ecserr.OneOf("placement constraint type", cmp.Or(c.Type, "null"), c.Type.Values()); err != nil {
			return err
		}
		if c.Type == types.PlacementConstraintTypeDistinctInstance {
			if expression != "" {
				return ecserr.Invalid("distinctInstance expression should not be specified.")
			}
			continue
		}
		if problem := taskdef.ExpressionProblem(expression); problem != "" {
			return ecserr.Invalid("%s", problem)
		}
	}
	for _, p := range s.PlacementStrategy {
		if err := checkPlacementStrategy(p); err != nil {
			return err
		}
	}
	return nil
}

// checkPlacementStrategy holds a strategy's field against its type (ECS API Reference, PlacementStrategy).
func checkPlacementStrategy(p types.PlacementStrategy) error {
	field := aws.ToString(p.Field)
	if err := ecserr.OneOf("placement strategy type", cmp.Or(p.Type, "null"), p.Type.Values()); err != nil {
		return err
	}
	switch p.Type {
	case types.PlacementStrategyTypeRandom:
		if field != "" {
			return ecserr.Invalid("The random placement strategy does not take a field")
		}
	case types.PlacementStrategyTypeBinpack:
		if !strings.EqualFold(field, "cpu") && !strings.EqualFold(field, "memory") {
			return ecserr.Invalid("The field of the binpack placement strategy should be one of [cpu,memory]")
		}
	case types.PlacementStrategyTypeSpread:
		name, attribute := strings.CutPrefix(field, "attribute:")
		if field != "host" && !strings.EqualFold(field, "instanceId") && (!attribute || !identifier.ValidAttributeName(name)) {
			return ecserr.Invalid("The field of the spread placement strategy should be instanceId, host or attribute:NAME")
		}
	}
	return nil
}

func ConstraintRows(cs []types.PlacementConstraint) []task.PlacementConstraint {
	var rows []task.PlacementConstraint
	for _, c := range cs {
		rows = append(rows, task.PlacementConstraint{Type: string(c.Type), Expression: aws.ToString(c.Expression)})
	}
	return rows
}

func StrategyRows(ss []types.PlacementStrategy) []task.PlacementStrategy {
	var rows []task.PlacementStrategy
	for _, s := range ss {
		rows = append(rows, task.PlacementStrategy{Type: string(s.Type), Field: aws.ToString(s.Field)})
	}
	return rows
}
