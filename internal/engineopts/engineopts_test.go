package engineopts_test

import (
	"encoding/json"
	"testing"

	"github.com/bakingclouds/rollcall/internal/engineopts"
)

// TestZeroValues checks that options that are not set take no space in rows, and that rows without them are read.
func TestZeroValues(t *testing.T) {
	for _, v := range []any{engineopts.Task{}, engineopts.Container{}} {
		if text, err := json.Marshal(v); err != nil || string(text) != "{}" {
			t.Errorf("%T is stored as %s (%v), want {}", v, text, err)
		}
	}
	var c engineopts.Container
	if err := json.Unmarshal([]byte("{}"), &c); err != nil || c.MaxSwapMiB != nil || c.Restart != nil {
		t.Errorf("{} is read as %+v (%v)", c, err)
	}
}

// TestStoredForm pins the names under which rows store the options.
func TestStoredForm(t *testing.T) {
	zero := 0
	c := engineopts.Container{
		Mounts: []engineopts.Mount{{Volume: "v", Path: "/v"}}, MaxSwapMiB: &zero,
		Restart: &engineopts.RestartPolicy{Ignored: []int{1}},
	}
	const want = `{"Mounts":[{"Volume":"v","Path":"/v"}],"MaxSwapMiB":0,"Restart":{"Ignored":[1],"Period":0}}`
	if text, err := json.Marshal(c); err != nil || string(text) != want {
		t.Errorf("stored as %s (%v), want %s", text, err, want)
	}
}
