package test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
	"github.com/miekg/dns"

	"github.com/bakingclouds/rollcall/internal/control/drain"
)

// The tests of this file hold when a task is told to stop: when the last answer with its address has expired wherever
// it may be kept, and no later. Deadlines upward are wide, since machines are slow; none is as long as what would be
// waited for in vain.

// noting is a definition whose tasks write down when SIGTERM came, each to a file named after its address in dir.
func noting(t testing.TB, family, dir string) *ecs.RegisterTaskDefinitionInput {
	script := fmt.Sprintf(`trap 'date +%%s%%N > %[1]s/$ROLLCALL_ADDRESS.new; mv %[1]s/$ROLLCALL_ADDRESS.new %[1]s/$ROLLCALL_ADDRESS; exit 0' TERM
		sleep 1000 & wait`, dir)
	in := program(t, family, "/bin/sh", "-c", script)
	in.ContainerDefinitions[0].PortMappings = []ecstypes.PortMapping{{ContainerPort: aws.Int32(5000)}}
	return in
}

// noted is a service of one task that writes down when SIGTERM comes.
type noted struct {
	*server
	name, dir string
	registry  *sdtypes.Service
	task      ecstypes.Task
}

func (s *server) noted(namespace, name string, ttl int64, records ...sdtypes.RecordType) *noted {
	s.T.Helper()
	n := &noted{server: s, name: name, dir: s.T.TempDir(), registry: s.Discovery(namespace, name, ttl, records...)}
	s.Run(name, s.Register(noting(s.T, name, n.dir)), 1, n.registry)
	s.Stable(name)
	n.task = s.Tasks(name, ecstypes.DesiredStatusRunning)[0]
	return n
}

// stopTask stops the task by hand and returns when that was acknowledged.
func (n *noted) stopTask() time.Time {
	n.T.Helper()
	must[*ecs.StopTaskOutput](n.T)(n.ECS().StopTask(n.T.Context(), &ecs.StopTaskInput{Task: n.task.TaskArn}))
	return time.Now()
}

// told waits for SIGTERM and returns when it came.
func (n *noted) told(within time.Duration) (at time.Time) {
	n.T.Helper()
	eventually(n.T, within, "SIGTERM for the task of "+n.name, func() bool {
		b, err := os.ReadFile(filepath.Join(n.dir, address(n.task)))
		nanos, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		at = time.Unix(0, nanos)
		return err == nil
	})
	return at
}

// draining waits until the stop has begun and the task is out of the answers.
func (n *noted) draining() {
	n.T.Helper()
	eventually(n.T, 10*time.Second, "the task drains", func() bool {
		out := must[*ecs.DescribeTasksOutput](n.T)(n.ECS().DescribeTasks(n.T.Context(), &ecs.DescribeTasksInput{Tasks: []string{*n.task.TaskArn}}))
		return aws.ToString(out.Tasks[0].LastStatus) == "DEACTIVATING" && !n.Lookup(n.name + ".shop")[netip.MustParseAddr(address(n.task))]
	})
}

// TestDrainNobodyAsked: where no answer was handed out there is nothing to wait for.
func TestDrainNobodyAsked(t *testing.T) {
	t.Parallel()
	s := serve(t)
	shop := s.Namespace("shop")
	var waits []time.Duration
	for _, name := range []string{"a", "b", "c"} {
		n := s.noted(shop, name, 300)
		stopped := n.stopTask()
		waits = append(waits, n.told(20*time.Second).Sub(stopped))
	}
	t.Logf("SIGTERM came %v after StopTask", waits)
	if least := slices.Min(waits); least > 2*time.Second {
		t.Errorf("SIGTERM came no sooner than %v after StopTask, though nobody had asked", least)
	}
}

// TestDrainWaitsForTheLastAnswer: however an address was handed out, SIGTERM comes when its TTL is over.
func TestDrainWaitsForTheLastAnswer(t *testing.T) {
	t.Parallel()
	s := serve(t)
	shop := s.Namespace("shop")
	const ttl = 3
	for name, ask := range map[string]func(n *noted){
		"dns":      func(n *noted) { n.asked("udp", n.name+".shop.", dns.TypeA) },
		"dns-tcp":  func(n *noted) { n.asked("tcp", n.name+".shop.", dns.TypeA) },
		"dns-srv":  func(n *noted) { n.asked("udp", n.name+".shop.", dns.TypeSRV) },
		"dns-host": func(n *noted) { n.asked("udp", taskID(n.task)+"."+n.name+".shop.", dns.TypeA) },
		"discover": func(n *noted) {
			if _, there := n.Discover("shop", n.name, sdtypes.HealthStatusFilterHealthy)[taskID(n.task)]; !there {
				n.T.Error("DiscoverInstances does not answer with the task")
			}
		},
	} {
		n := s.noted(shop, name, ttl, sdtypes.RecordTypeA, sdtypes.RecordTypeSrv)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := &noted{server: n.of(t), name: n.name, dir: n.dir, registry: n.registry, task: n.task}
			asked := time.Now() // the answer leaves later than this
			ask(n)
			n.stopTask()
			wait := n.told(30 * time.Second).Sub(asked)
			t.Logf("SIGTERM came %v after the last answer, which lived %d s", wait, ttl)
			if wait < ttl*time.Second {
				t.Errorf("SIGTERM came %v after an answer that lives %d s", wait, ttl)
			}
		})
	}
}

// of is the server as a subtest sees it.
func (s *server) of(t testing.TB) *server {
	c := *s.Server
	c.T = t
	return &server{&c}
}

// asked has a question answered that names the task.
func (n *noted) asked(network, name string, typ uint16) *dns.Msg {
	n.T.Helper()
	q := new(dns.Msg).SetQuestion(name, typ)
	reply, _, err := (&dns.Client{Net: network, Timeout: 10 * time.Second}).Exchange(q, n.Info.DNS[0])
	if err != nil {
		n.T.Fatalf("ask for %s %s: %v", name, dns.TypeToString[typ], err)
	}
	if !strings.Contains(reply.String(), address(n.task)) {
		n.T.Fatalf("%s %s does not name the task: %v", name, dns.TypeToString[typ], reply)
	}
	return reply
}

// TestDrainKeepsTheTargetOfSRV: who holds an SRV record still finds its target while the task drains, and no longer
// than the record lives; asking does not prolong the drain.
func TestDrainKeepsTheTargetOfSRV(t *testing.T) {
	t.Parallel()
	s := serve(t)
	n := s.noted(s.Namespace("shop"), "cart", 4, sdtypes.RecordTypeA, sdtypes.RecordTypeSrv)
	asked := time.Now()
	n.asked("udp", "cart.shop.", dns.TypeSRV)
	n.stopTask()
	n.draining()
	wantLineLike(t, s.says("status"), `^us-east-1/default/cart +`+address(n.task)+` +`+taskID(n.task)+` +in [1-6] s$`)
	host := taskID(n.task) + ".cart.shop."
	reply := n.asked("udp", host, dns.TypeA)
	if left := 4 - time.Since(asked).Seconds(); float64(reply.Answer[0].Header().Ttl) > left+1 {
		t.Errorf("%s may be kept %d s, the SRV record that names it %.1f s", host, reply.Answer[0].Header().Ttl, left)
	}
	until := time.Now().Add(30 * time.Second)
	for _, err := os.Stat(filepath.Join(n.dir, address(n.task))); err != nil && time.Now().Before(until); _, err = os.Stat(filepath.Join(n.dir, address(n.task))) {
		reply, err := s.ask(host, dns.TypeA)
		if err != nil {
			t.Fatal(err)
		}
		if s.Lookup("cart.shop")[netip.MustParseAddr(address(n.task))] {
			t.Fatal("the service's name is answered with a task that drains")
		}
		if len(reply.Answer) == 0 {
			break // it is deregistered: SIGTERM is on its way
		}
	}
	if wait := n.told(20 * time.Second).Sub(asked); wait < 4*time.Second {
		t.Errorf("SIGTERM came %v after an answer that lives 4 s", wait)
	}
}

// TestDrainOutlivesTheServer: a server that is killed in the middle of a drain does not know what it has handed out,
// so the next one waits the greatest TTL that it can have been, also when that was lowered meanwhile.
func TestDrainOutlivesTheServer(t *testing.T) {
	t.Parallel()
	s := serve(t)
	n := s.noted(s.Namespace("shop"), "cart", 5)
	asked := time.Now()
	n.asked("udp", "cart.shop.", dns.TypeA)
	n.stopTask()
	n.draining()
	ttl := int64(0)
	must[*sd.UpdateServiceOutput](t)(s.CloudMap().UpdateService(t.Context(), &sd.UpdateServiceInput{
		Id: n.registry.Id, Service: &sdtypes.ServiceChange{DnsConfig: &sdtypes.DnsConfigChange{
			DnsRecords: []sdtypes.DnsRecord{{Type: sdtypes.RecordTypeA, TTL: &ttl}},
		}},
	}))
	s.Kill()
	again := serveOn(t, s.Dir)
	n.server = again
	back := time.Now()
	told := n.told(40 * time.Second)
	t.Logf("SIGTERM came %v after the last answer, %v after the new server was ready", told.Sub(asked), told.Sub(back))
	if wait := told.Sub(asked); wait < 5*time.Second {
		t.Errorf("SIGTERM came %v after an answer that lives 5 s", wait)
	}
	again.Stable("cart")
}

// TestDrainLoweredTTL: answers that were handed out before a TTL was lowered live as long as they say.
func TestDrainLoweredTTL(t *testing.T) {
	t.Parallel()
	s := serve(t)
	n := s.noted(s.Namespace("shop"), "cart", 4)
	asked := time.Now()
	n.asked("udp", "cart.shop.", dns.TypeA)
	ttl := int64(0)
	must[*sd.UpdateServiceOutput](t)(s.CloudMap().UpdateService(t.Context(), &sd.UpdateServiceInput{
		Id: n.registry.Id, Service: &sdtypes.ServiceChange{DnsConfig: &sdtypes.DnsConfigChange{
			DnsRecords: []sdtypes.DnsRecord{{Type: sdtypes.RecordTypeA, TTL: &ttl}},
		}},
	}))
	n.asked("udp", "cart.shop.", dns.TypeA)
	n.stopTask()
	if wait := n.told(30 * time.Second).Sub(asked); wait < 4*time.Second {
		t.Errorf("SIGTERM came %v after an answer that lives 4 s", wait)
	}
}

// TestDrainMinimum: a tag of the service asks for more than the TTL, and the cap bounds both.
func TestDrainMinimum(t *testing.T) {
	t.Parallel()
	s := serve(t, "--drain-cap", "6s")
	shop := s.Namespace("shop")
	tag := func(n *noted, seconds string) {
		svc := s.Describe(n.name)
		must[*ecs.TagResourceOutput](t)(s.ECS().TagResource(t.Context(), &ecs.TagResourceInput{
			ResourceArn: svc.ServiceArn, Tags: []ecstypes.Tag{{Key: aws.String(drain.MinimumTag), Value: &seconds}},
		}))
	}
	patient := s.noted(shop, "patient", 0)
	tag(patient, "3")
	capped := s.noted(shop, "capped", 300)
	tag(capped, "600")
	capped.asked("udp", "capped.shop.", dns.TypeA)
	stopped := patient.stopTask()
	cappedAt := capped.stopTask()
	if wait := patient.told(30 * time.Second).Sub(stopped); wait < 2900*time.Millisecond {
		t.Errorf("SIGTERM came %v after StopTask; the tag asks for 3 s", wait)
	}
	if wait := capped.told(60 * time.Second).Sub(cappedAt); wait < 5900*time.Millisecond {
		t.Errorf("SIGTERM came %v after StopTask; the cap is 6 s", wait)
	}
}

// TestCrashedAddress: a task that dies is out of the answers at once, and no other task gets its address while
// somebody may hold it.
func TestCrashedAddress(t *testing.T) {
	t.Parallel()
	s := serve(t)
	n := s.noted(s.Namespace("shop"), "cart", 60)
	n.asked("udp", "cart.shop.", dns.TypeA)
	pid := must[int](t)(strconv.Atoi(aws.ToString(n.task.Containers[0].RuntimeId)))
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	old := address(n.task)
	eventually(t, 30*time.Second, "a new task is answered in place of the one that died", func() bool {
		got := s.Lookup("cart.shop")
		return len(got) == 1 && !got[netip.MustParseAddr(old)]
	})
	for _, task := range s.Tasks("cart", ecstypes.DesiredStatusRunning) {
		if address(task) == old {
			t.Errorf("the new task has the address %s of the one that died, which clients may hold for 60 s", old)
		}
	}
}
