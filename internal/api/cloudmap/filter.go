package cloudmap

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
)

// filter is one filter of a List operation.
type filter struct {
	name      string
	condition types.FilterCondition
	values    []string
}

// filters is a list of filters. An item must match all of them.
type filters []filter

// conditions lists the valid conditions for each name of a filter. The first condition is the default.
type conditions map[string][]types.FilterCondition

var (
	byText = []types.FilterCondition{types.FilterConditionEq, types.FilterConditionBeginsWith, types.FilterConditionIn}
	byName = []types.FilterCondition{types.FilterConditionEq, types.FilterConditionIn}
	byTime = []types.FilterCondition{types.FilterConditionBetween}
)

// valueCounts is the number of values that each condition requires. Other conditions accept any number.
var valueCounts = map[types.FilterCondition]int{
	types.FilterConditionEq: 1, types.FilterConditionBeginsWith: 1, types.FilterConditionBetween: 2,
}

// add checks one filter against the constraints and the conditions of its operation, and appends it.
func (fs *filters) add(
	c *constraints, i int, allowed conditions, name string, condition types.FilterCondition, values []string,
) {
	path := fmt.Sprintf("filters.%d.member", i+1)
	if !c.required(name != "", path+".name") {
		return
	}
	can, known := allowed[name]
	if !known {
		names := make([]string, 0, len(allowed))
		for n := range allowed {
			names = append(names, n)
		}
		slices.Sort(names)
		c.add(name, path+".name", "Member must satisfy enum value set: ["+strings.Join(names, ", ")+"]")
		return
	}
	if condition == "" {
		condition = can[0]
	}
	if !slices.Contains(can, condition) {
		c.add(condition, path+".condition", fmt.Sprintf("A filter by %s accepts the conditions %v", name, can))
	}
	if !c.required(len(values) > 0, path+".values") {
		return
	}
	for j, v := range values {
		c.optionalText(&v, fmt.Sprintf("%s.values.%d.member", path, j+1), filterValue)
	}
	if want := valueCounts[condition]; want != 0 && len(values) != want {
		c.add(values, path+".values", fmt.Sprintf("The condition %s requires %d value(s)", condition, want))
		return
	}
	*fs = append(*fs, filter{name, condition, values})
}

// match reports whether an item matches all filters. of returns the item's value for the name of a filter.
func (fs filters) match(of func(name string) string) bool {
	for _, f := range fs {
		if !f.matches(of(f.name)) {
			return false
		}
	}
	return true
}

func (f filter) matches(v string) bool {
	switch f.condition {
	case types.FilterConditionBeginsWith:
		return strings.HasPrefix(v, f.values[0])
	default: // EQ is IN with one value
		return slices.Contains(f.values, v)
	}
}
