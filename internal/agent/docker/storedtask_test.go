package docker

import (
	"encoding/json"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
)

// TestTaskFileForm pins the JSON of task files, since a server reads those of earlier versions.
func TestTaskFileForm(t *testing.T) {
	const text = `{"Spec":{"ID":"t"},` +
		`"Network":{"VPC":"vpc-a","Prefix":"10.1.0.0/22","Prefix6":"fd00::/70"},` +
		`"Address":"10.1.0.9","Address6":"fd00::9",` +
		`"Pause":{"Address":"10.1.0.9","Address6":"fd00::9","Engine":"e1","Image":"sha256:1"},` +
		`"Containers":[{"Engine":"e2","Image":"sha256:2","Digest":"sha256:3",` +
		`"End":{"At":"2026-01-31T12:00:00Z","Reason":"why"}}]}`
	var stored storedTask
	if err := json.Unmarshal([]byte(text), &stored); err != nil {
		t.Fatal(err)
	}
	var members, want map[string]json.RawMessage
	encoded, err := json.Marshal(stored)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(json.Unmarshal(encoded, &members), json.Unmarshal([]byte(text), &want)); err != nil {
		t.Fatal(err)
	}
	delete(members, "Spec") // has members that are zero
	delete(want, "Spec")
	if len(members) != len(want) {
		t.Errorf("the task file has the members %v, want %v",
			slices.Sorted(maps.Keys(members)), slices.Sorted(maps.Keys(want)))
	}
	for name := range want {
		if string(members[name]) != string(want[name]) {
			t.Errorf("member %s is %s, want %s", name, members[name], want[name])
		}
	}
	if stored.Spec.ID != "t" {
		t.Errorf("the task id is %q, want t", stored.Spec.ID)
	}
}

func TestStoredStatus(t *testing.T) {
	decided, exited := time.Unix(2000, 0), time.Unix(1000, 0)
	ports := []agent.PortBinding{{Container: 80}}
	for _, tc := range []struct {
		name       string
		end        *decidedEnd
		seen       agent.ContainerStatus
		wantEnd    time.Time
		wantReason string
	}{
		{"running", nil, agent.ContainerStatus{StartedAt: exited}, time.Time{}, ""},
		{"runs, but must not", &decidedEnd{decided, "why"}, agent.ContainerStatus{StartedAt: exited}, decided, "why"},
		{"never started", &decidedEnd{decided, "why"}, agent.ContainerStatus{}, decided, "why"},
		{
			"had ended before", &decidedEnd{decided, "why"},
			agent.ContainerStatus{FinishedAt: exited, Reason: "exit"}, exited, "exit",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := storedContainer{Digest: "sha256:1", Ports: ports, End: tc.end}
			s := c.status("web", tc.seen)
			if s.Name != "web" || s.Image != "sha256:1" || !slices.Equal(s.Ports, ports) {
				t.Errorf("status is %+v, want the stored name, digest and ports", s)
			}
			if !s.FinishedAt.Equal(tc.wantEnd) || s.Reason != tc.wantReason {
				t.Errorf("end is %v %q, want %v %q", s.FinishedAt, s.Reason, tc.wantEnd, tc.wantReason)
			}
		})
	}
}

func TestLeaseNames(t *testing.T) {
	address, other := netip.MustParseAddr("10.1.0.9"), netip.MustParseAddr("10.1.0.10")
	ports := []agent.PortBinding{{Container: 80, Host: 61001, Protocol: "tcp"},
		{Container: 53, Host: 61002, Protocol: "udp"}}
	for _, tc := range []struct {
		name   string
		stored storedTask
		want   []string
	}{
		{"awsvpc, one container", storedTask{
			Spec:       agent.TaskSpec{NetworkMode: agent.NetworkAWSVPC},
			Containers: []*storedContainer{{Address: address, Ports: ports}},
		}, []string{"address/10.1.0.9"}},
		{"awsvpc, pause container", storedTask{
			Spec:       agent.TaskSpec{NetworkMode: agent.NetworkAWSVPC},
			Pause:      &storedContainer{Address: address},
			Containers: []*storedContainer{{Ports: ports}, {}},
		}, []string{"address/10.1.0.9"}},
		{"bridge", storedTask{
			Containers: []*storedContainer{{Address: address, Ports: ports}, {Address: other}},
		}, []string{"address/10.1.0.9", "port/tcp/61001", "port/udp/61002", "address/10.1.0.10"}},
		{"host", storedTask{
			Spec:       agent.TaskSpec{NetworkMode: agent.NetworkHost},
			Containers: []*storedContainer{{Ports: ports[:1]}},
		}, []string{"port/tcp/61001"}},
		{"none", storedTask{
			Spec:       agent.TaskSpec{NetworkMode: agent.NetworkNone},
			Containers: []*storedContainer{{}},
		}, nil},
	} {
		if got := tc.stored.leaseNames(); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}
