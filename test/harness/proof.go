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

// Proof is two services under load: worker with one task, team with four.
type Proof struct {
	*Watchers
	S    *Current
	test *testing.T
}

// ProofTTL is that of the services' records, in seconds.
const ProofTTL = 1

// NewProof runs the services on a server, and the sample backend as one of their clients.
func NewProof(t *testing.T, s *Server, worker func(family string) *ecs.RegisterTaskDefinitionInput, backend *ecs.RegisterTaskDefinitionInput) *Proof {
	p := &Proof{S: &Current{}, test: t}
	p.S.Store(s)
	corp := s.Namespace("corp")
	for name, count := range map[string]int32{"worker": 1, "team": 4} {
		s.Run(name, s.Register(worker(name)), count, s.Discovery(corp, name, ProofTTL, sdtypes.RecordTypeA, sdtypes.RecordTypeSrv))
	}
	s.Run("backend", s.Register(backend), 1, nil)
	for _, name := range []string{"worker", "team", "backend"} {
		p.Stable(name)
	}
	at := netip.AddrPortFrom(netip.MustParseAddr(Address(s.Tasks("backend", ecstypes.DesiredStatusRunning)[0])), 5000)
	Eventually(t, time.Minute, "the backend answers", func() bool { return visit(t.Context(), "http://"+at.String()+"/") == nil })
	p.Watchers = StartWatchers(t, BySystem(at),
		ByA(p.S, "worker.corp"), BySRV(p.S, "worker.corp"), ByDiscovery(p.S, "corp", "worker"),
		ByA(p.S, "team.corp"), BySRV(p.S, "team.corp"), ByDiscovery(p.S, "corp", "team"))
	return p
}

// deploy replaces the tasks of both services and waits for the end of that.
func (p *Proof) deploy() {
	p.test.Helper()
	p.Update()
	for _, name := range []string{"worker", "team"} {
		p.Stable(name)
	}
}

// Update has the tasks of both services replaced.
func (p *Proof) Update() {
	p.test.Helper()
	for _, name := range []string{"worker", "team"} {
		Must(p.S.Load().ECS().UpdateService(p.test.Context(),
			&ecs.UpdateServiceInput{Service: &name, ForceNewDeployment: true}))(p.test)
	}
}

// Stable is patient: tasks that drain, and machines that are slow, take their time.
func (p *Proof) Stable(name string) {
	p.test.Helper()
	Eventually(p.test, 2*time.Minute, "service "+name+" is stable", func() bool {
		svc := p.S.Load().Describe(name)
		return len(svc.Deployments) == 1 && svc.RunningCount == svc.DesiredCount && svc.PendingCount == 0 &&
			svc.Deployments[0].RolloutState == ecstypes.DeploymentRolloutStateCompleted
	})
}

// Gone waits until a task has stopped.
func (p *Proof) Gone(task ecstypes.Task) {
	p.test.Helper()
	Eventually(p.test, 2*time.Minute, "task "+TaskID(task)+" has stopped", func() bool {
		out := Must(p.S.Load().ECS().DescribeTasks(p.test.Context(), &ecs.DescribeTasksInput{Tasks: []string{*task.TaskArn}}))(p.test)
		return aws.ToString(out.Tasks[0].LastStatus) == "STOPPED"
	})
}

// scaleAndStop scales both services up and down and stops tasks of both by hand.
func (p *Proof) scaleAndStop() {
	p.test.Helper()
	s := p.S.Load()
	for _, count := range []struct{ worker, team int32 }{{2, 6}, {1, 3}, {1, 4}} {
		s.Scale("worker", count.worker)
		s.Scale("team", count.team)
		p.Stable("worker")
		p.Stable("team")
	}
	p.None("scaling")
	for _, name := range []string{"worker", "team"} {
		task := s.Tasks(name, ecstypes.DesiredStatusRunning)[0]
		Must(s.ECS().StopTask(p.test.Context(), &ecs.StopTaskInput{Task: task.TaskArn}))(p.test)
		p.Gone(task)
		p.Stable(name)
	}
	p.None("StopTask")
}

// NoClientNotices is the proof of exact drain and of no gap: through updates, scalings and stops, with one task
// and with four, no client that honours TTLs has a request fail, or gets an empty answer.
func (p *Proof) NoClientNotices(deployments int) {
	t := p.test
	t.Helper()
	for n := range deployments {
		p.deploy()
		p.None("an update")
		if n%3 == 0 {
			p.scaleAndStop()
		}
		if sent, _ := p.Counts(); n%20 == 19 {
			t.Logf("%d deployments, %d requests so far", n+1, sent)
		}
	}
	p.End()
	p.None("the end")
	sent, unanswered := p.Counts()
	t.Logf("%d deployments: %d requests, 0 failed, 0 empty", deployments, sent)
	if sent < 100 || unanswered > 0 {
		t.Errorf("%d requests were sent, %d lookups unanswered", sent, unanswered)
	}
}
