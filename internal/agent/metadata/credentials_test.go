package metadata

import (
	"strings"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/task"
)

func TestRoleARN(t *testing.T) {
	for _, tc := range []struct{ role, region, want string }{
		{"arn:aws:iam::111111111111:role/reader", "eu-west-1", "arn:aws:iam::111111111111:role/reader"},
		{"reader", "eu-west-1", "arn:aws:iam::000000000000:role/reader"},
		{"path/reader", "eu-west-1", "arn:aws:iam::000000000000:role/path/reader"},
		{"reader", "cn-north-1", "arn:aws-cn:iam::000000000000:role/reader"},
	} {
		if got := roleARN(tc.role, &task.Task{Account: "000000000000", Region: tc.region}); got != tc.want {
			t.Errorf("roleARN(%s) in %s = %s, want %s", tc.role, tc.region, got, tc.want)
		}
	}
}

// TestNames checks that a name is accepted only for its purpose and unchanged, and that the parts of it return.
func TestNames(t *testing.T) {
	s, other := secret("key"), secret("another key")
	const id = "a-task-0" // with the separator of a container's name
	name := s.container(id, 12)
	if gotID, n, ok := s.containerOf(name); gotID != id || n != 12 || !ok {
		t.Errorf("containerOf(%s) = %s, %d, %v; want %s, 12", name, gotID, n, ok, id)
	}
	if gotID, ok := s.credentialsOf(s.credentials(id)); gotID != id || !ok {
		t.Errorf("credentialsOf = %s, %v; want %s", gotID, ok, id)
	}
	for what, name := range map[string]string{
		"empty": "", "no code": id + "-12", "short code": name[:len(name)-1],
		"changed number": strings.Replace(name, "-12-", "-13-", 1),
		"another key":    other.container(id, 12), "credentials": s.credentials(id), "too long": strings.Repeat("a", 10000),
	} {
		if _, _, ok := s.containerOf(name); ok {
			t.Errorf("containerOf accepts %s: %s", what, name)
		}
	}
	if _, ok := s.credentialsOf(name); ok {
		t.Error("credentialsOf accepts the name of a container")
	}
	if s.token(id) == s.token("other") || s.token(id) == other.token(id) || len(s.token(id)) != 4*codeBytes {
		t.Errorf("token %q; want one that depends on task and key", s.token(id))
	}
}

func TestParseProtection(t *testing.T) {
	for _, tc := range []struct {
		body    string
		want    time.Duration
		problem string
	}{
		{`{"ProtectionEnabled":true}`, task.DefaultProtection, ""},
		{`{"ProtectionEnabled":true,"ExpiresInMinutes":1}`, time.Minute, ""},
		{`{"ProtectionEnabled":true,"ExpiresInMinutes":2880}`, 48 * time.Hour, ""},
		{`{"ProtectionEnabled":false}`, 0, ""},
		{`{"ProtectionEnabled":false,"ExpiresInMinutes":5}`, 0, ""},
		{`{"ProtectionEnabled":true,"ExpiresInMinutes":0}`, 0, "between 1 and 2880 minutes"},
		{`{"ProtectionEnabled":true,"ExpiresInMinutes":2881}`, 0, "between 1 and 2880 minutes"},
		{`{}`, 0, "does not contain 'ProtectionEnabled' field"},
		{`{"ProtectionEnabled":"yes"}`, 0, "failed to decode request"},
		{`{"ProtectionEnabled":true}{}`, 0, "failed to decode request"},
		{`{"Unknown":true}`, 0, "failed to decode request"},
		{``, 0, "failed to decode request"},
	} {
		d, problem := parseProtection(strings.NewReader(tc.body))
		if d != tc.want || (problem == "") != (tc.problem == "") || !strings.Contains(problem, tc.problem) {
			t.Errorf("parseProtection(%s) = %v, %q; want %v, %q", tc.body, d, problem, tc.want, tc.problem)
		}
	}
}

// TestMeter checks that requests within a second share a measurement, and that ended containers are forgotten.
func TestMeter(t *testing.T) {
	running, measured := map[string]bool{"1": true, "2": true}, 0
	measure := func(ids []string) map[string]agent.Usage {
		measured++
		used := map[string]agent.Usage{}
		for _, id := range ids {
			if running[id] {
				used[id] = agent.Usage{Processes: measured}
			}
		}
		return used
	}
	var m meter
	at := time.Unix(1700000000, 0)
	first, before, ok := m.read("1", at, measure)
	if !ok || first.Processes != 1 || !before.at.IsZero() {
		t.Errorf("first read: %+v, %+v, %v; want the first sample alone", first, before, ok)
	}
	if again, _, ok := m.read("1", at, measure); !ok || again != first || measured != 1 {
		t.Errorf("second read: %+v, %v, after %d measurements; want the first sample", again, ok, measured)
	}
	if _, _, ok := m.read("2", at, measure); !ok || measured != 2 {
		t.Errorf("read of another container: %v, after %d measurements; want a second measurement", ok, measured)
	}
	at = at.Add(maxAge)
	delete(running, "1")
	if now, _, ok := m.read("1", at, measure); ok || len(m.containers) != 1 {
		t.Errorf("read of an ended container: %+v, %v, with %d containers kept; want it forgotten", now, ok,
			len(m.containers))
	}
	if now, before, ok := m.read("2", at, measure); !ok || now.Processes != 3 || before.Processes != 2 {
		t.Errorf("read after two measurements: %+v, %+v, %v; want both samples", now, before, ok)
	}
}
