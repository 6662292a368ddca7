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
