package servicespec

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
	"github.com/bakingclouds/rollcall/internal/api/ecs/identifier"
	"github.com/bakingclouds/rollcall/internal/api/ecs/taskdef"
	"github.com/bakingclouds/rollcall/internal/task"
)

// CheckPlacement checks the placement constraints and strategies of a service or a standalone task.
func CheckPlacement(spec *Spec) error {
	fargate := LaunchType(spec) == types.LaunchTypeFargate
	switch {
	case fargate && len(spec.PlacementConstraints) > 0:
		return ecserr.Invalid("Placement constraints are not supported with FARGATE launch type.")
	case fargate && len(spec.PlacementStrategy) > 0:
		return ecserr.Invalid("Placement strategies are not supported with FARGATE launch type.")
	case len(spec.PlacementStrategy) > 5:
		return ecserr.Invalid("Maximum number of strategies is 5")
	}
	for _, constraint := range spec.PlacementConstraints {
		if err := checkPlacementConstraint(constraint); err != nil {
			return err
		}
	}
	for _, strategy := range spec.PlacementStrategy {
		if err := checkPlacementStrategy(strategy); err != nil {
			return err
		}
	}
	return nil
}

func checkPlacementConstraint(constraint types.PlacementConstraint) error {
	expression := aws.ToString(constraint.Expression)
	if err := ecserr.RequireOneOf("placement constraint type", constraint.Type, constraint.Type.Values()); err != nil {
		return err
	}
	if constraint.Type == types.PlacementConstraintTypeDistinctInstance {
		if expression != "" {
			return ecserr.Invalid("distinctInstance expression should not be specified.")
		}
		return nil
	}
	if problem := taskdef.ExpressionProblem(expression); problem != "" {
		return ecserr.Invalid("%s", problem)
	}
	return nil
}

// checkPlacementStrategy checks a strategy's field against its type (ECS API Reference, PlacementStrategy).
func checkPlacementStrategy(strategy types.PlacementStrategy) error {
	field := aws.ToString(strategy.Field)
	if err := ecserr.RequireOneOf("placement strategy type", strategy.Type, strategy.Type.Values()); err != nil {
		return err
	}
	switch strategy.Type {
	case types.PlacementStrategyTypeRandom:
		if field != "" {
			return ecserr.Invalid("The random placement strategy does not take a field")
		}
	case types.PlacementStrategyTypeBinpack:
		if !strings.EqualFold(field, "cpu") && !strings.EqualFold(field, "memory") {
			return ecserr.Invalid("The field of the binpack placement strategy should be one of [cpu,memory]")
		}
	case types.PlacementStrategyTypeSpread:
		name, isAttribute := strings.CutPrefix(field, "attribute:")
		isInstance := field == "host" || strings.EqualFold(field, "instanceId")
		if !isInstance && (!isAttribute || !identifier.ValidAttributeName(name)) {
			return ecserr.Invalid("The field of the spread placement strategy should be instanceId, host or attribute:NAME")
		}
	}
	return nil
}

// ConstraintRows converts placement constraints to the form that rows have.
func ConstraintRows(constraints []types.PlacementConstraint) []task.PlacementConstraint {
	var rows []task.PlacementConstraint
	for _, c := range constraints {
		rows = append(rows, task.PlacementConstraint{Type: string(c.Type), Expression: aws.ToString(c.Expression)})
	}
	return rows
}

// PlacementRows converts placement strategies to the form that rows have.
func PlacementRows(strategies []types.PlacementStrategy) []task.PlacementStrategy {
	var rows []task.PlacementStrategy
	for _, s := range strategies {
		rows = append(rows, task.PlacementStrategy{Type: string(s.Type), Field: aws.ToString(s.Field)})
	}
	return rows
}
