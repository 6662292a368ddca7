package ecs

import (
	"cmp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/clusterquery"
	"github.com/bakingclouds/rollcall/internal/task"
)

// checkPlacement applies the rules of constraints and strategies of services and tasks.
func checkPlacement(s *settings) error {
	fargate := launchOf(s) == types.LaunchTypeFargate
	switch {
	case fargate && len(s.PlacementConstraints) > 0:
		return invalid("Placement constraints are not supported with FARGATE launch type.")
	case fargate && len(s.PlacementStrategy) > 0:
		return invalid("Placement strategies are not supported with FARGATE launch type.")
	case len(s.PlacementStrategy) > 5:
		return invalid("Maximum number of strategies is 5")
	}
	for _, c := range s.PlacementConstraints {
		expression := aws.ToString(c.Expression)
		if err := oneOf("placement constraint type", cmp.Or(c.Type, "null"), c.Type.Values()); err != nil {
			return err
		}
		if c.Type == types.PlacementConstraintTypeDistinctInstance {
			if expression != "" {
				return invalid("distinctInstance expression should not be specified.")
			}
			continue
		}
		if problem := expressionProblem(expression); problem != "" {
			return invalid("%s", problem)
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
	if err := oneOf("placement strategy type", cmp.Or(p.Type, "null"), p.Type.Values()); err != nil {
		return err
	}
	switch p.Type {
	case types.PlacementStrategyTypeRandom:
		if field != "" {
			return invalid("The random placement strategy does not take a field")
		}
	case types.PlacementStrategyTypeBinpack:
		if !strings.EqualFold(field, "cpu") && !strings.EqualFold(field, "memory") {
			return invalid("The field of the binpack placement strategy should be one of [cpu,memory]")
		}
	case types.PlacementStrategyTypeSpread:
		name, attribute := strings.CutPrefix(field, "attribute:")
		if field != "host" && !strings.EqualFold(field, "instanceId") && (!attribute || !attributeName.MatchString(name)) {
			return invalid("The field of the spread placement strategy should be instanceId, host or attribute:NAME")
		}
	}
	return nil
}

// expressionProblem says what is wrong with the expression of a memberOf constraint; "" is nothing.
func expressionProblem(expression string) string {
	if expression == "" {
		return "A memberOf constraint must have an expression of at most 2000 characters"
	}
	if _, err := clusterquery.Parse(expression); err != nil {
		return "Invalid expression in placement constraint: " + err.Error()
	}
	return ""
}

func checkDefinitionPlacement(in *definition) error {
	if len(in.PlacementConstraints) > 10 {
		return clientError("A task definition can have at most 10 placement constraints.")
	}
	for _, p := range in.PlacementConstraints {
		if err := oneOf("placement constraint type", cmp.Or(p.Type, "null"), p.Type.Values()); err != nil {
			return err
		}
		if problem := expressionProblem(aws.ToString(p.Expression)); problem != "" {
			return clientError("%s", problem)
		}
	}
	return nil
}

func constraintRows(cs []types.PlacementConstraint) []task.PlacementConstraint {
	var rows []task.PlacementConstraint
	for _, c := range cs {
		rows = append(rows, task.PlacementConstraint{Type: string(c.Type), Expression: aws.ToString(c.Expression)})
	}
	return rows
}

func strategyRows(ss []types.PlacementStrategy) []task.PlacementStrategy {
	var rows []task.PlacementStrategy
	for _, s := range ss {
		rows = append(rows, task.PlacementStrategy{Type: string(s.Type), Field: aws.ToString(s.Field)})
	}
	return rows
}
