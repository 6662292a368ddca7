package taskdef

import (
	"cmp"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
	"github.com/bakingclouds/rollcall/internal/clusterquery"
)

// ExpressionProblem says what is wrong with the expression of a memberOf constraint; "" is nothing.
func ExpressionProblem(expression string) string {
	if expression == "" {
		return "A memberOf constraint must have an expression of at most 2000 characters"
	}
	if _, err := clusterquery.Parse(expression); err != nil {
		return "Invalid expression in placement constraint: " + err.Error()
	}
	return ""
}

func checkPlacement(in *Request) error {
	if len(in.PlacementConstraints) > 10 {
		return ecserr.Client("A task definition can have at most 10 placement constraints.")
	}
	for _, p := range in.PlacementConstraints {
		if err := ecserr.OneOf("placement constraint type", cmp.Or(p.Type, "null"), p.Type.Values()); err != nil {
			return err
		}
		if problem := ExpressionProblem(aws.ToString(p.Expression)); problem != "" {
			return ecserr.Client("%s", problem)
		}
	}
	return nil
}
