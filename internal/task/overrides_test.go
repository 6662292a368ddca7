package task

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestApply checks that an override's role and variables replace the definition's, and also a secret of the same name.
func TestApply(t *testing.T) {
	d := &Definition{TaskRole: "reader", Containers: []ContainerDefinition{
		{Name: "app", Environment: map[string]string{"A": "1", "B": "1"}, Secrets: []Secret{{"S", "s"}, {"T", "t"}}},
		{Name: "log", Secrets: []Secret{{"S", "s"}}},
	}}
	o := &Overrides{TaskRole: "other", Containers: map[string]ContainerOverride{
		"app": {Environment: map[string]string{"B": "2", "S": "own"}}}}
	want := &Definition{TaskRole: "other", Containers: []ContainerDefinition{
		{Name: "app", Environment: map[string]string{"A": "1", "B": "2", "S": "own"}, Secrets: []Secret{{"T", "t"}}},
		{Name: "log", Secrets: []Secret{{"S", "s"}}},
	}}
	if diff := cmp.Diff(want, o.Apply(d)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(d.Containers[0].Secrets) != 2 || d.Containers[0].Environment["B"] != "1" {
		t.Errorf("Apply changed its argument: %+v", d)
	}
	if (*Overrides)(nil).Apply(d) != d {
		t.Error("nil overrides returned another definition")
	}
}
