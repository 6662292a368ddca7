package render

import (
	"fmt"
	"math"
	"net/netip"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/task"
)

func TestDesiredStatus(t *testing.T) {
	for _, tc := range []struct {
		name    string
		state   task.State
		desired string
		want    string
	}{
		{"running", task.Running, task.DesiredRunning, "RUNNING"},
		{"stop requested", task.Running, task.DesiredStopped, "STOPPED"},
		{"containers stopped without a request", task.Deactivating, task.DesiredRunning, "STOPPED"},
		{"stopped", task.Stopped, task.DesiredRunning, "STOPPED"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			row := &task.Task{Desired: tc.desired, Observed: task.Observed{State: tc.state}}
			if got := DesiredStatus(row); got != tc.want {
				t.Errorf("DesiredStatus = %s, want %s", got, tc.want)
			}
		})
	}
}

// TestContainer checks the status of a container that its node has not reported, and of one that it has.
func TestContainer(t *testing.T) {
	reported := []task.Container{{Name: "app", Status: "RUNNING"}}
	for _, tc := range []struct {
		name       string
		state      task.State
		containers []task.Container
		want       string
	}{
		{"not reported", task.Provisioning, nil, "PENDING"},
		{"reported", task.Running, reported, "RUNNING"},
		{"never started", task.Stopped, nil, "STOPPED"},
		{"stopped with its task", task.Stopped, reported, "STOPPED"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			row := &task.Task{Observed: task.Observed{State: tc.state, Containers: tc.containers}}
			got := container(row, types.ContainerDefinition{Name: aws.String("app"), Image: aws.String("i")})
			if *got.LastStatus != tc.want {
				t.Errorf("status %s, want %s", *got.LastStatus, tc.want)
			}
		})
	}
}

func TestNetworkInterfaces(t *testing.T) {
	v4, v6 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	for _, tc := range []struct {
		name      string
		addresses []netip.Addr
		want      string
	}{
		{"no address", []netip.Addr{{}, {}}, ""},
		{"IPv4", []netip.Addr{v4, {}}, "10.0.0.1 "},
		{"both", []netip.Addr{v4, v6}, "10.0.0.1 fd00::1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := ""
			for _, i := range networkInterfaces(aws.String("a"), tc.addresses...) {
				got += aws.ToString(i.PrivateIpv4Address) + " " + aws.ToString(i.Ipv6Address)
			}
			if got != tc.want {
				t.Errorf("addresses %q, want %q", got, tc.want)
			}
		})
	}
}

// TestQuantity checks that a full node has nothing left, and that a node without a limit reports the largest amount.
func TestQuantity(t *testing.T) {
	for _, tc := range []struct {
		n               int
		quantity, limit int32
	}{
		{1, 1, 1},
		{2048, 2048, 2048},
		{0, 0, math.MaxInt32},
		{-512, 0, 0},
		{math.MaxInt, math.MaxInt32, math.MaxInt32},
	} {
		if got := quantity(tc.n); got != tc.quantity {
			t.Errorf("quantity(%d) = %d, want %d", tc.n, got, tc.quantity)
		}
		if got := limit(tc.n); got != tc.limit {
			t.Errorf("limit(%d) = %d, want %d", tc.n, got, tc.limit)
		}
	}
}

func TestTags(t *testing.T) {
	if got := Tags(nil); got == nil || len(got) != 0 {
		t.Errorf("Tags(nil) = %v, want an empty list", got)
	}
	got := ""
	for _, tag := range Tags(map[string]string{"b": "2", "a": "1"}) {
		got += fmt.Sprintf("%s=%s ", *tag.Key, *tag.Value)
	}
	if want := "a=1 b=2 "; got != want {
		t.Errorf("Tags = %q, want %q", got, want)
	}
}
