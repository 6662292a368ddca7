package attributes

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	jsonv2 "github.com/go-json-experiment/json"
	"pgregory.net/rapid"
)

// task is what an ECS task's instance has.
var task = map[string]string{
	"AVAILABILITY_ZONE": "us-east-1a", "AWS_INIT_HEALTH_STATUS": "HEALTHY", "AWS_INSTANCE_IPV4": "10.0.0.1",
	"AWS_INSTANCE_PORT": "8080", "ECS_CLUSTER_NAME": "default", "ECS_SERVICE_NAME": "backend", "REGION": "us-east-1",
}

func TestJSON(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   map[string]string
		want string
	}{
		{"none", nil, `{}`},
		{"one", map[string]string{"a": "1"}, `{"a":"1"}`},
		{"in order", map[string]string{"b": "2", "c": "3", "a": "1"}, `{"a":"1","b":"2","c":"3"}`},
		{"empty values", map[string]string{"a": "", "b": ""}, `{"a":"","b":""}`},
		{"the empty key", map[string]string{"": "x", "a": "y"}, `{"":"x","a":"y"}`},
		{"like JSON", map[string]string{`",`: `":"`, `"`: `\`}, `{"\"":"\\","\",":"\":\""}`},
		{"a hole", map[string]string{"a\x00": "\x00"}, `{"a\u0000":"\u0000"}`},
		{"beyond ASCII", map[string]string{"é": "ü\x7f"}, "{\"é\":\"ü\x7f\"}"},
		{"long", map[string]string{"a": strings.Repeat("x", 254), "b": strings.Repeat("y", 255), strings.Repeat("z", 5000): strings.Repeat("w", 70_000)},
			`{"a":"` + strings.Repeat("x", 254) + `","b":"` + strings.Repeat("y", 255) + `","` + strings.Repeat("z", 5000) + `":"` + strings.Repeat("w", 70_000) + `"}`},
		{"no UTF-8", map[string]string{"a": "\xff"}, "{\"a\":\"\ufffd\"}"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := string(Of(tc.in).AppendJSON(nil)); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
			var back Set
			if err := back.UnmarshalJSON([]byte(tc.want)); err != nil || back != Of(tc.in) {
				t.Errorf("read again it is %q: %v", back.Map(), err)
			}
		})
	}
}

func TestUnmarshal(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want map[string]string // nil: an error
	}{
		{`null`, map[string]string{}},
		{`{}`, map[string]string{}},
		{`{"a":"1"}`, map[string]string{"a": "1"}},
		{`{"a":"1","b":""}`, map[string]string{"a": "1", "b": ""}},
		{`{"b":"2","a":"1"}`, map[string]string{"a": "1", "b": "2"}},
		{`{ "a" : "1" }`, map[string]string{"a": "1"}},
		{`{"a":"\u003c\""}`, map[string]string{"a": `<"`}},
		{`{"a":1}`, nil},
		{`{"a":"1"`, nil},
		{`{"a":"1",}`, nil},
		{`{"a"}`, nil},
		{`["a"]`, nil},
	} {
		var s Set
		switch err := s.UnmarshalJSON([]byte(tc.in)); {
		case (err != nil) != (tc.want == nil):
			t.Errorf("%s: error %v", tc.in, err)
		case err == nil && s != Of(tc.want):
			t.Errorf("%s is %s", tc.in, s.AppendJSON(nil))
		}
	}
}

// TestLikeAMap holds a set against the map that it was made from, also on its way through a row and back.
func TestLikeAMap(t *testing.T) {
	text := rapid.OneOf(rapid.StringMatching(`[A-Z_]{0,3}`), rapid.String(), rapid.SampledFrom([]string{`"`, `\`, "\x00", `",`, `":"`, "<"}))
	rapid.Check(t, func(t *rapid.T) {
		m, other := rapid.MapOfN(text, text, 0, 5).Draw(t, "m"), rapid.MapOfN(text, text, 0, 5).Draw(t, "other")
		s := Of(m)
		if got := s.Map(); !maps.Equal(got, m) {
			t.Fatalf("%q became %q", m, got)
		}
		if equal := maps.Equal(m, other); (s == Of(other)) != equal {
			t.Fatalf("%q and %q are equal: %v", m, other, !equal)
		}
		for key := range maps.All(other) {
			got, ok := s.Lookup(key)
			if want, wanted := m[key]; got != want || ok != wanted {
				t.Fatalf("%q in %q: %q %v", key, m, got, ok)
			}
		}
		row, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back, back2 Set
		if err := json.Unmarshal(row, &back); err != nil || back != s {
			t.Fatalf("%s is read as %q: %v", row, back.Map(), err)
		}
		if err := jsonv2.Unmarshal(row, &back2); err != nil || back2 != s {
			t.Fatalf("%s is read as %q: %v", row, back2.Map(), err)
		}
	})
}

// TestNoGarbage holds that what is done a million times at a start allocates the values and nothing else.
func TestNoGarbage(t *testing.T) {
	row := Of(task).AppendJSON(nil)
	var s Set
	if n := testing.AllocsPerRun(100, func() {
		if err := s.UnmarshalJSON(row); err != nil {
			t.Fatal(err)
		}
	}); n > 1 {
		t.Errorf("reading a row allocates %v times", n)
	}
	buf := make([]byte, 0, 2*len(row))
	if n := testing.AllocsPerRun(100, func() { buf = s.AppendJSON(buf[:0]) }); n > 0 {
		t.Errorf("writing allocates %v times", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		if s.Get("REGION") != "us-east-1" || s.Get("none") != "" {
			t.Fatal("wrong")
		}
	}); n > 0 {
		t.Errorf("looking up allocates %v times", n)
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	s, buf := Of(task), []byte(nil)
	for b.Loop() {
		buf = s.AppendJSON(buf[:0])
	}
}

func BenchmarkUnmarshalJSON(b *testing.B) {
	row := Of(task).AppendJSON(nil)
	var s Set
	for b.Loop() {
		if err := s.UnmarshalJSON(row); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	s := Of(task)
	for b.Loop() {
		s.Get("REGION")
	}
}
