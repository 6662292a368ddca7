package promises

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
	"github.com/bakingclouds/rollcall/test/harness"
)

// The tests of this file hold when a task is told to stop: when the last answer with its address has expired wherever
// it may be kept, and no later. Deadlines upward are wide, since machines are slow; none is as long as what would be
// waited for in vain.

// recordingDefinition is a definition whose tasks write down when SIGTERM came, each to a file named after its address in dir.
func recordingDefinition(t testing.TB, family, dir string) *ecs.RegisterTaskDefinitionInput {
	script := fmt.Sprintf(`trap 'date +%%s%%N > %[1]s/$ROLLCALL_ADDRESS.new; mv %[1]s/$ROLLCALL_ADDRESS.new %[1]s/$ROLLCALL_ADDRESS; exit 0' TERM
		sleep 1000 & wait`, dir)
	in := harness.Program(t, family, "/bin/sh", "-c", script)
	in.ContainerDefinitions[0].PortMappings = []ecstypes.PortMapping{{ContainerPort: aws.Int32(5000)}}
	return in
}

// signalRecorder is a service of one task that writes down when SIGTERM comes.
type signalRecorder struct {
	*harness.Server
	name, dir string
	registry  *sdtypes.Service
	task      ecstypes.Task
}

func startSignalRecorder(s *harness.Server, namespace, name string, ttl int64, records ...sdtypes.RecordType) *signalRecorder {
	s.T.Helper()
	n := &signalRecorder{Server: s, name: name, dir: s.T.TempDir(), registry: s.CreateCloudMapService(namespace, name, ttl, records...)}
	s.CreateECSService(name, s.RegisterDefinition(recordingDefinition(s.T, name, n.dir)), 1, n.registry)
	s.WaitStable(name)
	n.task = s.Tasks(name, ecstypes.DesiredStatusRunning)[0]
	return n
}

// stopTask stops the task by hand and returns when that was acknowledged.
func (n *signalRecorder) stopTask() time.Time {
	n.T.Helper()
	harness.Must(n.ECS().StopTask(n.T.Context(), &ecs.StopTaskInput{Task: n.task.TaskArn}))(n.T)
	return time.Now()
}

// waitSIGTERM waits for SIGTERM and returns when it came.
func (n *signalRecorder) waitSIGTERM(within time.Duration) (at time.Time) {
	n.T.Helper()
	harness.Eventually(n.T, within, "SIGTERM for the task of "+n.name, func() bool {
		b, err := os.ReadFile(filepath.Join(n.dir, harness.Address(n.task)))
		nanos, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		at = time.Unix(0, nanos)
		return err == nil
	})
	return at
}

// waitDraining waits until the stop has begun and the task is out of the answers.
func (n *signalRecorder) waitDraining() {
	n.T.Helper()
	harness.Eventually(n.T, 10*time.Second, "the task drains", func() bool {
		out := harness.Must(n.ECS().DescribeTasks(n.T.Context(), &ecs.DescribeTasksInput{Tasks: []string{*n.task.TaskArn}}))(n.T)
		return aws.ToString(out.Tasks[0].LastStatus) == "DEACTIVATING" && !n.Lookup(n.name + ".shop")[netip.MustParseAddr(harness.Address(n.task))]
	})
}

// TestNoDrainWithoutAnswers: where no answer was handed out there is nothing to wait for.
func TestNoDrainWithoutAnswers(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	shop := s.CreateNamespace("shop")
	var waits []time.Duration
	for _, name := range []string{"a", "b", "c"} {
		n := startSignalRecorder(s, shop, name, 300)
		stopped := n.stopTask()
		waits = append(waits, n.waitSIGTERM(20*time.Second).Sub(stopped))
	}
	t.Logf("SIGTERM came %v after StopTask", waits)
	if least := slices.Min(waits); least > 2*time.Second {
		t.Errorf("SIGTERM came no sooner than %v after StopTask, though nobody had asked", least)
	}
}

// TestDrainWaitsForLastAnswer: however an address was handed out, SIGTERM comes when its TTL is over.
func TestDrainWaitsForLastAnswer(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	shop := s.CreateNamespace("shop")
	const ttl = 3
	for name, ask := range map[string]func(n *signalRecorder){
		"dns":      func(n *signalRecorder) { n.mustAnswer("udp", n.name+".shop.", dns.TypeA) },
		"dns-tcp":  func(n *signalRecorder) { n.mustAnswer("tcp", n.name+".shop.", dns.TypeA) },
		"dns-srv":  func(n *signalRecorder) { n.mustAnswer("udp", n.name+".shop.", dns.TypeSRV) },
		"dns-host": func(n *signalRecorder) { n.mustAnswer("udp", harness.TaskID(n.task)+"."+n.name+".shop.", dns.TypeA) },
		"discover": func(n *signalRecorder) {
			if _, there := n.Discover("shop", n.name, sdtypes.HealthStatusFilterHealthy)[harness.TaskID(n.task)]; !there {
				n.T.Error("DiscoverInstances does not answer with the task")
			}
		},
	} {
		n := startSignalRecorder(s, shop, name, ttl, sdtypes.RecordTypeA, sdtypes.RecordTypeSrv)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := &signalRecorder{Server: n.WithT(t), name: n.name, dir: n.dir, registry: n.registry, task: n.task}
			asked := time.Now() // the answer leaves later than this
			ask(n)
			n.stopTask()
			wait := n.waitSIGTERM(30 * time.Second).Sub(asked)
			t.Logf("SIGTERM came %v after the last answer, which lived %d s", wait, ttl)
			if wait < ttl*time.Second {
				t.Errorf("SIGTERM came %v after an answer that lives %d s", wait, ttl)
			}
		})
	}
}

// mustAnswer has a question answered that names the task.
func (n *signalRecorder) mustAnswer(network, name string, typ uint16) *dns.Msg {
	n.T.Helper()
	q := new(dns.Msg).SetQuestion(name, typ)
	reply, _, err := (&dns.Client{Net: network, Timeout: 10 * time.Second}).Exchange(q, n.Info.DNS[0])
	if err != nil {
		n.T.Fatalf("ask for %s %s: %v", name, dns.TypeToString[typ], err)
	}
	if !strings.Contains(reply.String(), harness.Address(n.task)) {
		n.T.Fatalf("%s %s does not name the task: %v", name, dns.TypeToString[typ], reply)
	}
	return reply
}

// TestDrainKeepsSRVTarget: who holds an SRV record still finds its target while the task drains, and no longer
// than the record lives; asking does not prolong the drain.
func TestDrainKeepsSRVTarget(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	n := startSignalRecorder(s, s.CreateNamespace("shop"), "cart", 4, sdtypes.RecordTypeA, sdtypes.RecordTypeSrv)
	asked := time.Now()
	n.mustAnswer("udp", "cart.shop.", dns.TypeSRV)
	n.stopTask()
	n.waitDraining()
	harness.WantLine(t, s.RunCommand("status"), `^us-east-1/default/cart +`+harness.Address(n.task)+` +`+harness.TaskID(n.task)+` +in [1-6] s$`)
	host := harness.TaskID(n.task) + ".cart.shop."
	reply := n.mustAnswer("udp", host, dns.TypeA)
	if left := 4 - time.Since(asked).Seconds(); float64(reply.Answer[0].Header().Ttl) > left+1 {
		t.Errorf("%s may be kept %d s, the SRV record that names it %.1f s", host, reply.Answer[0].Header().Ttl, left)
	}
	until := time.Now().Add(30 * time.Second)
	for _, err := os.Stat(filepath.Join(n.dir, harness.Address(n.task))); err != nil && time.Now().Before(until); _, err = os.Stat(filepath.Join(n.dir, harness.Address(n.task))) {
		reply, err := s.QueryDNS(host, dns.TypeA)
		if err != nil {
			t.Fatal(err)
		}
		if s.Lookup("cart.shop")[netip.MustParseAddr(harness.Address(n.task))] {
			t.Fatal("the service's name is answered with a task that drains")
		}
		if len(reply.Answer) == 0 {
			break // it is deregistered: SIGTERM is on its way
		}
	}
	if wait := n.waitSIGTERM(20 * time.Second).Sub(asked); wait < 4*time.Second {
		t.Errorf("SIGTERM came %v after an answer that lives 4 s", wait)
	}
}

// TestDrainAfterServerKill: a server that is killed in the middle of a drain does not know what it has handed out,
// so the next one waits the greatest TTL that it can have been, also when that was lowered meanwhile.
func TestDrainAfterServerKill(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	n := startSignalRecorder(s, s.CreateNamespace("shop"), "cart", 5)
	asked := time.Now()
	n.mustAnswer("udp", "cart.shop.", dns.TypeA)
	n.stopTask()
	n.waitDraining()
	ttl := int64(0)
	harness.Must(s.CloudMap().UpdateService(t.Context(), &sd.UpdateServiceInput{
		Id: n.registry.Id, Service: &sdtypes.ServiceChange{DnsConfig: &sdtypes.DnsConfigChange{
			DnsRecords: []sdtypes.DnsRecord{{Type: sdtypes.RecordTypeA, TTL: &ttl}},
		}},
	}))(t)
	s.Kill()
	again := harness.ServeOn(t, s.Dir)
	n.Server = again
	back := time.Now()
	told := n.waitSIGTERM(40 * time.Second)
	t.Logf("SIGTERM came %v after the last answer, %v after the new server was ready", told.Sub(asked), told.Sub(back))
	if wait := told.Sub(asked); wait < 5*time.Second {
		t.Errorf("SIGTERM came %v after an answer that lives 5 s", wait)
	}
	again.WaitStable("cart")
}

// TestDrainAfterLoweredTTL: answers that were handed out before a TTL was lowered live as long as they say.
func TestDrainAfterLoweredTTL(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	n := startSignalRecorder(s, s.CreateNamespace("shop"), "cart", 4)
	asked := time.Now()
	n.mustAnswer("udp", "cart.shop.", dns.TypeA)
	ttl := int64(0)
	harness.Must(s.CloudMap().UpdateService(t.Context(), &sd.UpdateServiceInput{
		Id: n.registry.Id, Service: &sdtypes.ServiceChange{DnsConfig: &sdtypes.DnsConfigChange{
			DnsRecords: []sdtypes.DnsRecord{{Type: sdtypes.RecordTypeA, TTL: &ttl}},
		}},
	}))(t)
	n.mustAnswer("udp", "cart.shop.", dns.TypeA)
	n.stopTask()
	if wait := n.waitSIGTERM(30 * time.Second).Sub(asked); wait < 4*time.Second {
		t.Errorf("SIGTERM came %v after an answer that lives 4 s", wait)
	}
}

// TestDrainMinimumAndCap: a tag of the service asks for more than the TTL, and the cap bounds both.
func TestDrainMinimumAndCap(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--drain-cap", "6s")
	shop := s.CreateNamespace("shop")
	tag := func(n *signalRecorder, seconds string) {
		svc := s.DescribeService(n.name)
		harness.Must(s.ECS().TagResource(t.Context(), &ecs.TagResourceInput{
			ResourceArn: svc.ServiceArn, Tags: []ecstypes.Tag{{Key: aws.String(drain.MinimumTag), Value: &seconds}},
		}))(t)
	}
	patient := startSignalRecorder(s, shop, "patient", 0)
	tag(patient, "3")
	capped := startSignalRecorder(s, shop, "capped", 300)
	tag(capped, "600")
	capped.mustAnswer("udp", "capped.shop.", dns.TypeA)
	stopped := patient.stopTask()
	cappedAt := capped.stopTask()
	if wait := patient.waitSIGTERM(30 * time.Second).Sub(stopped); wait < 2900*time.Millisecond {
		t.Errorf("SIGTERM came %v after StopTask; the tag asks for 3 s", wait)
	}
	if wait := capped.waitSIGTERM(60 * time.Second).Sub(cappedAt); wait < 5900*time.Millisecond {
		t.Errorf("SIGTERM came %v after StopTask; the cap is 6 s", wait)
	}
}

// TestAddressOfCrashedTaskIsNotReused: a task that dies is out of the answers at once, and no other task gets its address while
// somebody may hold it.
func TestAddressOfCrashedTaskIsNotReused(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	n := startSignalRecorder(s, s.CreateNamespace("shop"), "cart", 60)
	n.mustAnswer("udp", "cart.shop.", dns.TypeA)
	pid := harness.Must(strconv.Atoi(aws.ToString(n.task.Containers[0].RuntimeId)))(t)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	old := harness.Address(n.task)
	harness.Eventually(t, 30*time.Second, "a new task is answered in place of the one that died", func() bool {
		got := s.Lookup("cart.shop")
		return len(got) == 1 && !got[netip.MustParseAddr(old)]
	})
	for _, task := range s.Tasks("cart", ecstypes.DesiredStatusRunning) {
		if harness.Address(task) == old {
			t.Errorf("the new task has the address %s of the one that died, which clients may hold for 60 s", old)
		}
	}
}

// The tests of this file run two servers on one etcd: two nodes, of which the first runs the tasks and both answer.

// startTwoNodes starts both on a cluster of their own.
func startTwoNodes(t *testing.T) (first, second *harness.Server) {
	t.Helper()
	etcd := harness.StartEtcd(t)
	first = harness.Serve(t, "--etcd", etcd.Endpoint(), "--node", "first")
	second = harness.Serve(t, "--etcd", etcd.Endpoint(), "--node", "second", "--runtime", "none")
	return first, second
}

// answers waits until a node answers with the task of n.
func (n *signalRecorder) on(other *harness.Server) *signalRecorder {
	n.T.Helper()
	there := *n
	there.Server = other
	return &there
}

// TestDrainOnEveryNode: a task waits for what another node has handed out.
func TestDrainOnEveryNode(t *testing.T) {
	t.Parallel()
	first, second := startTwoNodes(t)
	n := startSignalRecorder(first, first.CreateNamespace("shop"), "cart", 4)
	asked := time.Now()
	n.on(second).mustAnswer("udp", "cart.shop.", dns.TypeA)
	n.stopTask()
	wait := n.waitSIGTERM(40 * time.Second).Sub(asked)
	t.Logf("SIGTERM came %v after the other node's answer", wait)
	if wait < 4*time.Second {
		t.Errorf("SIGTERM came %v after the other node's answer, which lives 4 s", wait)
	}
}

// TestDrainOfLostNode: what a node has handed out that is gone is waited for too, from the moment that it is known to
// be gone, and not for ever.
func TestDrainOfLostNode(t *testing.T) {
	t.Parallel()
	first, second := startTwoNodes(t)
	n := startSignalRecorder(first, first.CreateNamespace("shop"), "cart", 6)
	asked := time.Now()
	n.on(second).mustAnswer("udp", "cart.shop.", dns.TypeA)
	second.Kill()
	n.stopTask()
	wait := n.waitSIGTERM(90 * time.Second).Sub(asked)
	t.Logf("SIGTERM came %v after the lost node's answer", wait)
	if wait < 6*time.Second {
		t.Errorf("SIGTERM came %v after the lost node's answer, which lives 6 s", wait)
	}
}
