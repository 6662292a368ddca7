package task_test

import (
	"strings"
	"testing"

	"github.com/bakingclouds/rollcall/internal/task"
)

// TestNextProvider checks the capacity providers of consecutive tasks (ECS Developer Guide, "Capacity provider
// strategy").
func TestNextProvider(t *testing.T) {
	for _, tc := range []struct {
		name     string
		strategy []task.StrategyItem
		want     string
	}{
		{"none", nil, "- - -"},
		{"one", []task.StrategyItem{{"a", 0, 1}}, "a a a"},
		{"1 to 3", []task.StrategyItem{{"a", 0, 1}, {"b", 0, 3}}, "b b a b b b a b"},
		{"equal", []task.StrategyItem{{"a", 0, 2}, {"b", 0, 2}}, "a b a b"},
		{"base first", []task.StrategyItem{{"a", 2, 0}, {"b", 0, 1}}, "a a b b b"},
		{"base and weights", []task.StrategyItem{{"a", 0, 1}, {"b", 2, 1}}, "b b a b a b"},
		{"weight 0 gets nothing", []task.StrategyItem{{"a", 0, 0}, {"b", 0, 1}}, "b b b"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			have := map[string]int{}
			for range strings.Fields(tc.want) {
				p := task.NextProvider(tc.strategy, have)
				have[p]++
				if p == "" {
					p = "-"
				}
				got = append(got, p)
			}
			if strings.Join(got, " ") != tc.want {
				t.Errorf("got %v, want %s", got, tc.want)
			}
		})
	}
	// A task that has ended is replaced with the same provider.
	strategy := []task.StrategyItem{{"a", 1, 1}, {"b", 0, 3}}
	for missing, have := range map[string]map[string]int{"a": {"a": 1, "b": 3}, "b": {"a": 2, "b": 2}} {
		if got := task.NextProvider(strategy, have); got != missing {
			t.Errorf("NextProvider with %v = %s, want %s", have, got, missing)
		}
	}
}

func TestApplyOverrides(t *testing.T) {
	def := &task.Definition{Family: "job", Containers: []task.ContainerDefinition{
		{Name: "app", Command: []string{"run"}, Environment: map[string]string{"A": "1", "B": "1"}},
		{Name: "side", Command: []string{"watch"}},
	}}
	var none *task.Overrides
	if got := none.Apply(def); got != def {
		t.Error("nil overrides returned another definition")
	}
	got := (&task.Overrides{Containers: map[string]task.ContainerOverride{
		"app":  {Environment: map[string]string{"B": "2", "C": "2"}},
		"side": {Command: []string{"watch", "-v"}},
	}}).Apply(def)
	app, side := got.Containers[0], got.Containers[1]
	if strings.Join(app.Command, " ") != "run" ||
		app.Environment["A"]+app.Environment["B"]+app.Environment["C"] != "122" ||
		strings.Join(side.Command, " ") != "watch -v" || side.Environment != nil {
		t.Errorf("Apply returned %+v", got.Containers)
	}
	if def.Containers[0].Environment["B"] != "1" || len(def.Containers[1].Command) != 1 {
		t.Errorf("Apply changed its argument: %+v", def.Containers)
	}
}
