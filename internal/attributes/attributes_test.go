package attributes

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	jsonv2 "github.com/go-json-experiment/json"
	"pgregory.net/rapid"
)

// task are the attributes of an ECS task's instance.
var task = map[string]string{
	"AVAILABILITY_ZONE": "us-east-1a", "AWS_INIT_HEALTH_STATUS": "HEALTHY", "AWS_INSTANCE_IPV4": "10.0.0.1",
	"AWS_INSTANCE_PORT": "8080", "ECS_CLUSTER_NAME": "default", "ECS_SERVICE_NAME": "backend", "REGION": "us-east-1",
}

func TestJSON(t *testing.T) {
	x, y := strings.Repeat("x", 254), strings.Repeat("y", 255) // the longest text with a short length, and one more
	z, w := strings.Repeat("z", 5000), strings.Repeat("w", 70_000)
	for _, tc := range []struct {
		name string
		in   map[string]string
		want string
	}{
		{"empty", nil, `{}`},
		{"one attribute", map[string]string{"a": "1"}, `{"a":"1"}`},
		{"ordered by key", map[string]string{"b": "2", "c": "3", "a": "1"}, `{"a":"1","b":"2","c":"3"}`},
		{"empty values", map[string]string{"a": "", "b": ""}, `{"a":"","b":""}`},
		{"empty key", map[string]string{"": "x", "a": "y"}, `{"":"x","a":"y"}`},
		{"JSON characters", map[string]string{`",`: `":"`, `"`: `\`}, `{"\"":"\\","\",":"\":\""}`},
		{"NUL", map[string]string{"a\x00": "\x00"}, `{"a\u0000":"\u0000"}`},
		{"not ASCII", map[string]string{"é": "ü\x7f"}, "{\"é\":\"ü\x7f\"}"},
		{"long texts", map[string]string{"a": x, "b": y, z: w},
			`{"a":"` + x + `","b":"` + y + `","` + z + `":"` + w + `"}`},
		{"invalid UTF-8", map[string]string{"a": "\xff"}, "{\"a\":\"\ufffd\"}"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := string(Of(tc.in).AppendJSON(nil)); got != tc.want {
				t.Errorf("AppendJSON = %s, want %s", got, tc.want)
			}
			var back Set
			if err := back.UnmarshalJSON([]byte(tc.want)); err != nil || back != Of(tc.in) {
				t.Errorf("UnmarshalJSON = %q, %v; want the same set", back.Map(), err)
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
			t.Errorf("%s: error %v, want an error: %v", tc.in, err, tc.want == nil)
		case err == nil && s != Of(tc.want):
			t.Errorf("UnmarshalJSON(%s) = %s, want %v", tc.in, s.AppendJSON(nil), tc.want)
		}
	}
}

// TestEqualsMap compares a set with the map that it was made from, also after the set was written to JSON and parsed.
func TestEqualsMap(t *testing.T) {
	special := rapid.SampledFrom([]string{`"`, `\`, "\x00", `",`, `":"`, "<"})
	text := rapid.OneOf(rapid.StringMatching(`[A-Z_]{0,3}`), rapid.String(), special)
	rapid.Check(t, func(t *rapid.T) {
		m, other := rapid.MapOfN(text, text, 0, 5).Draw(t, "m"), rapid.MapOfN(text, text, 0, 5).Draw(t, "other")
		s := Of(m)
		if got := s.Map(); !maps.Equal(got, m) {
			t.Fatalf("Map = %q, want %q", got, m)
		}
		if equal := maps.Equal(m, other); (s == Of(other)) != equal {
			t.Fatalf("sets of %q and %q: == is %v, want %v", m, other, !equal, equal)
		}
		for key := range maps.All(other) {
			got, ok := s.Lookup(key)
			if want, wanted := m[key]; got != want || ok != wanted {
				t.Fatalf("Lookup(%q) of %q = %q, %v; want %q, %v", key, m, got, ok, want, wanted)
			}
		}
		row, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back, back2 Set
		if err := json.Unmarshal(row, &back); err != nil || back != s {
			t.Fatalf("json v1 parses %s as %q: %v", row, back.Map(), err)
		}
		if err := jsonv2.Unmarshal(row, &back2); err != nil || back2 != s {
			t.Fatalf("json v2 parses %s as %q: %v", row, back2.Map(), err)
		}
	})
}

// TestAllocations checks that parsing, which a start does for a million rows, allocates only the values, and that
// writing and looking up allocate nothing.
func TestAllocations(t *testing.T) {
	row := Of(task).AppendJSON(nil)
	var s Set
	if n := testing.AllocsPerRun(100, func() {
		if err := s.UnmarshalJSON(row); err != nil {
			t.Fatal(err)
		}
	}); n > 1 {
		t.Errorf("parsing allocates %v times, want at most once", n)
	}
	buf := make([]byte, 0, 2*len(row))
	if n := testing.AllocsPerRun(100, func() { buf = s.AppendJSON(buf[:0]) }); n > 0 {
		t.Errorf("writing allocates %v times, want 0", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		if s.Get("REGION") != "us-east-1" || s.Get("none") != "" {
			t.Fatal("wrong value")
		}
	}); n > 0 {
		t.Errorf("looking up allocates %v times, want 0", n)
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
