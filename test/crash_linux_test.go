package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
)

// The tests of this file end processes as kill -9 and a power cut do, and hold that nothing that was acknowledged is
// lost, that running tasks go on and that nothing is left over.

// marker is set in the environment of the tasks below, to the path of the file that their starts are written to. So
// the processes of one test's tasks can be found whoever their parent is.
const marker = "ROLLCALL_TEST_STARTS"

// markedWorker is the sample worker, which first writes its pid down. It has no health check, so that a task is one
// process.
func markedWorker(t testing.TB, starts string) *ecs.RegisterTaskDefinitionInput {
	in := program(t, "marked-worker", "/bin/sh", "-c", `echo $$ >> "$`+marker+`" && exec `+self(t)+` sample flask-worker`)
	in.ContainerDefinitions[0].PortMappings = []ecstypes.PortMapping{{ContainerPort: aws.Int32(5000)}}
	in.ContainerDefinitions[0].Environment = []ecstypes.KeyValuePair{{Name: aws.String(marker), Value: &starts}}
	return in
}

// startsIn are the pids of all tasks that were ever started, in order.
func startsIn(t testing.TB, file string) []string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Fields(string(b))
}

// marked are the processes that now run with the marker, those of health checks and of programs of tasks alike.
func marked(t testing.TB, starts string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	var pids []string
	for _, file := range files {
		environ, err := os.ReadFile(file) // fails for what has ended meanwhile, and for other users' processes
		if err == nil && bytes.Contains(append([]byte{0}, environ...), []byte("\x00"+marker+"="+starts+"\x00")) {
			pids = append(pids, strings.Split(file, "/")[2])
		}
	}
	slices.Sort(pids)
	return pids
}

// born is when a process started, in clock ticks since the boot (proc_pid_stat(5), field 22); empty when there is no
// such process. With its pid it tells a process from all others.
func born(pid string) string {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return ""
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	return fields[22-3]
}

// processes are the running tasks of a service: the pid of each, and when that process started.
func (s *server) processes(service string) map[string]string {
	s.T.Helper()
	all := map[string]string{}
	for _, task := range s.Tasks(service, ecstypes.DesiredStatusRunning) {
		if aws.ToString(task.LastStatus) == "RUNNING" {
			pid := aws.ToString(task.Containers[0].RuntimeId)
			all[pid] = born(pid)
		}
	}
	return all
}

// sandboxes are the tasks that the supervisor of a data folder holds, by id.
func sandboxes(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "tasks", "*", "sandbox.json"))
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, file := range files {
		ids = append(ids, filepath.Base(filepath.Dir(file)))
	}
	slices.Sort(ids)
	return ids
}

// onlyTheseRun holds that of a service exactly n tasks run, and that they are all: no process, no sandbox and no
// address in DNS or DiscoverInstances beside theirs.
func (s *server) onlyTheseRun(service, starts string, n int) {
	s.T.Helper()
	s.Stable(service)
	var said string
	defer func() {
		if s.T.Failed() {
			s.T.Log(said)
		}
	}()
	eventually(s.T, 20*time.Second, fmt.Sprintf("%s is %d tasks and nothing else", service, n), func() bool {
		var ids, pids, addresses []string
		for _, task := range s.Tasks(service, ecstypes.DesiredStatusRunning) {
			ids, addresses = append(ids, taskID(task)), append(addresses, address(task))
		}
		for pid := range s.processes(service) {
			pids = append(pids, pid)
		}
		slices.Sort(pids)
		boxes, running := sandboxes(s.T, s.Dir), marked(s.T, starts)
		dns := slices.Collect(maps.Keys(s.Lookup(service + ".shop")))
		found := slices.Collect(maps.Values(s.Discover("shop", service, sdtypes.HealthStatusFilterAll)))
		said = fmt.Sprintf("tasks %v at %v, pids %v; sandboxes %v, processes %v, DNS %v, DiscoverInstances %v", ids, addresses, pids, boxes, running, dns, found)
		return len(ids) == n && sameSet(boxes, ids) && slices.Equal(running, pids) && len(dns) == min(n, 8) && sameSet(found, addresses)
	})
}

// startedOnce holds that no task was started twice: every pid that was ever written down is that of another process,
// and there are as many as ECS has tasks whose container was started.
func (s *server) startedOnce(service, starts string) {
	s.T.Helper()
	var got, expected []string
	defer func() {
		if s.T.Failed() {
			s.T.Logf("the tasks that were started are %v, those that ECS knows %v", got, expected)
		}
	}()
	eventually(s.T, 5*time.Second, "every task was started once", func() bool { // a task runs a moment before it writes its pid
		got, expected = startsIn(s.T, starts), nil
		for _, status := range []ecstypes.DesiredStatus{ecstypes.DesiredStatusRunning, ecstypes.DesiredStatusStopped} {
			for _, task := range s.Tasks(service, status) {
				if pid := aws.ToString(task.Containers[0].RuntimeId); pid != "" {
					expected = append(expected, pid)
				}
			}
		}
		return sameSet(got, expected)
	})
}

// supervisorOf is the process that is the parent of a data folder's tasks.
func supervisorOf(t testing.TB, dir string) int {
	t.Helper()
	b := must[[]byte](t)(os.ReadFile(filepath.Join(dir, "supervisor.lock")))
	return must[int](t)(strconv.Atoi(strings.TrimSpace(string(b))))
}

// kill9 ends a process and waits until it is gone.
func kill9(t testing.TB, pid int) {
	t.Helper()
	was := born(strconv.Itoa(pid))
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("kill %d: %v", pid, err)
	}
	eventually(t, 5*time.Second, "the killed process is gone", func() bool {
		now := born(strconv.Itoa(pid))
		return now != was || zombie(pid)
	})
}

func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && bytes.HasPrefix(b[bytes.LastIndexByte(b, ')')+1:], []byte(" Z"))
}

// ledger is what writers have sent and what was acknowledged.
type ledger struct {
	mu           sync.Mutex
	sent, acked  map[string]string // instance id to address
	acknowledged chan struct{}     // one token each, for as many as fit
}

func (l *ledger) note(m map[string]string, id, ip string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m[id] = ip
}

// write registers instances until ctx ends, and begins again with the next one when the server does not answer.
func (l *ledger) write(ctx context.Context, api *sd.Client, service string, writer, round int) {
	for n := 0; ctx.Err() == nil; n++ {
		id, ip := fmt.Sprintf("r%d-w%d-%d", round, writer, n), fmt.Sprintf("10.%d.%d.%d", writer, n>>8&255, n&255)
		l.note(l.sent, id, ip)
		if _, err := api.RegisterInstance(ctx, registration(service, id, ip)); err != nil {
			if ctx.Err() == nil {
				<-ctx.Done() // the server is dead
			}
			return
		}
		l.note(l.acked, id, ip)
		select {
		case l.acknowledged <- struct{}{}:
		default:
		}
	}
}

// TestKillUnderWrites kills the server while several clients write. After each start all that was acknowledged is
// there, what was not is there whole or not at all, and the running tasks never noticed.
func TestKillUnderWrites(t *testing.T) {
	t.Parallel()
	s := serve(t)
	starts := filepath.Join(t.TempDir(), "starts")
	shop := s.Namespace("shop")
	s.Run("cart", s.Register(markedWorker(t, starts)), 2, s.Discovery(shop, "cart", 1))
	s.Stable("cart")
	outside := s.Discovery(shop, "outside", 1)
	before := s.processes("cart")
	if len(before) != 2 {
		t.Fatalf("running tasks: %v", before)
	}
	answered := s.Lookup("cart.shop")

	book := &ledger{sent: map[string]string{}, acked: map[string]string{}, acknowledged: make(chan struct{}, 1000)}
	for round, enough := range []int{1, 30, 150} {
		ctx, cancel := context.WithCancel(t.Context())
		var writers sync.WaitGroup
		for w := range 6 {
			writers.Go(func() { book.write(ctx, s.cloudMapOnce(), *outside.Id, w, round) })
		}
		for range enough {
			select {
			case <-book.acknowledged:
			case <-time.After(20 * time.Second):
				t.Fatal("no write was acknowledged within 20 s")
			}
		}
		s.Kill()
		cancel()
		writers.Wait()

		s = serveOn(t, s.Dir)
		if first := s.Lookup("cart.shop"); !maps.Equal(first, answered) { // asked once: ready means ready
			t.Errorf("the first answer after the start is %v, before the end it was %v", first, answered)
		}
		s.holdsAll(*outside.Id, book)
		if now := s.processes("cart"); !maps.Equal(now, before) {
			t.Errorf("processes of the tasks: %v, before the end: %v", now, before)
		}
	}
	s.onlyTheseRun("cart", starts, 2)
	s.startedOnce("cart", starts)
}

// holdsAll compares what a service has with what was sent to it.
func (s *server) holdsAll(service string, book *ledger) {
	s.T.Helper()
	there := map[string]string{}
	pages := sd.NewListInstancesPaginator(s.CloudMap(), &sd.ListInstancesInput{ServiceId: &service})
	for pages.HasMorePages() {
		for _, i := range must[*sd.ListInstancesOutput](s.T)(pages.NextPage(s.T.Context())).Instances {
			there[*i.Id] = i.Attributes["AWS_INSTANCE_IPV4"]
		}
	}
	for id, ip := range book.acked {
		if there[id] != ip {
			s.T.Errorf("the registration of %s at %s was acknowledged, and now it is at %q", id, ip, there[id])
		}
	}
	for id, ip := range there {
		if book.sent[id] != ip {
			s.T.Errorf("there is %s at %q, which was sent as %q", id, ip, book.sent[id])
		}
	}
	// Whole means: the instance, its operation and the service's count came in one.
	registered := map[string]bool{}
	operations := sd.NewListOperationsPaginator(s.CloudMap(), &sd.ListOperationsInput{MaxResults: aws.Int32(100), Filters: []sdtypes.OperationFilter{
		{Name: sdtypes.OperationFilterNameServiceId, Values: []string{service}},
		{Name: sdtypes.OperationFilterNameType, Values: []string{string(sdtypes.OperationTypeRegisterInstance)}},
	}})
	for operations.HasMorePages() {
		for _, op := range must[*sd.ListOperationsOutput](s.T)(operations.NextPage(s.T.Context())).Operations {
			registered[*op.Id] = true
		}
	}
	svc := must[*sd.GetServiceOutput](s.T)(s.CloudMap().GetService(s.T.Context(), &sd.GetServiceInput{Id: &service})).Service
	if len(registered) != len(there) || int(aws.ToInt32(svc.InstanceCount)) != len(there) {
		s.T.Errorf("%d instances, %d operations that registered them, a count of %d", len(there), len(registered), aws.ToInt32(svc.InstanceCount))
	}
	s.T.Logf("%d writes sent, %d acknowledged, %d there", len(book.sent), len(book.acked), len(there))
}

// TestKillAtAnyPoint kills the server, the supervisor or both in the middle of what the loops do. Afterwards there are
// exactly the desired tasks, none was started twice, and nothing else is left.
func TestKillAtAnyPoint(t *testing.T) {
	t.Parallel()
	const ttl = 2
	for _, tc := range []struct {
		name  string
		count int32 // of tasks before, and after unless the case scales
		// upset begins something and returns when the middle of it is reached, with the count that is then wanted.
		upset func(t *testing.T, s *server, starts string) int
		// keeps says that the tasks which ran before are those which run after.
		keeps bool
	}{
		{"while ten tasks are created", 0, func(t *testing.T, s *server, starts string) int {
			s.Scale("cart", 10)
			eventually(t, 10*time.Second, "some tasks are started", func() bool { return len(startsIn(t, starts)) >= 3 })
			return 10
		}, false},
		{"as soon as ten tasks are asked for", 0, func(_ *testing.T, s *server, _ string) int {
			s.Scale("cart", 10)
			return 10
		}, false},
		{"during a rollout", 3, func(t *testing.T, s *server, starts string) int {
			must[*ecs.UpdateServiceOutput](t)(s.ECS().UpdateService(t.Context(), &ecs.UpdateServiceInput{Service: aws.String("cart"), ForceNewDeployment: true}))
			eventually(t, 10*time.Second, "new tasks are started", func() bool { return len(startsIn(t, starts)) > 3 })
			return 3
		}, false},
		{"during a drain", 2, func(t *testing.T, s *server, _ string) int {
			s.Lookup("cart.shop") // so that there is something to wait for
			victim := s.Tasks("cart", ecstypes.DesiredStatusRunning)[0]
			must[*ecs.StopTaskOutput](t)(s.ECS().StopTask(t.Context(), &ecs.StopTaskInput{Task: victim.TaskArn}))
			eventually(t, 5*time.Second, "the task is draining", func() bool {
				for ip := range s.Lookup("cart.shop") {
					if ip.String() == address(victim) {
						return false
					}
				}
				return true
			})
			return 2
		}, false},
		{"during a deletion", 3, func(t *testing.T, s *server, _ string) int {
			must[*ecs.DeleteServiceOutput](t)(s.ECS().DeleteService(t.Context(), &ecs.DeleteServiceInput{Service: aws.String("cart"), Force: aws.Bool(true)}))
			return -1
		}, false},
		{"at rest", 3, func(*testing.T, *server, string) int { return 3 }, true},
	} {
		for _, whom := range []string{"server", "supervisor", "both"} {
			t.Run(tc.name+", "+whom, func(t *testing.T) {
				t.Parallel()
				s := serve(t)
				starts := filepath.Join(t.TempDir(), "starts")
				s.Run("cart", s.Register(markedWorker(t, starts)), tc.count, s.Discovery(s.Namespace("shop"), "cart", ttl))
				s.Stable("cart")
				before := s.processes("cart")
				want := tc.upset(t, s, starts)

				supervisor := supervisorOf(t, s.Dir)
				if whom != "supervisor" {
					s.Kill()
				}
				if whom != "server" {
					kill9(t, supervisor)
				}
				if whom != "supervisor" {
					s = serveOn(t, s.Dir)
				}

				if want < 0 {
					s.nothingIsLeft("cart", starts)
					return
				}
				s.onlyTheseRun("cart", starts, want)
				s.startedOnce("cart", starts)
				if now := s.processes("cart"); tc.keeps && !maps.Equal(now, before) {
					t.Errorf("processes of the tasks: %v, before: %v", now, before)
				}
			})
		}
	}
}

// nothingIsLeft holds that a service which is being deleted goes, with all that was of it.
func (s *server) nothingIsLeft(service, starts string) {
	s.T.Helper()
	eventually(s.T, 30*time.Second, "the deleted service is gone", func() bool {
		return aws.ToString(s.Describe(service).Status) == "INACTIVE" && len(marked(s.T, starts)) == 0 && len(sandboxes(s.T, s.Dir)) == 0 &&
			len(s.Lookup(service+".shop")) == 0 && len(s.Discover("shop", service, sdtypes.HealthStatusFilterAll)) == 0
	})
}
