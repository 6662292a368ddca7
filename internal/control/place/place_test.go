package place

import (
	"testing"

	"github.com/bakingclouds/rollcall/internal/task"
)

func TestPick(t *testing.T) {
	node := func(name string, tasks int) Candidate { return Candidate{&task.Node{Name: name}, tasks} }
	for _, tc := range []struct {
		name       string
		candidates []Candidate
		want       string
	}{
		{"no node", nil, ""},
		{"the only one, however full", []Candidate{node("a", 100)}, "a"},
		{"the emptiest", []Candidate{node("a", 2), node("b", 1), node("c", 3)}, "b"},
		{"the first of equals", []Candidate{node("a", 1), node("b", 1)}, "a"},
	} {
		got, ok := Pick(tc.candidates)
		if ok != (tc.want != "") || ok && got.Name != tc.want {
			t.Errorf("%s: %v, %v; want %q", tc.name, got, ok, tc.want)
		}
	}
}
