package placement

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bakingclouds/rollcall/internal/task"
)

// parseHosts reads one host a line: its name, CPU units and MiB in all, and then words.
//
//	a 2048 4096 zone=b rack=r1 lost draining none web=2 db=1:512:1024 tcp/80
//
// NAME=VALUE is an attribute, or, with a number, so many tasks of the service NAME, each with CPU and memory if given;
// PROTOCOL/NUMBER is a port in use.
func parseHosts(notation string) []*Host {
	var hosts []*Host
	for line := range strings.Lines(strings.TrimSpace(notation)) {
		words := strings.Fields(line)
		h := &Host{
			Node: &task.Node{Name: words[0], Runtime: "process", Zone: "a", CPU: atoi(words[1]), Memory: atoi(words[2])}, Live: true,
			Instance: &task.ContainerInstance{Region: "r", Cluster: "c", Node: words[0], Status: task.Active, Attributes: map[string]string{}},
			load:     &load{ports: map[task.Port]int{}, groups: map[string]int{}, clusters: map[string]Count{}},
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
				h.load.ports[task.Port{Number: atoi(port), Protocol: protocol}]++
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
					h.load.add(t)
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

// running is a task of a service.
func running(service string) *task.Task {
	return &task.Task{Region: "r", Cluster: "c", Service: service, Desired: task.DesiredRunning, Observed: task.Observed{State: task.Running}}
}

// parseWish reads words: cpu=256 memory=512 tcp/80 distinct memberOf:attribute:rack==r1 spread:instanceId binpack:cpu
// random only=a task (not a service's).
func parseWish(notation string) Requirements {
	w := Requirements{Group: "service:web", Service: true}
	var constraints []task.PlacementConstraint
	for word := range strings.FieldsSeq(notation) {
		name, value, _ := strings.Cut(word, "=")
		protocol, port, isPort := strings.Cut(word, "/")
		kind, field, _ := strings.Cut(word, ":")
		switch {
		case word == "distinct":
			constraints = append(constraints, task.PlacementConstraint{Type: task.DistinctInstance})
		case word == "task":
			w.Service = false
		case kind == task.MemberOf:
			constraints = append(constraints, task.PlacementConstraint{Type: task.MemberOf, Expression: field})
		case kind == task.Spread || kind == task.Binpack || kind == task.Random:
			w.Strategy = append(w.Strategy, task.PlacementStrategy{Type: kind, Field: field})
		case name == "cpu":
			w.Resources.CPU = atoi(value)
		case name == "memory":
			w.Resources.Memory = atoi(value)
		case name == "only":
			w.OnlyNode = value
		case isPort:
			w.Resources.Ports = append(w.Resources.Ports, task.Port{Number: atoi(port), Protocol: protocol})
		default:
			panic(word)
		}
	}
	var err error
	if w.Constraints, err = ParseConstraints(constraints); err != nil {
		panic(err)
	}
	return w
}

// last is a random that is not: it takes the last.
func last(n int) int { return n - 1 }

func TestPick(t *testing.T) {
	for _, tc := range []struct{ name, hosts, wish, want string }{
		{"no host", "", "", "nobody"},
		{"the only one", "a 1024 1024", "cpu=1024 memory=1024", "a"},
		{"not one without a runtime", "a 1024 1024 none", "", "nobody"},
		{"nor one that drains", "a 1024 1024 draining\nb 1024 1024", "", "b"},
		{"nor one whose server is lost", "a 1024 1024 lost", "", "a: AGENT"},

		{"too little CPU", "a 1024 1024 db=1:512:0", "cpu=513", "a: RESOURCE:CPU"},
		{"too little memory", "a 1024 1024 db=2:0:512", "memory=1", "a: RESOURCE:MEMORY"},
		{"of both, the CPU is told first", "a 1024 1024", "cpu=1025 memory=1025", "a: RESOURCE:CPU, RESOURCE:MEMORY"},
		{"just enough", "a 1024 1024 db=2:512:256", "memory=512", "a"},
		{"a node without bounds", "a 0 0 db=9:512:256", "cpu=99999 memory=99999", "a"},
		{"nothing stated takes nothing", "a 1024 1024 db=1:1024:1024", "", "a"},
		{"port in use", "a 0 0 tcp/80", "tcp/80", "a: RESOURCE:PORTS"},
		{"the same number of the other protocol", "a 0 0 tcp/80", "udp/80", "a"},
		{"elsewhere it is free", "a 0 0 tcp/80\nb 0 0 web=5", "tcp/80", "b"},

		{"distinct", "a 0 0 web=1\nb 0 0 db=7", "distinct", "b"},
		{"distinct and full", "a 0 0 web=1\nb 0 0 web=1", "distinct",
			"a: DistinctInstance placement constraint unsatisfied.; b: DistinctInstance placement constraint unsatisfied."},
		{"member", "a 0 0 rack=x\nb 0 0 rack=y", "memberOf:attribute:rack==y", "b"},
		{"no member", "a 0 0 rack=x", "memberOf:attribute:rack==y", "a: MemberOf placement constraint unsatisfied."},
		{"all constraints bind", "a 0 0 rack=x zone=a\nb 0 0 rack=x zone=b", "memberOf:attribute:rack==x memberOf:attribute:ecs.availability-zone==rb", "b"},
		{"member of a group", "a 0 0\nb 0 0 db=1", "memberOf:task:group==service:db", "b"},
		{"the one node", "a 0 0\nb 0 0 web=3", "only=b", "b"},
		{"the one node is gone", "a 0 0", "only=b", "nobody"},

		{"services spread over zones first", "a 0 0 zone=a\nb 0 0 zone=a web=1\nc 0 0 zone=b db=5", "", "c"},
		{"then over instances", "a 0 0 web=2 zone=a\nb 0 0 web=1 zone=a\nc 0 0 web=3 zone=b", "", "b"},
		{"then to the emptiest", "a 0 0 db=2\nb 0 0 db=1", "", "b"},
		{"then by name", "b 0 0\na 0 0", "", "a"},
		{"standalone tasks go anywhere", "a 0 0\nb 0 0 db=9", "task", "b"},

		{"spread over hosts", "a 0 0 web=1\nb 0 0 db=9", "spread:host", "b"},
		{"spread over an attribute", "a 0 0 rack=x web=1\nb 0 0 rack=x\nc 0 0 rack=y db=9", "spread:attribute:rack", "c"},
		{"a full host counts in its zone", "a 0 512 rack=x web=3\nb 0 1024 rack=x\nc 0 1024 rack=y web=2", "memory=1024 spread:attribute:rack", "c"},
		{"hosts without the attribute are one", "a 0 0 web=1\nb 0 0\nc 0 0 rack=x", "spread:attribute:rack", "c"},
		{"binpack of memory", "a 0 1024\nb 0 1024 db=1:0:512\nc 0 1024 db=1:0:768", "memory=512 binpack:memory", "b"},
		{"binpack of CPU", "a 1024 0 db=1:512:0\nb 1024 0", "binpack:CPU", "a"},
		{"in order", "a 0 1024 zone=a web=1:0:9\nb 0 1024 zone=b\nc 0 1024 zone=b db=1:0:512", "spread:attribute:ecs.availability-zone binpack:memory", "c"},
		{"random", "a 0 0\nb 0 0 web=9", "random:", "b"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			host, rejections := Pick(parseHosts(tc.hosts), parseWish(tc.wish), last)
			got := "nobody"
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
				t.Error("a host, and rejections too")
			}
			if got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestClosest(t *testing.T) {
	for _, tc := range []struct{ name, hosts, wish, want string }{
		{"fewer reasons", "a 128 128\nb 512 128", "cpu=256 memory=256", "b"},
		{"more memory left", "a 0 128\nb 0 200\nc 0 100", "memory=256", "b"},
		{"one that is there", "a 0 1024 lost\nb 128 128", "cpu=256 memory=256", "b"},
		{"the first by name", "b 0 128\na 0 128", "memory=256", "a"},
	} {
		_, rejections := Pick(parseHosts(tc.hosts), parseWish(tc.wish), last)
		if got := Closest(rejections).Host.Node.Name; got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestEligible(t *testing.T) {
	cs := parseWish("memberOf:attribute:rack==x distinct").Constraints
	for hosts, want := range map[string]bool{
		"a 1 1 rack=x": true, "a 1 1 rack=x web=3:9:9": true, // room is another question
		"a 1 1 rack=y": false, "a 1 1 rack=x draining": false, "a 1 1 rack=x lost": false, "a 1 1 rack=x none": false,
	} {
		if got := parseHosts(hosts)[0].Eligible(cs); got != want {
			t.Errorf("%s: %v, want %v", hosts, got, want)
		}
	}
}

// TestLoad counts what tasks in each state take.
func TestLoad(t *testing.T) {
	reserved := &task.Resources{CPU: 10, Memory: 20, Ports: []task.Port{{Number: 80, Protocol: "tcp"}}}
	chosen := []task.Container{{Bindings: []task.Binding{{HostPort: 80, Protocol: "tcp"}, {HostPort: 49153, Protocol: "tcp"}}}}
	for _, tc := range []struct {
		name    string
		state   task.State
		desired string
		network *task.Network
		want    string // CPU, memory, ports; running, pending; of the group
	}{
		{"placed", task.Provisioning, task.DesiredRunning, nil, "10 20 2; 0 1; 1"},
		{"runs", task.Running, task.DesiredRunning, nil, "10 20 2; 1 0; 1"},
		{"its bindings are of its own address", task.Running, task.DesiredRunning, &task.Network{}, "10 20 1; 1 0; 1"},
		{"is to stop", task.Running, task.DesiredStopped, nil, "10 20 2; 1 0; 0"},
		{"stops", task.Stopping, task.DesiredStopped, nil, "10 20 2; 1 0; 0"},
		{"has stopped", task.Stopped, task.DesiredStopped, nil, "0 0 0; 0 0; 0"},
	} {
		h := parseHosts("a 100 100")[0]
		row := running("web")
		row.Desired, row.Network, row.Reserved = tc.desired, tc.network, reserved
		row.Observed.State, row.Observed.Containers = tc.state, chosen
		h.load.add(row)
		n := h.Count()
		got := fmt.Sprintf("%d %d %d; %d %d; %d", 100-h.FreeCPU(), 100-h.FreeMemory(), len(h.UsedPorts()), n.Running, n.Pending, h.group("service:web"))
		if got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

// TestPickAlways holds for any hosts and wishes: who is picked fits, nobody is passed over who would, and strategies
// keep what they promise while tasks are added one by one.
func TestPickAlways(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var lines []string
		for i := range rapid.IntRange(0, 6).Draw(t, "hosts") {
			lines = append(lines, fmt.Sprintf("%c %d %d zone=%s rack=%s%s", 'a'+i, rapid.IntRange(0, 4).Draw(t, "cpu")*512, rapid.IntRange(0, 4).Draw(t, "memory")*512,
				rapid.SampledFrom([]string{"a", "b"}).Draw(t, "zone"), rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "rack"),
				rapid.SampledFrom([]string{"", "", "", " lost", " draining", " none"}).Draw(t, "state")))
		}
		hosts := parseHosts(strings.Join(lines, "\n"))
		w := parseWish(rapid.SampledFrom([]string{"", "distinct", "memberOf:attribute:rack!=z", "tcp/80"}).Draw(t, "constraint") + " " +
			rapid.SampledFrom([]string{"", "task", "spread:instanceId", "spread:attribute:rack", "binpack:memory", "random:"}).Draw(t, "strategy"))
		w.Resources.CPU, w.Resources.Memory = rapid.IntRange(0, 3).Draw(t, "needs cpu")*256, rapid.IntRange(1, 3).Draw(t, "needs memory")*256
		random := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "random") }
		for range 12 {
			host, rejections := Pick(hosts, w, random)
			var fit []*Host
			for _, h := range hosts {
				if h.AcceptsTasks() && len(w.refuse(h)) == 0 {
					fit = append(fit, h)
				}
			}
			if host == nil {
				if len(fit) > 0 {
					t.Fatalf("nobody was picked, though %s would do", fit[0].Node.Name)
				}
				for _, r := range rejections {
					if len(r.Reasons) == 0 {
						t.Fatalf("%s is refused for no reason", r.Host.Node.Name)
					}
				}
				return
			}
			if !slices.Contains(fit, host) {
				t.Fatalf("%s was picked and does not do: %v", host.Node.Name, w.refuse(host))
			}
			if len(w.Strategy) > 0 {
				for _, h := range fit {
					switch s := w.Strategy[0]; {
					case s.Field == "instanceId" && h.group(w.Group) < host.group(w.Group):
						t.Fatalf("spread: %s has fewer tasks than %s", h.Node.Name, host.Node.Name)
					case s.Type == task.Binpack && h.FreeMemory() < host.FreeMemory():
						t.Fatalf("binpack: %s has less left than %s", h.Node.Name, host.Node.Name)
					}
				}
			}
			placed := running("web")
			placed.Reserved = &w.Resources
			host.load.add(placed)
			if host.FreeCPU() < 0 || host.FreeMemory() < 0 {
				t.Fatalf("%s is overbooked", host.Node.Name)
			}
		}
	})
}
