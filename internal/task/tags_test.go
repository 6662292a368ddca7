package task_test

import (
	"fmt"
	"testing"

	"github.com/bakingclouds/rollcall/internal/task"
)

// TestTaskTags checks the tags of a service's new task.
func TestTaskTags(t *testing.T) {
	def := &task.Definition{Tags: map[string]string{"of": "definition"}}
	for _, tc := range []struct {
		propagate string
		managed   bool
		want      string
	}{
		{"", false, "map[]"},
		{"NONE", false, "map[]"},
		{"SERVICE", false, "map[of:service]"},
		{"TASK_DEFINITION", false, "map[of:definition]"},
		{"NONE", true, "map[aws:ecs:clusterName:prod aws:ecs:serviceName:web]"},
		{"SERVICE", true, "map[aws:ecs:clusterName:prod aws:ecs:serviceName:web of:service]"},
	} {
		svc := &task.Service{
			Cluster: "prod", Name: "web", Tags: map[string]string{"of": "service"}, PropagateTags: tc.propagate,
			ManagedTags: tc.managed,
		}
		if got := fmt.Sprint(svc.TaskTags(def)); got != tc.want {
			t.Errorf("propagateTags %q, managed %v: %s, want %s", tc.propagate, tc.managed, got, tc.want)
		}
	}
	if got := fmt.Sprint(def.Tags); got != "map[of:definition]" {
		t.Errorf("TaskTags changed the definition's tags to %s", got)
	}
}
