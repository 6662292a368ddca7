package promises

import (
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

// These tests measure when a task receives SIGTERM after StopTask: when the last answer with its address has expired,
// and not much later. Their upper bounds are wide for the sake of slow machines, and still shorter than any wait that a
// fault would cause.

// recordingDefinition returns a definition whose tasks write the time at which they receive SIGTERM, each to a file in
// dir that is named after its address.
func recordingDefinition(t testing.TB, family, dir string) *ecs.RegisterTaskDefinitionInput {
	t.Helper()
	script := `file=` + dir + `/$ROLLCALL_ADDRESS
		trap 'date +%s%N > $file.new; mv $file.new $file; exit 0' TERM
		sleep 1000 & wait`
	in := harness.Program(t, family, "/bin/sh", "-c", script)
	in.ContainerDefinitions[0].PortMappings = []ecstypes.PortMapping{{ContainerPort: aws.Int32(5000)}}
	return in
}

// signalRecorder is a service with one task that writes down when it receives SIGTERM.
type signalRecorder struct {
	*harness.Server
	name, dir string
	registry  *sdtypes.Service
	task      ecstypes.Task
}

// startSignalRecorder creates the service and waits until its task is stable.
func startSignalRecorder(s *harness.Server, namespace, name string, ttl int64,
	records ...sdtypes.RecordType) *signalRecorder {
	s.T.Helper()
	n := &signalRecorder{Server: s, name: name, dir: s.T.TempDir(),
		registry: s.CreateCloudMapService(namespace, name, ttl, records...)}
	s.CreateECSService(name, s.RegisterDefinition(recordingDefinition(s.T, name, n.dir)), 1, n.registry)
	s.WaitStable(name)
	n.task = s.Tasks(name, ecstypes.DesiredStatusRunning)[0]
	return n
}

// stopTask stops the task with StopTask and returns the time after the call.
func (n *signalRecorder) stopTask() time.Time {
	n.T.Helper()
	harness.Must(n.ECS().StopTask(n.T.Context(), &ecs.StopTaskInput{Task: n.task.TaskArn}))(n.T)
	return time.Now()
}

// waitSIGTERM waits until the task has received SIGTERM and returns when.
func (n *signalRecorder) waitSIGTERM(within time.Duration) (at time.Time) {
	n.T.Helper()
	harness.Eventually(n.T, within, "the task of "+n.name+" receives SIGTERM", func() bool {
		b, err := os.ReadFile(filepath.Join(n.dir, harness.Address(n.task)))
		nanos, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		at = time.Unix(0, nanos)
		return err == nil
	})
	return at
}

// waitDraining waits until the task is stopping and has left the answers.
func (n *signalRecorder) waitDraining() {
	n.T.Helper()
	harness.Eventually(n.T, 10*time.Second, "the task drains", func() bool {
		out := harness.Must(n.ECS().DescribeTasks(n.T.Context(),
			&ecs.DescribeTasksInput{Tasks: []string{*n.task.TaskArn}}))(n.T)
		return aws.ToString(out.Tasks[0].LastStatus) == "DEACTIVATING" &&
			!n.Lookup(n.name + ".shop")[netip.MustParseAddr(harness.Address(n.task))]
	})
}

// TestNoDrainWithoutAnswers stops tasks whose address no answer has had. They must receive SIGTERM without a wait.
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
	t.Logf("times from StopTask to SIGTERM: %v", waits)
	if least := slices.Min(waits); least > 2*time.Second {
		t.Errorf("SIGTERM came %v after StopTask, want no drain: no answer had the address", least)
	}
}

// TestDrainWaitsForLastAnswer asks for a task in every way and stops it. SIGTERM must come when the TTL of the answer
// has passed.
func TestDrainWaitsForLastAnswer(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	shop := s.CreateNamespace("shop")
	const ttl = 3
	for name, ask := range map[string]func(n *signalRecorder){
		"dns":     func(n *signalRecorder) { n.mustAnswer("udp", n.name+".shop.", dns.TypeA) },
		"dns-tcp": func(n *signalRecorder) { n.mustAnswer("tcp", n.name+".shop.", dns.TypeA) },
		"dns-srv": func(n *signalRecorder) { n.mustAnswer("udp", n.name+".shop.", dns.TypeSRV) },
		"dns-host": func(n *signalRecorder) {
			n.mustAnswer("udp", harness.TaskID(n.task)+"."+n.name+".shop.", dns.TypeA)
		},
		"discover": func(n *signalRecorder) {
			found := n.Discover("shop", n.name, sdtypes.HealthStatusFilterHealthy)
			if _, ok := found[harness.TaskID(n.task)]; !ok {
				n.T.Error("DiscoverInstances does not return the task")
			}
		},
	} {
		n := startSignalRecorder(s, shop, name, ttl, sdtypes.RecordTypeA, sdtypes.RecordTypeSrv)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := &signalRecorder{Server: n.WithT(t), name: n.name, dir: n.dir, registry: n.registry, task: n.task}
			asked := time.Now() // before the answer is sent
			ask(n)
			n.stopTask()
			wait := n.waitSIGTERM(30 * time.Second).Sub(asked)
			t.Logf("SIGTERM came %v after the last answer, whose TTL is %d s", wait, ttl)
			if wait < ttl*time.Second {
				t.Errorf("SIGTERM came %v after an answer with a TTL of %d s", wait, ttl)
			}
		})
	}
}

// mustAnswer sends a query and fails the test unless the answer has the task.
func (n *signalRecorder) mustAnswer(network, name string, typ uint16) *dns.Msg {
	n.T.Helper()
	q := new(dns.Msg).SetQuestion(name, typ)
	reply, _, err := (&dns.Client{Net: network, Timeout: 10 * time.Second}).Exchange(q, n.Info.DNS[0])
	if err != nil {
		n.T.Fatalf("query %s %s: %v", name, dns.TypeToString[typ], err)
	}
	if !strings.Contains(reply.String(), harness.Address(n.task)) {
		n.T.Fatalf("the answer for %s %s does not have the task: %v", name, dns.TypeToString[typ], reply)
	}
	return reply
}

// TestDrainKeepsSRVTarget checks that a client with an SRV record still gets an address for the record's target while
// the task drains, with a TTL that does not exceed that of the SRV record. These queries must not prolong the drain.
func TestDrainKeepsSRVTarget(t *testing.T) {
	t.Parallel()
	const ttl = 15
	s := harness.Serve(t)
	n := startSignalRecorder(s, s.CreateNamespace("shop"), "cart", ttl, sdtypes.RecordTypeA, sdtypes.RecordTypeSrv)
	asked := time.Now()
	n.mustAnswer("udp", "cart.shop.", dns.TypeSRV)
	answered := time.Now()
	n.stopTask()
	n.waitDraining()
	harness.WantLine(t, s.RunCommand("status"), `^us-east-1/default/cart +`+harness.Address(n.task)+` +`+
		harness.TaskID(n.task)+` +in [0-9]+ s$`)
	host := harness.TaskID(n.task) + ".cart.shop."
	left := ttl - time.Since(answered).Seconds() // at most so long is the SRV record still valid
	reply := n.mustAnswer("udp", host, dns.TypeA)
	if got := reply.Answer[0].Header().Ttl; float64(got) > left+1 {
		t.Errorf("%s has a TTL of %d s, want at most the %.1f s for which the SRV record is valid", host, got, left)
	}
	record := filepath.Join(n.dir, harness.Address(n.task)) // exists when the task has received SIGTERM
	harness.Eventually(t, 30*time.Second, "the task has left every answer", func() bool {
		if _, err := os.Stat(record); err == nil {
			return true
		}
		if s.Lookup("cart.shop")[netip.MustParseAddr(harness.Address(n.task))] {
			t.Fatal("the answer for the service has a task that drains")
		}
		return len(harness.Must(s.QueryDNS(host, dns.TypeA))(t).Answer) == 0
	})
	if wait := n.waitSIGTERM(20 * time.Second).Sub(asked); wait < ttl*time.Second {
		t.Errorf("SIGTERM came %v after an answer with a TTL of %d s", wait, ttl)
	}
}

// TestDrainAfterServerKill kills the server in the middle of a drain. The next server does not know which answers were
// sent, so it must wait for the greatest TTL that the service has had, even if the TTL was lowered since.
func TestDrainAfterServerKill(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	n := startSignalRecorder(s, s.CreateNamespace("shop"), "cart", 15)
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
	received := n.waitSIGTERM(60 * time.Second)
	t.Logf("SIGTERM came %v after the last answer, %v after the new server was ready", received.Sub(asked),
		received.Sub(back))
	if wait := received.Sub(asked); wait < 15*time.Second {
		t.Errorf("SIGTERM came %v after an answer with a TTL of 15 s", wait)
	}
	again.WaitStable("cart")
}

// TestDrainAfterLoweredTTL lowers a TTL after an answer. The drain must wait for the TTL of that answer.
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
		t.Errorf("SIGTERM came %v after an answer with a TTL of 4 s", wait)
	}
}

// TestDrainMinimumAndCap sets the tag of a service that asks for a longer drain than its TTL, and the cap that limits
// both.
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
		t.Errorf("SIGTERM came %v after StopTask, want at least the 3 s of the tag", wait)
	}
	if wait := capped.waitSIGTERM(60 * time.Second).Sub(cappedAt); wait < 5900*time.Millisecond {
		t.Errorf("SIGTERM came %v after StopTask, want at least the 6 s of the cap", wait)
	}
}

// TestAddressOfCrashedTaskIsNotReused kills a task. It must leave the answers, and its replacement must not get its
// address while clients may use it.
func TestAddressOfCrashedTaskIsNotReused(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	n := startSignalRecorder(s, s.CreateNamespace("shop"), "cart", 300)
	n.mustAnswer("udp", "cart.shop.", dns.TypeA)
	pid := harness.Must(strconv.Atoi(aws.ToString(n.task.Containers[0].RuntimeId)))(t)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	old := harness.Address(n.task)
	harness.Eventually(t, 30*time.Second, "the answer has a new task instead of the killed one", func() bool {
		got := s.Lookup("cart.shop")
		return len(got) == 1 && !got[netip.MustParseAddr(old)]
	})
	for _, task := range s.Tasks("cart", ecstypes.DesiredStatusRunning) {
		if harness.Address(task) == old {
			t.Errorf("the new task has the address %s of the killed one, which clients may use for 300 s", old)
		}
	}
}

// startTwoNodes starts two servers on one etcd: two nodes, of which the first runs the tasks and both answer queries.
func startTwoNodes(t *testing.T) (first, second *harness.Server) {
	t.Helper()
	etcd := harness.StartEtcd(t)
	first = harness.Serve(t, "--etcd", etcd.Endpoint(), "--node", "first")
	second = harness.Serve(t, "--etcd", etcd.Endpoint(), "--node", "second", "--runtime", "none")
	return first, second
}

// on returns the recorder as another node answers for it.
func (n *signalRecorder) on(other *harness.Server) *signalRecorder {
	n.T.Helper()
	there := *n
	there.Server = other
	return &there
}

// waitAnswered waits until the node answers with the task. A node follows the changes that another one makes after a
// moment, which is longer on a busy machine.
func (n *signalRecorder) waitAnswered() {
	n.T.Helper()
	harness.Eventually(n.T, 10*time.Second, "the node answers with the task", func() bool {
		return n.Lookup(n.name + ".shop")[netip.MustParseAddr(harness.Address(n.task))]
	})
}

// TestDrainOnEveryNode checks that a drain waits for the answers of another node.
func TestDrainOnEveryNode(t *testing.T) {
	t.Parallel()
	first, second := startTwoNodes(t)
	n := startSignalRecorder(first, first.CreateNamespace("shop"), "cart", 4)
	n.on(second).waitAnswered()
	asked := time.Now()
	n.on(second).mustAnswer("udp", "cart.shop.", dns.TypeA)
	n.stopTask()
	wait := n.waitSIGTERM(40 * time.Second).Sub(asked)
	t.Logf("SIGTERM came %v after the other node's answer", wait)
	if wait < 4*time.Second {
		t.Errorf("SIGTERM came %v after the other node's answer, whose TTL is 4 s", wait)
	}
}

// TestDrainOfLostNode checks that a drain waits for the answers of a node that is lost: from the time at which it is
// known to be lost, and not without end.
func TestDrainOfLostNode(t *testing.T) {
	t.Parallel()
	first, second := startTwoNodes(t)
	n := startSignalRecorder(first, first.CreateNamespace("shop"), "cart", 6)
	n.on(second).waitAnswered()
	asked := time.Now()
	n.on(second).mustAnswer("udp", "cart.shop.", dns.TypeA)
	second.Kill()
	n.stopTask()
	wait := n.waitSIGTERM(90 * time.Second).Sub(asked)
	t.Logf("SIGTERM came %v after the lost node's answer", wait)
	if wait < 6*time.Second {
		t.Errorf("SIGTERM came %v after the lost node's answer, whose TTL is 6 s", wait)
	}
}
