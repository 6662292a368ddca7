package arn

import "testing"

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		in       string
		kind, id string
		bad      bool
	}{
		{in: "arn:aws:servicediscovery:eu-west-1:000000000000:namespace/ns-abc", kind: "namespace", id: "ns-abc"},
		{in: "arn:aws-cn:ecs:cn-north-1:000000000000:task/blog/7f3a", kind: "task", id: "blog/7f3a"},
		{in: "arn:aws:iam::000000000000:root", id: "root"},
		{in: "arn:aws:sns:eu-west-1:000000000000:a:b", id: "a:b"},
		{in: "ns-abc", bad: true},
		{in: "", bad: true},
		{in: "arn:aws:ecs:eu-west-1:000000000000", bad: true},
		{in: "arn:aws:ecs:eu-west-1:000000000000:", bad: true},
		{in: "arn::ecs:eu-west-1:000000000000:x", bad: true},
		{in: "arn:aws::eu-west-1:000000000000:x", bad: true},
	} {
		a, err := Parse(tc.in)
		if (err != nil) != tc.bad {
			t.Errorf("Parse(%q): %v", tc.in, err)
		}
		if err != nil {
			continue
		}
		if kind, id := a.Split(); kind != tc.kind || id != tc.id {
			t.Errorf("Parse(%q) is of type %q and id %q, want %q and %q", tc.in, kind, id, tc.kind, tc.id)
		}
		if a.String() != tc.in {
			t.Errorf("Parse(%q).String() = %q", tc.in, a)
		}
	}
}

func TestNew(t *testing.T) {
	for region, want := range map[string]string{
		"eu-west-1":     "arn:aws:servicediscovery:eu-west-1:1:service/srv-x",
		"cn-north-1":    "arn:aws-cn:servicediscovery:cn-north-1:1:service/srv-x",
		"us-gov-west-1": "arn:aws-us-gov:servicediscovery:us-gov-west-1:1:service/srv-x",
	} {
		if got := New("servicediscovery", region, "1", "service/srv-x").String(); got != want {
			t.Errorf("New in %s = %s, want %s", region, got, want)
		}
	}
}
