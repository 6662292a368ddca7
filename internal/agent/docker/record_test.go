package docker

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
)

func TestRecordStatus(t *testing.T) {
	decided, exited := time.Unix(2000, 0), time.Unix(1000, 0)
	ports := []agent.PortBinding{{Container: 80}}
	for _, tc := range []struct {
		name       string
		end        *ending
		seen       agent.ContainerStatus
		wantEnd    time.Time
		wantReason string
	}{
		{"running", nil, agent.ContainerStatus{StartedAt: exited}, time.Time{}, ""},
		{"runs, but must not", &ending{decided, "why"}, agent.ContainerStatus{StartedAt: exited}, decided, "why"},
		{"never started", &ending{decided, "why"}, agent.ContainerStatus{}, decided, "why"},
		{"had ended before", &ending{decided, "why"}, agent.ContainerStatus{FinishedAt: exited, Reason: "exit"}, exited, "exit"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := containerRecord{Digest: "sha256:1", Ports: ports, End: tc.end}
			s := c.status("web", tc.seen)
			if s.Name != "web" || s.Image != "sha256:1" || !slices.Equal(s.Ports, ports) {
				t.Errorf("status is %+v, want the record's name, digest and ports", s)
			}
			if !s.FinishedAt.Equal(tc.wantEnd) || s.Reason != tc.wantReason {
				t.Errorf("end is %v %q, want %v %q", s.FinishedAt, s.Reason, tc.wantEnd, tc.wantReason)
			}
		})
	}
}

func TestLeaseNames(t *testing.T) {
	address, other := netip.MustParseAddr("10.1.0.9"), netip.MustParseAddr("10.1.0.10")
	ports := []agent.PortBinding{{Container: 80, Host: 61001, Protocol: "tcp"}, {Container: 53, Host: 61002, Protocol: "udp"}}
	for _, tc := range []struct {
		name   string
		record record
		want   []string
	}{
		{"awsvpc, one container", record{
			Spec:       agent.TaskSpec{NetworkMode: agent.NetworkAWSVPC},
			Containers: []*containerRecord{{Address: address, Ports: ports}},
		}, []string{"address/10.1.0.9"}},
		{"awsvpc, pause container", record{
			Spec:       agent.TaskSpec{NetworkMode: agent.NetworkAWSVPC},
			Pause:      &containerRecord{Address: address},
			Containers: []*containerRecord{{Ports: ports}, {}},
		}, []string{"address/10.1.0.9"}},
		{"bridge", record{
			Containers: []*containerRecord{{Address: address, Ports: ports}, {Address: other}},
		}, []string{"address/10.1.0.9", "port/tcp/61001", "port/udp/61002", "address/10.1.0.10"}},
		{"host", record{
			Spec:       agent.TaskSpec{NetworkMode: agent.NetworkHost},
			Containers: []*containerRecord{{Ports: ports[:1]}},
		}, []string{"port/tcp/61001"}},
		{"none", record{
			Spec:       agent.TaskSpec{NetworkMode: agent.NetworkNone},
			Containers: []*containerRecord{{}},
		}, nil},
	} {
		if got := tc.record.leaseNames(); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}
