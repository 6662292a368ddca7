package inspect

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/dns/answer"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/task"
)

func TestListed(t *testing.T) {
	for _, tc := range []struct {
		services string // name:unhealthy+unready
		most     int
		want     string
	}{
		{"", 2, ""},
		{"b a", 2, "a b"},
		{"c:9 b a", 3, "a b c"},
		{"d b c a", 2, "a b"},
		{"d b:1 c:0+2 a", 2, "b c"}, // services with problems, by name
		{"d b:1 c:0+2 a", 1, "c"},   // the service with the most problems
		{"d b c:1 a", 2, "a c"},     // services with equal problems by name
	} {
		var in []RegisteredService
		for _, word := range strings.Fields(tc.services) {
			name, counted, _ := strings.Cut(word, ":")
			s := RegisteredService{Name: name, Counts: Counts{Healthy: 100, Draining: 100}}
			fmt.Sscanf(counted, "%d+%d", &s.Counts.Unhealthy, &s.Counts.NotReady) // a missing number stays 0
			in = append(in, s)
		}
		var got []string
		for _, s := range listed(in, tc.most) {
			got = append(got, s.Name)
		}
		if got := strings.Join(got, " "); got != tc.want {
			t.Errorf("listed(%s, %d) = %s, want %s", tc.services, tc.most, got, tc.want)
		}
	}
}

// TestShadowed checks which of two namespaces with the same name answers the clients of both.
func TestShadowed(t *testing.T) {
	for _, tc := range []struct {
		name         string
		first        string // networks, and "-" before the excluded ones; empty means all clients
		second       string
		otherName    bool
		wantShadowed bool
	}{
		{"both for all clients", "", "", false, true},
		{"other name", "", "", true, false},
		{"same network", "10.0.0.0/8", "10.0.0.0/8", false, true},
		{"within", "10.0.0.0/8", "10.1.0.0/16", false, true},
		{"contains", "10.1.0.0/16", "10.0.0.0/8", false, true},
		{"separate", "10.1.0.0/16", "10.2.0.0/16", false, false},
		{"one of several", "10.1.0.0/16 10.3.0.0/16", "10.2.0.0/16 10.3.0.0/16", false, true},
		{"excluded", "10.0.0.0/8 -10.1.0.0/16", "10.1.0.0/16", false, false},
		{"partly excluded", "10.0.0.0/8 -10.1.2.0/24", "10.1.0.0/16", false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := directory.New()
			put := func(b *directory.Batch, id, name string, order int64, networks string) {
				ns := directory.Namespace{ID: id, Region: apitest.Region, Name: name, HTTPName: id,
					Kind: directory.Private, Order: order}
				for _, word := range strings.Fields(networks) {
					if text, excluded := strings.CutPrefix(word, "-"); excluded {
						ns.ExcludedNetworks = append(ns.ExcludedNetworks, netip.MustParsePrefix(text))
					} else {
						ns.Networks = append(ns.Networks, netip.MustParsePrefix(word))
					}
				}
				b.PutNamespace(ns)
			}
			firstName := "shop"
			if tc.otherName {
				firstName = "other"
			}
			dir.Apply(1, func(b *directory.Batch) {
				put(b, "ns-1", firstName, 1, tc.first)
				put(b, "ns-2", "Shop", 2, tc.second)
			})
			want := ""
			if tc.wantShadowed {
				want = "ns-1"
			}
			if got := shadowed(dir, &registry.Namespace{ID: "ns-2", Name: "Shop"}); got != want {
				t.Errorf("ns-2 is shadowed by %q, want %q", got, want)
			}
			if got := shadowed(dir, &registry.Namespace{ID: "ns-1", Name: firstName}); got != "" {
				t.Errorf("ns-1 is shadowed by %q, want by none", got)
			}
		})
	}
}

// TestServiceStatus counts tasks in the notation STATE[DEPLOYMENT]: h serves, r runs without serving, p is pending, d
// drains, s has stopped. Deployment 2 is the primary.
func TestServiceStatus(t *testing.T) {
	healthySince := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct{ tasks, want string }{ // running/healthy/updated/draining
		{"", "0/0/0/0"},
		{"h2 h2", "2/2/2/0"},
		{"h1 h2", "2/2/1/0"},
		{"r2 h1", "2/1/0/0"},
		{"p2 h1", "1/1/0/0"},
		{"d1 h2", "1/1/1/1"},
		{"s1 s2 h2", "1/1/1/0"},
	} {
		var tasks []*task.Task
		for n, word := range strings.Fields(tc.tasks) {
			tk := &task.Task{ID: task.ID(fmt.Sprint("t", n)), Deployment: "ecs-svc/" + word[1:],
				Desired: task.DesiredRunning}
			tk.Observed.State = task.Running
			switch word[0] {
			case 'h':
				tk.Observed.HealthySince = &healthySince
			case 'p':
				tk.Observed.State = task.Pending
			case 'd':
				tk.Desired, tk.Registration = task.DesiredStopped, task.Draining
				tk.Observed.Address = netip.MustParseAddr("10.0.0.1")
			case 's':
				tk.Desired, tk.Observed.State = task.DesiredStopped, task.Stopped
			}
			tasks = append(tasks, tk)
		}
		svc := &task.Service{Name: "web", DesiredCount: 2, Deployments: []task.Deployment{
			{ID: "ecs-svc/2", Family: "web", Revision: 7}, {ID: "ecs-svc/1"},
		}}
		a := &api{dns: &answer.Authority{Directory: directory.New()}}
		st := a.serviceStatus(svc, tasks, []*task.Event{{Message: "newest"}, {Message: "older"}})
		if got := fmt.Sprintf("%d/%d/%d/%d", st.Running, st.Healthy, st.Updated, st.Draining); got != tc.want {
			t.Errorf("tasks %q: %s, want %s", tc.tasks, got, tc.want)
		}
		if int64(len(st.Drains)) != st.Draining || st.Desired != 2 || st.Definition != "web:7" ||
			st.Event != "newest" || st.Since != nil {
			t.Errorf("tasks %q: %+v", tc.tasks, st)
		}
	}
}

// TestNamespaceCounts counts the instances of a namespace's services by state.
func TestNamespaceCounts(t *testing.T) {
	dir := newDirectory(directory.Multivalue, recordsA, "a b c:unhealthy d:unready e:unready f:draining")
	v, _ := dir.ServiceByID("srv-1")
	got := counts(v)
	if want := (Counts{Healthy: 2, Unhealthy: 1, NotReady: 2, Draining: 1}); got != want || got.Instances() != 6 {
		t.Errorf("counts = %+v, %d instances; want %+v, 6", got, got.Instances(), want)
	}
	got.add(Counts{Healthy: 1, Unhealthy: 1, NotReady: 1, Draining: 1})
	if want := (Counts{Healthy: 3, Unhealthy: 2, NotReady: 3, Draining: 2}); got != want {
		t.Errorf("add = %+v, want %+v", got, want)
	}
}
