package harness

import (
	"net/netip"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
)

// LoadTest is two services under load: worker with one task, and team with four. Clients send requests to both until
// Stop is called.
type LoadTest struct {
	*ClientGroup
	Server *CurrentServer
	t      *testing.T
}

// LoadTestTTL is the TTL of the services' records, in seconds.
const LoadTestTTL = 1

// NewLoadTest creates the services on a server, and a sample backend that is one of their clients, and starts the
// clients. worker returns a definition of the sample worker.
func NewLoadTest(t *testing.T, s *Server, worker func(family string) *ecs.RegisterTaskDefinitionInput,
	backend *ecs.RegisterTaskDefinitionInput,
) *LoadTest {
	t.Helper()
	p := &LoadTest{Server: &CurrentServer{}, t: t}
	p.Server.Store(s)
	corp := s.CreateNamespace("corp")
	for name, count := range map[string]int32{"worker": 1, "team": 4} {
		s.CreateECSService(name, s.RegisterDefinition(worker(name)), count,
			s.CreateCloudMapService(corp, name, LoadTestTTL, sdtypes.RecordTypeA, sdtypes.RecordTypeSrv))
	}
	s.CreateECSService("backend", s.RegisterDefinition(backend), 1, nil)
	for _, name := range []string{"worker", "team", "backend"} {
		p.WaitStable(name)
	}
	at := netip.AddrPortFrom(netip.MustParseAddr(Address(s.Tasks("backend", ecstypes.DesiredStatusRunning)[0])), 5000)
	Eventually(t, time.Minute, "the backend answers",
		func() bool { return httpGet(t.Context(), "http://"+at.String()+"/") == nil })
	p.ClientGroup = StartClients(t, NewBackendClient(at),
		NewAClient(p.Server, "worker.corp"), NewSRVClient(p.Server, "worker.corp"),
		NewDiscoveryClient(p.Server, "corp", "worker"),
		NewAClient(p.Server, "team.corp"), NewSRVClient(p.Server, "team.corp"),
		NewDiscoveryClient(p.Server, "corp", "team"))
	return p
}

// deploy replaces the tasks of both services and waits until the deployments are complete.
func (p *LoadTest) deploy() {
	p.t.Helper()
	p.Update()
	for _, name := range []string{"worker", "team"} {
		p.WaitStable(name)
	}
}

// Update starts a deployment of both services that replaces their tasks.
func (p *LoadTest) Update() {
	p.t.Helper()
	for _, name := range []string{"worker", "team"} {
		Must(p.Server.Load().ECS().UpdateService(p.t.Context(),
			&ecs.UpdateServiceInput{Service: &name, ForceNewDeployment: true}))(p.t)
	}
}

// WaitStable waits until a service's deployment is complete and its desired count is running. It allows time for
// drains.
func (p *LoadTest) WaitStable(name string) {
	p.t.Helper()
	Eventually(p.t, 2*time.Minute, "service "+name+" is stable", func() bool {
		svc := p.Server.Load().DescribeService(name)
		return len(svc.Deployments) == 1 && svc.RunningCount == svc.DesiredCount && svc.PendingCount == 0 &&
			svc.Deployments[0].RolloutState == ecstypes.DeploymentRolloutStateCompleted
	})
}

// WaitStopped waits until a task has stopped.
func (p *LoadTest) WaitStopped(task ecstypes.Task) {
	p.t.Helper()
	Eventually(p.t, 2*time.Minute, "task "+TaskID(task)+" has stopped", func() bool {
		out := Must(p.Server.Load().ECS().DescribeTasks(p.t.Context(), &ecs.DescribeTasksInput{
			Tasks: []string{*task.TaskArn}}))(p.t)
		return aws.ToString(out.Tasks[0].LastStatus) == "STOPPED"
	})
}

// scaleAndStop scales both services up and down, and stops a task of each with StopTask.
func (p *LoadTest) scaleAndStop() {
	p.t.Helper()
	s := p.Server.Load()
	for _, count := range []struct{ worker, team int32 }{{2, 6}, {1, 3}, {1, 4}} {
		s.SetDesiredCount("worker", count.worker)
		s.SetDesiredCount("team", count.team)
		p.WaitStable("worker")
		p.WaitStable("team")
	}
	p.CheckNoFailures("scaling")
	for _, name := range []string{"worker", "team"} {
		task := s.Tasks(name, ecstypes.DesiredStatusRunning)[0]
		Must(s.ECS().StopTask(p.t.Context(), &ecs.StopTaskInput{Task: task.TaskArn}))(p.t)
		p.WaitStopped(task)
		p.WaitStable(name)
	}
	p.CheckNoFailures("StopTask")
}

// Run checks exact drain and no gap: it deploys, scales and stops tasks, and requires that no client which honors TTLs
// has a request fail or gets an empty answer.
func (p *LoadTest) Run(deployments int) {
	t := p.t
	t.Helper()
	for n := range deployments {
		p.deploy()
		p.CheckNoFailures("a deployment")
		if n%3 == 0 {
			p.scaleAndStop()
		}
		if sent, _ := p.Counts(); n%20 == 19 {
			t.Logf("%d deployments, %d requests so far", n+1, sent)
		}
	}
	p.Stop()
	p.CheckNoFailures("the end")
	sent, unanswered := p.Counts()
	t.Logf("%d deployments: %d requests, 0 failed, 0 empty", deployments, sent)
	if sent < 100 || unanswered > 0 {
		t.Errorf("%d requests, want at least 100; %d lookups without an answer, want 0", sent, unanswered)
	}
}
