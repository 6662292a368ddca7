package repo

import (
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecs"

	"github.com/bakingclouds/rollcall/test/harness/source"
)

// TestExampleDefinitions decodes the examples' task definitions into AWS's type, as the AWS CLI's --cli-input-json
// does. A member that AWS does not have is an error.
func TestExampleDefinitions(t *testing.T) {
	for _, tc := range []struct{ file, family, command string }{
		{"flask-worker.json", "flask-worker", "rollcall sample flask-worker"},
		{"flask-backend.json", "flask-backend", "rollcall sample flask-backend"},
		{"flask/worker.json", "flask-worker", "/usr/bin/python3 @FLASK@/worker.py"},
		{"flask/backend.json", "flask-backend", "/usr/bin/python3 @FLASK@/backend.py"},
	} {
		t.Run(tc.file, func(t *testing.T) {
			f, err := os.Open(filepath.Join(source.Root(), "examples", tc.file))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var in ecs.RegisterTaskDefinitionInput
			dec := json.NewDecoder(f)
			dec.DisallowUnknownFields()
			if err := dec.Decode(&in); err != nil {
				t.Fatal(err)
			}
			if in.Family == nil || *in.Family != tc.family || len(in.ContainerDefinitions) != 1 {
				t.Fatalf("family %v with %d containers, want %s with 1", in.Family, len(in.ContainerDefinitions),
					tc.family)
			}
			c := in.ContainerDefinitions[0]
			if got := strings.Join(c.Command, " "); got != tc.command {
				t.Errorf("command %q, want %q", got, tc.command)
			}
			// Only a shell and `rollcall sample check` expand variables.
			if h := c.HealthCheck; h == nil || h.Command[0] != "CMD-SHELL" && !slices.Equal(h.Command[:4],
				[]string{"CMD", "rollcall", "sample", "check"}) {
				t.Errorf("the health check is %+v, want one that expands variables", h)
			}
			if script := path.Base(tc.command); path.Ext(script) == ".py" {
				if _, err := os.Stat(filepath.Join(source.Root(), "examples/flask", script)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
