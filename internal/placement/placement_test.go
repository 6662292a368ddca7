package placement

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/storetest"
	"github.com/bakingclouds/rollcall/internal/task"
)

// parseHosts parses one host per line: its name, CPU units and MiB, followed by words.
//
//	a 2048 4096 zone=b rack=r1 lost draining none web=2 db=1:512:1024 tcp/80
//
// NAME=VALUE is an attribute. NAME=NUMBER is a number of tasks of the service NAME, and NAME=NUMBER:CPU:MEMORY adds the
// resources of each. PROTOCOL/NUMBER is a used port. A lost host is not live, and a host with none has no runtime.
func parseHosts(notation string) []*Host {
	var hosts []*Host
	for line := range strings.Lines(strings.TrimSpace(notation)) {
		words := strings.Fields(line)
		h := &Host{
			Node: &task.Node{
				Name: words[0], Runtime: "process", Zone: "a", CPU: atoi(words[1]), Memory: atoi(words[2]),
			},
			Instance: &task.ContainerInstance{
				Region: "r", Cluster: "c", Node: words[0], Status: task.Active, Attributes: map[string]string{},
			},
			Live: true, usage: newUsage(),
		}
		for _, word := range words[3:] {
			name, value, _ := strings.Cut(word, "=")
			protocol, port, isPort := strings.Cut(word, "/")
			parts := strings.Split(value, ":")
			n, err := strconv.Atoi(parts[0])
			switch {
			case word == "lost":
				h.Live = false
			case word == "draining":
				h.Instance.Status = task.DrainingStatus
			case word == "none":
				h.Node.Runtime = task.NoRuntime
			case isPort:
				h.usage.ports[task.Port{Number: atoi(port), Protocol: protocol}]++
			case name == "zone":
				h.Node.Zone = value
			case err != nil:
				h.Instance.Attributes[name] = value
			default:
				for range n {
					t := running(name)
					if len(parts) == 3 {
						t.Reserved = &task.Resources{CPU: atoi(parts[1]), Memory: atoi(parts[2])}
					}
					h.usage.add(t)
				}
			}
		}
		hosts = append(hosts, h)
	}
	return hosts
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

// running returns a running task of a service.
func running(service string) *task.Task {
	return &task.Task{
		Region: "r", Cluster: "c", Service: service, Desired: task.DesiredRunning,
		Observed: task.Observed{State: task.Running},
	}
}

// parseRequirements parses words such as cpu=256 memory=512 tcp/80 distinct memberOf:attribute:rack==r1
// spread:instanceId binpack:cpu random: only=a. The word task means a standalone task instead of a service's.
func parseRequirements(notation string) Requirements {
	rq := Requirements{Group: "service:web", Service: true}
	var constraints []task.PlacementConstraint
	for word := range strings.FieldsSeq(notation) {
		name, value, _ := strings.Cut(word, "=")
		protocol, port, isPort := strings.Cut(word, "/")
		typ, field, _ := strings.Cut(word, ":")
		switch {
		case word == "distinct":
			constraints = append(constraints, task.PlacementConstraint{Type: task.DistinctInstance})
		case word == "task":
			rq.Service = false
		case typ == task.MemberOf:
			constraints = append(constraints, task.PlacementConstraint{Type: task.MemberOf, Expression: field})
		case typ == task.Spread || typ == task.Binpack || typ == task.Random:
			rq.Strategy = append(rq.Strategy, task.PlacementStrategy{Type: typ, Field: field})
		case name == "cpu":
			rq.Resources.CPU = atoi(value)
		case name == "memory":
			rq.Resources.Memory = atoi(value)
		case name == "only":
			rq.OnlyNode = value
		case isPort:
			rq.Resources.Ports = append(rq.Resources.Ports, task.Port{Number: atoi(port), Protocol: protocol})
		default:
			panic(word)
		}
	}
	var err error
	if rq.Constraints, err = ParseConstraints(constraints); err != nil {
		panic(err)
	}
	return rq
}

// last picks the last host instead of a random one.
func last(n int) int { return n - 1 }

func TestPick(t *testing.T) {
	for _, tc := range []struct{ name, hosts, requirements, want string }{
		{"no host", "", "", "none"},
		{"only host", "a 1024 1024", "cpu=1024 memory=1024", "a"},
		{"host without a runtime", "a 1024 1024 none", "", "none"},
		{"draining host", "a 1024 1024 draining\nb 1024 1024", "", "b"},
		{"lost host", "a 1024 1024 lost", "", "a: AGENT"},

		{"not enough CPU", "a 1024 1024 db=1:512:0", "cpu=513", "a: RESOURCE:CPU"},
		{"not enough memory", "a 1024 1024 db=2:0:512", "memory=1", "a: RESOURCE:MEMORY"},
		{"neither enough CPU nor memory", "a 1024 1024", "cpu=1025 memory=1025", "a: RESOURCE:CPU, RESOURCE:MEMORY"},
		{"exactly enough", "a 1024 1024 db=2:512:256", "memory=512", "a"},
		{"node without limits", "a 0 0 db=9:512:256", "cpu=99999 memory=99999", "a"},
		{"task without resources", "a 1024 1024 db=1:1024:1024", "", "a"},
		{"used port", "a 0 0 tcp/80", "tcp/80", "a: RESOURCE:PORTS"},
		{"same port number of another protocol", "a 0 0 tcp/80", "udp/80", "a"},
		{"port is free on another host", "a 0 0 tcp/80\nb 0 0 web=5", "tcp/80", "b"},

		{"distinct", "a 0 0 web=1\nb 0 0 db=7", "distinct", "b"},
		{"distinct, no host left", "a 0 0 web=1\nb 0 0 web=1", "distinct",
			"a: DistinctInstance placement constraint unsatisfied.; " +
				"b: DistinctInstance placement constraint unsatisfied."},
		{"memberOf", "a 0 0 rack=x\nb 0 0 rack=y", "memberOf:attribute:rack==y", "b"},
		{"memberOf, no host left", "a 0 0 rack=x", "memberOf:attribute:rack==y",
			"a: MemberOf placement constraint unsatisfied."},
		{"two constraints", "a 0 0 rack=x zone=a\nb 0 0 rack=x zone=b",
			"memberOf:attribute:rack==x memberOf:attribute:ecs.availability-zone==rb", "b"},
		{"memberOf a group", "a 0 0\nb 0 0 db=1", "memberOf:task:group==service:db", "b"},
		{"given node", "a 0 0\nb 0 0 web=3", "only=b", "b"},
		{"given node does not exist", "a 0 0", "only=b", "none"},

		{"service: spread over zones", "a 0 0 zone=a\nb 0 0 zone=a web=1\nc 0 0 zone=b db=5", "", "c"},
		{"service: then over instances", "a 0 0 web=2 zone=a\nb 0 0 web=1 zone=a\nc 0 0 web=3 zone=b", "", "b"},
		{"service: then the host with the fewest tasks", "a 0 0 db=2\nb 0 0 db=1", "", "b"},
		{"service: then by name", "b 0 0\na 0 0", "", "a"},
		{"standalone task: random", "a 0 0\nb 0 0 db=9", "task", "b"},

		{"spread over hosts", "a 0 0 web=1\nb 0 0 db=9", "spread:host", "b"},
		{"spread over an attribute", "a 0 0 rack=x web=1\nb 0 0 rack=x\nc 0 0 rack=y db=9", "spread:attribute:rack",
			"c"},
		{"spread counts tasks on hosts that do not fit", "a 0 512 rack=x web=3\nb 0 1024 rack=x\nc 0 1024 rack=y web=2",
			"memory=1024 spread:attribute:rack", "c"},
		{"spread groups hosts without the attribute", "a 0 0 web=1\nb 0 0\nc 0 0 rack=x", "spread:attribute:rack", "c"},
		{"binpack of memory", "a 0 1024\nb 0 1024 db=1:0:512\nc 0 1024 db=1:0:768", "memory=512 binpack:memory", "b"},
		{"binpack of CPU", "a 1024 0 db=1:512:0\nb 1024 0", "binpack:CPU", "a"},
		{"strategies apply in order", "a 0 1024 zone=a web=1:0:9\nb 0 1024 zone=b\nc 0 1024 zone=b db=1:0:512",
			"spread:attribute:ecs.availability-zone binpack:memory", "c"},
		{"random", "a 0 0\nb 0 0 web=9", "random:", "b"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			host, rejections := Pick(parseHosts(tc.hosts), parseRequirements(tc.requirements), last)
			got := "none"
			if host != nil {
				got = host.Node.Name
			}
			if len(rejections) > 0 {
				var parts []string
				for _, r := range rejections {
					parts = append(parts, r.Host.Node.Name+": "+strings.Join(r.Reasons, ", "))
				}
				got = strings.Join(parts, "; ")
			}
			if host != nil && len(rejections) > 0 {
				t.Error("Pick returned both a host and rejections")
			}
			if got != tc.want {
				t.Errorf("Pick = %s, want %s", got, tc.want)
			}
		})
	}
}

func TestClosest(t *testing.T) {
	for _, tc := range []struct{ name, hosts, requirements, want string }{
		{"fewer reasons", "a 128 128\nb 512 128", "cpu=256 memory=256", "b"},
		{"more memory left", "a 0 128\nb 0 200\nc 0 100", "memory=256", "b"},
		{"live host", "a 0 1024 lost\nb 128 128", "cpu=256 memory=256", "b"},
		{"first by name", "b 0 128\na 0 128", "memory=256", "a"},
	} {
		_, rejections := Pick(parseHosts(tc.hosts), parseRequirements(tc.requirements), last)
		if got := Closest(rejections).Host.Node.Name; got != tc.want {
			t.Errorf("%s: Closest = %s, want %s", tc.name, got, tc.want)
		}
	}
}

// TestRejectionReason checks which hosts StartTask accepts. The task requires 256 CPU units, 256 MiB and port 80.
func TestRejectionReason(t *testing.T) {
	resources := parseRequirements("cpu=256 memory=256 tcp/80").Resources
	for hosts, want := range map[string]string{
		"a 1024 1024":               "",
		"a 1024 1024 web=3":         "",
		"a 128 1024":                LacksCPU,
		"a 128 128":                 LacksCPU,
		"a 1024 1024 db=1:0:900":    LacksMemory,
		"a 1024 1024 tcp/80":        LacksPorts,
		"a 1024 1024 lost":          Disconnected,
		"a 1024 1024 none":          Disconnected,
		"a 1024 1024 draining":      task.DrainingStatus,
		"a 1024 1024 draining lost": task.DrainingStatus,
	} {
		if got := RejectionReason(parseHosts(hosts)[0], resources); got != want {
			t.Errorf("RejectionReason of %q = %q, want %q", hosts, got, want)
		}
	}
}

// TestQueryInstance checks the properties that the cluster query language tests.
func TestQueryInstance(t *testing.T) {
	in := parseHosts("a 0 0 rack=x zone=b lost web=2 db=1")[0].QueryInstance()
	slices.Sort(in.Groups)
	if in.AgentConnected || in.RunningTasks != 3 || !slices.Equal(in.Groups, []string{"service:db", "service:web"}) ||
		in.Attributes["rack"] != "x" || in.Attributes["ecs.availability-zone"] != "rb" {
		t.Errorf("got %+v, want 3 running tasks of two groups on a disconnected instance in rack x and zone rb", in)
	}
}

// TestAssign checks that two transactions that read the same inventory cannot both place a task on one node, and that
// an inventory counts the tasks that it has assigned.
func TestAssign(t *testing.T) {
	db := storetest.Open(t, task.Schema()...)
	cluster := task.ClusterRef{Scope: arn.Scope{Account: "1", Region: "r"}, Name: "c"}
	write := func(fn func(tx *store.Tx)) {
		t.Helper()
		_, err := store.Update(t.Context(), db, func(tx *store.Tx) (struct{}, error) { fn(tx); return struct{}{}, nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	assign := func(tx *store.Tx, id task.ID) (free int) {
		row := task.Task{
			Account: "1", Region: "r", Cluster: "c", ID: id, Observed: task.Observed{State: task.Provisioning},
		}
		inventory := ReadInventory(tx.Snapshot())
		host := inventory.Hosts(cluster)[0]
		inventory.Assign(tx, &row, host, task.Resources{Memory: 512})
		task.CreateTask(tx, row)
		return host.FreeMemory()
	}
	write(func(tx *store.Tx) { task.PutNode(tx, task.Node{Name: "a", Runtime: "process", Memory: 1024}) })

	runs := 0
	write(func(tx *store.Tx) {
		if runs++; runs == 1 {
			write(func(tx *store.Tx) { assign(tx, "other") }) // commits first
		}
		if free, want := assign(tx, "mine"), []int{512, 0}[runs-1]; free != want {
			t.Errorf("run %d: %d MiB free after the assignment, want %d", runs, free, want)
		}
	})
	if runs != 2 {
		t.Errorf("the transaction ran %d times, want 2", runs)
	}
	host, ok := ReadInventory(db.Snapshot()).Host(cluster, task.ContainerInstanceID("a"))
	if !ok || host.FreeMemory() != 0 || host.TaskCount() != (TaskCount{Pending: 2}) {
		t.Errorf("got %+v, want a host with two pending tasks and no free memory", host)
	}
}

func TestEligible(t *testing.T) {
	cs := parseRequirements("memberOf:attribute:rack==x distinct").Constraints
	for hosts, want := range map[string]bool{
		"a 1 1 rack=x": true, "a 1 1 rack=x web=3:9:9": true, // regardless of free resources
		"a 1 1 rack=y": false, "a 1 1 rack=x draining": false, "a 1 1 rack=x lost": false, "a 1 1 rack=x none": false,
	} {
		if got := parseHosts(hosts)[0].Eligible(cs); got != want {
			t.Errorf("Eligible of %q = %v, want %v", hosts, got, want)
		}
	}
}

// TestUsage checks what a task in each state uses of its host.
func TestUsage(t *testing.T) {
	reserved := &task.Resources{CPU: 10, Memory: 20, Ports: []task.Port{{Number: 80, Protocol: "tcp"}}}
	containers := []task.Container{{Bindings: []task.Binding{
		{HostPort: 80, Protocol: "tcp"}, {HostPort: 49153, Protocol: "tcp"},
	}}}
	for _, tc := range []struct {
		name    string
		state   task.State
		desired string
		network *task.Network
		want    string // CPU, memory, ports; running, pending; in the group
	}{
		{"placed", task.Provisioning, task.DesiredRunning, nil, "10 20 2; 0 1; 1"},
		{"running", task.Running, task.DesiredRunning, nil, "10 20 2; 1 0; 1"},
		{"running with its own address, so that bindings use no host port", task.Running, task.DesiredRunning,
			&task.Network{}, "10 20 1; 1 0; 1"},
		{"to be stopped", task.Running, task.DesiredStopped, nil, "10 20 2; 1 0; 0"},
		{"stopping", task.Stopping, task.DesiredStopped, nil, "10 20 2; 1 0; 0"},
		{"stopped", task.Stopped, task.DesiredStopped, nil, "0 0 0; 0 0; 0"},
	} {
		h := parseHosts("a 100 100")[0]
		row := running("web")
		row.Desired, row.Network, row.Reserved = tc.desired, tc.network, reserved
		row.Observed.State, row.Observed.Containers = tc.state, containers
		h.usage.add(row)
		n := h.TaskCount()
		got := fmt.Sprintf("%d %d %d; %d %d; %d", 100-h.FreeCPU(), 100-h.FreeMemory(), len(h.UsedPorts()),
			n.Running, n.Pending, h.groupCount("service:web"))
		if got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

// TestPickProperties checks for any hosts and requirements that a picked host fits, that Pick finds a host if one fits,
// and that the strategies hold while tasks are added one by one.
func TestPickProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var lines []string
		for i := range rapid.IntRange(0, 6).Draw(t, "hosts") {
			lines = append(lines, fmt.Sprintf("%c %d %d zone=%s rack=%s%s", 'a'+i,
				rapid.IntRange(0, 4).Draw(t, "cpu")*512, rapid.IntRange(0, 4).Draw(t, "memory")*512,
				rapid.SampledFrom([]string{"a", "b"}).Draw(t, "zone"),
				rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "rack"),
				rapid.SampledFrom([]string{"", "", "", " lost", " draining", " none"}).Draw(t, "state")))
		}
		hosts := parseHosts(strings.Join(lines, "\n"))
		constraint := rapid.SampledFrom([]string{"", "distinct", "memberOf:attribute:rack!=z", "tcp/80"})
		strategy := rapid.SampledFrom([]string{
			"", "task", "spread:instanceId", "spread:attribute:rack", "binpack:memory", "random:",
		})
		rq := parseRequirements(constraint.Draw(t, "constraint") + " " + strategy.Draw(t, "strategy"))
		rq.Resources.CPU = rapid.IntRange(0, 3).Draw(t, "required cpu") * 256
		rq.Resources.Memory = rapid.IntRange(1, 3).Draw(t, "required memory") * 256
		random := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "random") }
		for range 12 {
			host, rejections := Pick(hosts, rq, random)
			var fit []*Host
			for _, h := range hosts {
				if h.AcceptsTasks() && len(rq.unmet(h)) == 0 {
					fit = append(fit, h)
				}
			}
			if host == nil {
				if len(fit) > 0 {
					t.Fatalf("no host was picked, but %s fits", fit[0].Node.Name)
				}
				for _, r := range rejections {
					if len(r.Reasons) == 0 {
						t.Fatalf("%s was rejected without a reason", r.Host.Node.Name)
					}
				}
				return
			}
			if !slices.Contains(fit, host) {
				t.Fatalf("%s was picked but does not fit: %v", host.Node.Name, rq.unmet(host))
			}
			if len(rq.Strategy) > 0 {
				for _, h := range fit {
					switch s := rq.Strategy[0]; {
					case s.Field == "instanceId" && h.groupCount(rq.Group) < host.groupCount(rq.Group):
						t.Fatalf("spread: %s has fewer tasks than %s", h.Node.Name, host.Node.Name)
					case s.Type == task.Binpack && h.FreeMemory() < host.FreeMemory():
						t.Fatalf("binpack: %s has less free memory than %s", h.Node.Name, host.Node.Name)
					}
				}
			}
			placed := running("web")
			placed.Reserved = &rq.Resources
			host.usage.add(placed)
			if host.FreeCPU() < 0 || host.FreeMemory() < 0 {
				t.Fatalf("%s has less than nothing free", host.Node.Name)
			}
		}
	})
}
