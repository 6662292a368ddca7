package promises

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
	"golang.org/x/sync/errgroup"

	"github.com/bakingclouds/rollcall/test/harness"
)

// TestStopAndRestart ends servers with a signal. They must exit with status 0 and remove their info file. Their tasks
// must continue and be adopted by the next server, or end with --stop-tasks.
func TestStopAndRestart(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name      string
		signal    syscall.Signal
		stopTasks bool
	}{
		{"SIGTERM", syscall.SIGTERM, false},
		{"SIGINT", syscall.SIGINT, false},
		{"SIGTERM with --stop-tasks", syscall.SIGTERM, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var flags []string
			if tc.stopTasks {
				flags = append(flags, "--stop-tasks")
			}
			s := harness.Serve(t, flags...)
			starts := filepath.Join(t.TempDir(), "starts")
			s.CreateECSService("cart", s.RegisterDefinition(harness.MarkedWorker(t, starts)), 2,
				s.CreateCloudMapService(s.CreateNamespace("shop"), "cart", 1))
			s.WaitStable("cart")
			before := s.TaskProcesses("cart")

			if err := s.Cmd.Process.Signal(tc.signal); err != nil {
				t.Fatal(err)
			}
			harness.WaitClosed(t, 10*time.Second, "the server has stopped", s.Done)
			if status := s.Cmd.ProcessState.ExitCode(); status != 0 {
				t.Errorf("status %d, want 0", status)
			}
			for _, file := range harness.Must(filepath.Glob(filepath.Join(s.Dir, "*.json")))(t) {
				if base := filepath.Base(file); base == "server.json" || strings.HasPrefix(base, "rollcall-") {
					t.Errorf("the server left %s", file)
				}
			}
			if tc.stopTasks {
				if left := harness.MarkedProcesses(t, starts); len(left) > 0 {
					t.Errorf("processes %v are still running", left)
				}
			} else if left := harness.MarkedProcesses(t, starts); len(left) != 2 {
				t.Errorf("running processes are %v, want 2", left)
			}

			s = harness.ServeOn(t, s.Dir)
			s.CheckOnlyTasks("cart", starts, 2)
			if now := s.TaskProcesses("cart"); maps.Equal(now, before) == tc.stopTasks {
				t.Errorf("the tasks' processes are %v, were %v", now, before)
			}
		})
	}
}

// writeLog records which registrations writers have sent, and which of them were acknowledged.
type writeLog struct {
	mu           sync.Mutex
	sent, acked  map[string]string // instance id to address
	acknowledged chan struct{}     // receives one value per acknowledgement, as long as there is room
}

func (l *writeLog) note(m map[string]string, id, ip string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m[id] = ip
}

// write registers instances until ctx is done or the server stops answering.
func (l *writeLog) write(ctx context.Context, api *sd.Client, service string, writer, round int) {
	for n := 0; ctx.Err() == nil; n++ {
		id, ip := fmt.Sprintf("r%d-w%d-%d", round, writer, n), fmt.Sprintf("10.%d.%d.%d", writer, n>>8&255, n&255)
		l.note(l.sent, id, ip)
		if _, err := api.RegisterInstance(ctx, harness.Registration(service, id, ip)); err != nil {
			if ctx.Err() == nil {
				<-ctx.Done() // the server was killed
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

// TestKillDuringWrites kills the server while several clients write. After each restart every acknowledged write must
// be there, every other write must be there completely or not at all, and the running tasks must not have been touched.
func TestKillDuringWrites(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	starts := filepath.Join(t.TempDir(), "starts")
	shop := s.CreateNamespace("shop")
	s.CreateECSService("cart", s.RegisterDefinition(harness.MarkedWorker(t, starts)), 2,
		s.CreateCloudMapService(shop, "cart", 1))
	s.WaitStable("cart")
	outside := s.CreateCloudMapService(shop, "outside", 1)
	before := s.TaskProcesses("cart")
	if len(before) != 2 {
		t.Fatalf("running tasks: %v", before)
	}
	answered := s.Lookup("cart.shop")

	log := &writeLog{sent: map[string]string{}, acked: map[string]string{}, acknowledged: make(chan struct{}, 1000)}
	for round, enough := range []int{1, 30, 150} {
		ctx, cancel := context.WithCancel(t.Context())
		var writers sync.WaitGroup
		for w := range 6 {
			writers.Go(func() { log.write(ctx, s.CloudMapWithoutRetries(), *outside.Id, w, round) })
		}
		for range enough {
			select {
			case <-log.acknowledged:
			case <-time.After(3 * time.Minute):
				t.Fatal("no write was acknowledged within 3 minutes")
			}
		}
		s.Kill()
		cancel()
		writers.Wait()

		s = harness.ServeOn(t, s.Dir)
		// one query: a server that is ready must answer
		if first := s.Lookup("cart.shop"); !maps.Equal(first, answered) {
			t.Errorf("the first answer after the restart is %v, want %v", first, answered)
		}
		checkRegistrations(s, *outside.Id, log)
		if now := s.TaskProcesses("cart"); !maps.Equal(now, before) {
			t.Errorf("the tasks' processes are %v, were %v", now, before)
		}
	}
	s.CheckOnlyTasks("cart", starts, 2)
	s.CheckStartedOnce("cart", starts)
}

// checkRegistrations compares a service's instances with the writes that were sent and acknowledged.
func checkRegistrations(s *harness.Server, service string, log *writeLog) {
	s.T.Helper()
	stored := map[string]string{}
	pages := sd.NewListInstancesPaginator(s.CloudMap(), &sd.ListInstancesInput{ServiceId: &service})
	for pages.HasMorePages() {
		for _, i := range harness.Must(pages.NextPage(s.T.Context()))(s.T).Instances {
			stored[*i.Id] = i.Attributes["AWS_INSTANCE_IPV4"]
		}
	}
	for id, ip := range log.acked {
		if stored[id] != ip {
			s.T.Errorf("instance %s was acknowledged with address %s, and now has %q", id, ip, stored[id])
		}
	}
	for id, ip := range stored {
		if log.sent[id] != ip {
			s.T.Errorf("instance %s has address %q, and was sent with %q", id, ip, log.sent[id])
		}
	}
	// The instance, its operation and the service's count are written in one transaction.
	registered := map[string]bool{}
	operations := sd.NewListOperationsPaginator(s.CloudMap(),
		&sd.ListOperationsInput{MaxResults: aws.Int32(100), Filters: []sdtypes.OperationFilter{
			{Name: sdtypes.OperationFilterNameServiceId, Values: []string{service}},
			{Name: sdtypes.OperationFilterNameType, Values: []string{string(sdtypes.OperationTypeRegisterInstance)}},
		}})
	for operations.HasMorePages() {
		for _, op := range harness.Must(operations.NextPage(s.T.Context()))(s.T).Operations {
			registered[*op.Id] = true
		}
	}
	svc := harness.Must(s.CloudMap().GetService(s.T.Context(), &sd.GetServiceInput{Id: &service}))(s.T).Service
	if len(registered) != len(stored) || int(aws.ToInt32(svc.InstanceCount)) != len(stored) {
		s.T.Errorf("%d operations and a count of %d for %d instances", len(registered), aws.ToInt32(svc.InstanceCount),
			len(stored))
	}
	s.T.Logf("%d writes sent, %d acknowledged, %d stored", len(log.sent), len(log.acked), len(stored))
}

// TestOperationsSurviveKill kills the server during registrations. After the restart every acknowledged instance must
// be registered and its operation a success, and no operation may be unfinished. The InstancesRevision must keep
// growing, also when a service is deleted and created again.
func TestOperationsSurviveKill(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--runtime", "none")
	shop := s.CreateNamespace("shop")
	cart := s.CreateCloudMapService(shop, "cart", 1)
	type acknowledged struct{ instance, operation string }
	acks := make(chan acknowledged)
	var writers errgroup.Group
	for n := range 4 {
		writers.Go(func() error {
			for k := 0; ; k++ {
				id := fmt.Sprintf("i-%d-%d", n, k)
				out, err := s.CloudMapWithoutRetries().RegisterInstance(t.Context(),
					harness.Registration(*cart.Id, id, "10.0.0.1"))
				if err != nil {
					return nil // the server was killed
				}
				acks <- acknowledged{id, *out.OperationId}
			}
		})
	}
	go func() {
		writers.Wait()
		close(acks)
	}()
	var all []acknowledged
	var before int64
	for ack := range acks {
		if all = append(all, ack); len(all) == 100 {
			before = discoverWithRevision(s).revision
			s.Cmd.Process.Kill() // the writers continue until a call fails
		}
	}
	s.Kill()

	s = harness.ServeOn(t, s.Dir, "--runtime", "none")
	api, ctx := s.CloudMapWithoutRetries(), t.Context()
	for _, ack := range all {
		op := harness.Must(api.GetOperation(ctx, &sd.GetOperationInput{OperationId: &ack.operation}))(t).Operation
		if op.Status != sdtypes.OperationStatusSuccess || op.Targets["INSTANCE"] != ack.instance {
			t.Errorf("the operation that registered %s is %s", ack.instance, harness.AsJSON(op))
		}
	}
	pending := harness.Must(api.ListOperations(ctx, &sd.ListOperationsInput{Filters: []sdtypes.OperationFilter{{
		Name: sdtypes.OperationFilterNameStatus, Condition: sdtypes.FilterConditionIn, Values: []string{"SUBMITTED",
			"PENDING"}}}}))(t)
	if len(pending.Operations) > 0 {
		t.Errorf("unfinished operations: %s", harness.AsJSON(pending.Operations))
	}
	registered := harness.ReadPages(t, sd.NewListInstancesPaginator(api, &sd.ListInstancesInput{ServiceId: cart.Id}),
		func(page *sd.ListInstancesOutput) (ids []string) {
			for _, i := range page.Instances {
				ids = append(ids, *i.Id)
			}
			return ids
		})
	for _, ack := range all {
		if !slices.Contains(registered, ack.instance) {
			t.Errorf("instance %s was acknowledged and is not registered", ack.instance)
		}
	}
	after := discoverWithRevision(s).revision
	if after < before {
		t.Errorf("the revision fell from %d to %d", before, after)
	}
	for _, id := range registered {
		harness.Must(api.DeregisterInstance(ctx, &sd.DeregisterInstanceInput{ServiceId: cart.Id,
			InstanceId: aws.String(id)}))(t)
	}
	emptied := discoverWithRevision(s).revision
	harness.Must(api.DeleteService(ctx, &sd.DeleteServiceInput{Id: cart.Id}))(t)
	s.CreateCloudMapService(shop, "cart", 1)
	if recreated := discoverWithRevision(s).revision; recreated <= emptied || emptied <= after {
		t.Errorf(
			"the revision was %d, %d after the last deregistration, %d in a service created again; want it to grow",
			after, emptied, recreated)
	}
}

// TestKillDuringDeployment kills the server in the middle of a deployment. Lookups fail while it is down, but every
// answer from before and after must be right.
func TestKillDuringDeployment(t *testing.T) {
	load := newLoadTest(t)
	for range 2 {
		load.Update()
		old := load.Server.Load()
		harness.Eventually(t, time.Minute, "the deployment has started",
			func() bool { return len(old.DescribeService("team").Deployments) > 1 })
		old.Kill()
		load.Server.Store(harness.ServeOn(t, old.Dir))
		load.WaitStable("worker")
		load.WaitStable("team")
	}
	load.Stop()
	load.CheckNoFailures("a deployment during which the server was killed")
	sent, unanswered := load.Counts()
	t.Logf("%d requests, 0 failed, 0 empty; %d lookups without an answer", sent, unanswered)
}

// TestCustomHealthSurvivesRestart sets the custom health of a task's instance. It must survive a restart, and other
// changes of the task, until it is set again.
func TestCustomHealthSurvivesRestart(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	cart := s.CreateCloudMapService(s.CreateNamespace("shop"), "cart", 1)
	s.CreateECSService("cart", s.RegisterDefinition(harness.Worker(t, "flask-worker", "")), 2, cart)
	s.WaitStable("cart")
	s.CheckAnswers("cart", 2)
	victim := harness.TaskID(s.Tasks("cart", ecstypes.DesiredStatusRunning)[0])
	harness.Must(s.CloudMap().UpdateInstanceCustomHealthStatus(t.Context(),
		&sd.UpdateInstanceCustomHealthStatusInput{ServiceId: cart.Id, InstanceId: &victim, Status: "UNHEALTHY"}))(t)
	if got := s.Lookup("cart.shop"); len(got) != 1 {
		t.Fatalf("the answer is %v, want one address: a user has set one of the instances to UNHEALTHY", got)
	}
	s.Kill()
	s = harness.ServeOn(t, s.Dir)
	s.WaitStable("cart")
	s.RunCommand("status") // reads what the loops have written
	if got := s.Lookup("cart.shop"); len(got) != 1 {
		t.Errorf(
			"after the restart the answer is %v, want one address: a user has set one of the instances to UNHEALTHY",
			got)
	}
	harness.Must(s.CloudMap().UpdateInstanceCustomHealthStatus(t.Context(),
		&sd.UpdateInstanceCustomHealthStatusInput{ServiceId: cart.Id, InstanceId: aws.String(victim),
			Status: "HEALTHY"}))(t)
	s.CheckAnswers("cart", 2)
}

// TestNodeNameIsKept starts servers on one data folder. A server must not start under another node name, which would
// give up the folder's tasks, and without a name it must use the folder's.
func TestNodeNameIsKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	harness.ServeOn(t, dir, "--runtime", "none").Stop()
	if _, err := harness.Start(t, dir, "--runtime", "none", "--node", "other"); err == nil ||
		!strings.Contains(err.Error(), "belongs to node test") {
		t.Errorf("a start with another node name: %v, want an error that names the folder's node", err)
	}
	harness.ServeOn(t, dir, "--runtime", "none", "--node", "") // without the flag, the folder's name is used
}
