package task

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestApply checks that the members of an override replace those of the definition: the role, the commands, and the
// variables, which also replace secrets of the same name.
func TestApply(t *testing.T) {
	d := &Definition{TaskRole: "reader", Containers: []ContainerDefinition{
		{Name: "app", Command: []string{"run"}, Environment: map[string]string{"A": "1", "B": "1"},
			Secrets: []Secret{{"S", "s"}, {"T", "t"}}},
		{Name: "log", Command: []string{"watch"}, Secrets: []Secret{{"S", "s"}}},
		{Name: "side", Command: []string{"wait"}},
	}}
	o := &Overrides{TaskRole: "other", Containers: map[string]ContainerOverride{
		"app": {Environment: map[string]string{"B": "2", "C": "2", "S": "own"}},
		"log": {Command: []string{"watch", "-v"}},
	}}
	want := &Definition{TaskRole: "other", Containers: []ContainerDefinition{
		{Name: "app", Command: []string{"run"}, Environment: map[string]string{"A": "1", "B": "2", "C": "2", "S": "own"},
			Secrets: []Secret{{"T", "t"}}},
		{Name: "log", Command: []string{"watch", "-v"}, Secrets: []Secret{{"S", "s"}}},
		{Name: "side", Command: []string{"wait"}},
	}}
	if diff := cmp.Diff(want, o.Apply(d)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(d.Containers[0].Secrets) != 2 || d.Containers[0].Environment["B"] != "1" || len(d.Containers[1].Command) != 1 {
		t.Errorf("Apply changed its argument: %+v", d)
	}
	if (*Overrides)(nil).Apply(d) != d {
		t.Error("nil overrides returned another definition")
	}
}
