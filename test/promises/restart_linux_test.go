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
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
	"golang.org/x/sync/errgroup"

	"github.com/bakingclouds/rollcall/test/harness"
)

// TestStopAndRestart ends servers by a signal. They end with status 0 and leave no pointer; tasks go on and are found again, or
// end with it when that was asked for.
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
			s.CreateECSService("cart", s.RegisterDefinition(harness.MarkedWorker(t, starts)), 2, s.CreateCloudMapService(s.CreateNamespace("shop"), "cart", 1))
			s.WaitStable("cart")
			before := s.TaskProcesses("cart")

			if err := s.Cmd.Process.Signal(tc.signal); err != nil {
				t.Fatal(err)
			}
			select {
			case <-s.Done:
			case <-time.After(10 * time.Second):
				t.Fatal("not stopped after 10 s")
			}
			if status := s.Cmd.ProcessState.ExitCode(); status != 0 {
				t.Errorf("status %d", status)
			}
			for _, file := range harness.Must(filepath.Glob(filepath.Join(s.Dir, "*.json")))(t) {
				if base := filepath.Base(file); base == "server.json" || strings.HasPrefix(base, "rollcall-") {
					t.Errorf("%s is left", file)
				}
			}
			if tc.stopTasks {
				if left := harness.MarkedProcesses(t, starts); len(left) > 0 {
					t.Errorf("processes %v go on", left)
				}
			} else if left := harness.MarkedProcesses(t, starts); len(left) != 2 {
				t.Errorf("processes %v go on, want those of 2 tasks", left)
			}

			s = harness.ServeOn(t, s.Dir)
			s.CheckOnlyTasks("cart", starts, 2)
			if now := s.TaskProcesses("cart"); maps.Equal(now, before) == tc.stopTasks {
				t.Errorf("processes %v, before the stop %v", now, before)
			}
		})
	}
}

// writeLog is what writers have sent and what was acknowledged.
type writeLog struct {
	mu           sync.Mutex
	sent, acked  map[string]string // instance id to address
	acknowledged chan struct{}     // one token each, for as many as fit
}

func (l *writeLog) note(m map[string]string, id, ip string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m[id] = ip
}

// write registers instances until ctx ends, and begins again with the next one when the server does not answer.
func (l *writeLog) write(ctx context.Context, api *sd.Client, service string, writer, round int) {
	for n := 0; ctx.Err() == nil; n++ {
		id, ip := fmt.Sprintf("r%d-w%d-%d", round, writer, n), fmt.Sprintf("10.%d.%d.%d", writer, n>>8&255, n&255)
		l.note(l.sent, id, ip)
		if _, err := api.RegisterInstance(ctx, harness.Registration(service, id, ip)); err != nil {
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

// TestKillDuringWrites kills the server while several clients write. After each start all that was acknowledged is
// there, what was not is there whole or not at all, and the running tasks never noticed.
func TestKillDuringWrites(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	starts := filepath.Join(t.TempDir(), "starts")
	shop := s.CreateNamespace("shop")
	s.CreateECSService("cart", s.RegisterDefinition(harness.MarkedWorker(t, starts)), 2, s.CreateCloudMapService(shop, "cart", 1))
	s.WaitStable("cart")
	outside := s.CreateCloudMapService(shop, "outside", 1)
	before := s.TaskProcesses("cart")
	if len(before) != 2 {
		t.Fatalf("running tasks: %v", before)
	}
	answered := s.Lookup("cart.shop")

	book := &writeLog{sent: map[string]string{}, acked: map[string]string{}, acknowledged: make(chan struct{}, 1000)}
	for round, enough := range []int{1, 30, 150} {
		ctx, cancel := context.WithCancel(t.Context())
		var writers sync.WaitGroup
		for w := range 6 {
			writers.Go(func() { book.write(ctx, s.CloudMapWithoutRetries(), *outside.Id, w, round) })
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

		s = harness.ServeOn(t, s.Dir)
		if first := s.Lookup("cart.shop"); !maps.Equal(first, answered) { // asked once: ready means ready
			t.Errorf("the first answer after the start is %v, before the end it was %v", first, answered)
		}
		checkRegistrations(s, *outside.Id, book)
		if now := s.TaskProcesses("cart"); !maps.Equal(now, before) {
			t.Errorf("processes of the tasks: %v, before the end: %v", now, before)
		}
	}
	s.CheckOnlyTasks("cart", starts, 2)
	s.CheckStartedOnce("cart", starts)
}

// checkRegistrations compares what a service has with what was sent to it.
func checkRegistrations(s *harness.Server, service string, book *writeLog) {
	s.T.Helper()
	there := map[string]string{}
	pages := sd.NewListInstancesPaginator(s.CloudMap(), &sd.ListInstancesInput{ServiceId: &service})
	for pages.HasMorePages() {
		for _, i := range harness.Must(pages.NextPage(s.T.Context()))(s.T).Instances {
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
		for _, op := range harness.Must(operations.NextPage(s.T.Context()))(s.T).Operations {
			registered[*op.Id] = true
		}
	}
	svc := harness.Must(s.CloudMap().GetService(s.T.Context(), &sd.GetServiceInput{Id: &service}))(s.T).Service
	if len(registered) != len(there) || int(aws.ToInt32(svc.InstanceCount)) != len(there) {
		s.T.Errorf("%d instances, %d operations that registered them, a count of %d", len(there), len(registered), aws.ToInt32(svc.InstanceCount))
	}
	s.T.Logf("%d writes sent, %d acknowledged, %d there", len(book.sent), len(book.acked), len(there))
}

// TestOperationsSurviveKill kills the server while registrations are under way. Afterwards every acknowledged one
// is there and its operation a success, none is left that has not ended, and the InstancesRevision goes on where
// it was, also of a service that is made anew.
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
				out, err := s.CloudMapWithoutRetries().RegisterInstance(t.Context(), harness.Registration(*cart.Id, id, "10.0.0.1"))
				if err != nil {
					return nil // the server is gone
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
			before = discoverWithRevision(s, "shop", "cart").revision
			s.Cmd.Process.Kill() // the writers go on until they notice
		}
	}
	s.Kill()

	again := harness.ServeOn(t, s.Dir, "--runtime", "none")
	s.Info, s.Keys = again.Info, again.Keys
	api, ctx := s.CloudMapWithoutRetries(), t.Context()
	for _, ack := range all {
		op := harness.Must(api.GetOperation(ctx, &sd.GetOperationInput{OperationId: &ack.operation}))(t).Operation
		if op.Status != sdtypes.OperationStatusSuccess || op.Targets["INSTANCE"] != ack.instance {
			t.Errorf("the operation of %s: %s", ack.instance, harness.AsJSON(op))
		}
	}
	pending := harness.Must(api.ListOperations(ctx, &sd.ListOperationsInput{Filters: []sdtypes.OperationFilter{{
		Name: sdtypes.OperationFilterNameStatus, Condition: sdtypes.FilterConditionIn, Values: []string{"SUBMITTED", "PENDING"}}}}))(t)
	if len(pending.Operations) > 0 {
		t.Errorf("operations that have not ended: %s", harness.AsJSON(pending.Operations))
	}
	registered := harness.ReadPages(t, sd.NewListInstancesPaginator(api, &sd.ListInstancesInput{ServiceId: cart.Id}), func(page *sd.ListInstancesOutput) (ids []string) {
		for _, i := range page.Instances {
			ids = append(ids, *i.Id)
		}
		return ids
	})
	for _, ack := range all {
		if !slices.Contains(registered, ack.instance) {
			t.Errorf("%s was acknowledged and is gone", ack.instance)
		}
	}
	after := discoverWithRevision(s, "shop", "cart").revision
	if after < before {
		t.Errorf("the revision fell from %d to %d", before, after)
	}
	for _, id := range registered {
		harness.Must(api.DeregisterInstance(ctx, &sd.DeregisterInstanceInput{ServiceId: cart.Id, InstanceId: aws.String(id)}))(t)
	}
	emptied := discoverWithRevision(s, "shop", "cart").revision
	harness.Must(api.DeleteService(ctx, &sd.DeleteServiceInput{Id: cart.Id}))(t)
	s.CreateCloudMapService(shop, "cart", 1)
	if anew := discoverWithRevision(s, "shop", "cart").revision; anew <= emptied || emptied <= after {
		t.Errorf("the revision went from %d over %d, when the last instance had gone, to %d of a service made anew", after, emptied, anew)
	}
}

// TestKillDuringDeployment: a server that is killed in the middle of an update answers nobody while it is down, but what it
// has answered before, and what the next one does, is right.
func TestKillDuringDeployment(t *testing.T) {
	p := newProof(t)
	for range 2 {
		p.Update()
		old := p.Server.Load()
		harness.Eventually(t, time.Minute, "the update is under way", func() bool { return len(old.DescribeService("team").Deployments) > 1 })
		old.Kill()
		p.Server.Store(harness.ServeOn(t, old.Dir))
		p.WaitStable("worker")
		p.WaitStable("team")
	}
	p.Stop()
	p.CheckNoFailures("an update during which the server was killed")
	sent, unanswered := p.Counts()
	t.Logf("%d requests, 0 failed, 0 empty; %d lookups found no server", sent, unanswered)
}

// TestCustomHealthSurvivesRestart holds that what a user says of a task's instance stands over a restart and over
// other changes of its task, until its health check says something else.
func TestCustomHealthSurvivesRestart(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	cart := s.CreateCloudMapService(s.CreateNamespace("shop"), "cart", 1)
	s.CreateECSService("cart", s.RegisterDefinition(harness.Worker(t, "flask-worker", "")), 2, cart)
	s.WaitStable("cart")
	s.CheckAnswers("cart", 2)
	victim := harness.TaskID(s.Tasks("cart", ecstypes.DesiredStatusRunning)[0])
	harness.Must(s.CloudMap().UpdateInstanceCustomHealthStatus(t.Context(),
		&servicediscovery.UpdateInstanceCustomHealthStatusInput{ServiceId: cart.Id, InstanceId: &victim, Status: "UNHEALTHY"}))(t)
	if got := s.Lookup("cart.shop"); len(got) != 1 {
		t.Fatalf("an instance that a user calls unhealthy is answered: %v", got)
	}
	s.Kill()
	again := harness.ServeOn(t, s.Dir)
	s.Info, s.Keys = again.Info, again.Keys
	s.WaitStable("cart")
	s.RunCommand("status") // a round through the loops' state
	if got := s.Lookup("cart.shop"); len(got) != 1 {
		t.Errorf("a restart forgot that an instance is unhealthy: %v", got)
	}
	harness.Must(s.CloudMap().UpdateInstanceCustomHealthStatus(t.Context(),
		&servicediscovery.UpdateInstanceCustomHealthStatusInput{ServiceId: cart.Id, InstanceId: aws.String(victim), Status: "HEALTHY"}))(t)
	s.CheckAnswers("cart", 2)
}

// TestNodeNameIsKept holds that a data folder's tasks are not given up because the machine, or the flag, has
// another name today.
func TestNodeNameIsKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	harness.ServeOn(t, dir, "--runtime", "none").Stop()
	if _, err := harness.Start(t, dir, "--runtime", "none", "--node", "other"); err == nil || !strings.Contains(err.Error(), "belongs to node test") {
		t.Errorf("another node's name on this folder: %v, want a refusal that names the folder's node", err)
	}
	harness.ServeOn(t, dir, "--runtime", "none", "--node", "") // as without the flag: the folder knows
}
