package test

import (
	"flag"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
)

// deployments is how many updates TestNoClientNotices makes; `make soak` asks for 200.
var deployments = flag.Int("deployments", 5, "how many deployments the proof of exact drain makes")

// proof is two services under load: worker with one task, team with four.
type proof struct {
	*watchers
	s    *current
	test *testing.T
}

const proofTTL = 1 // seconds

func newProof(t *testing.T) *proof {
	p := &proof{s: &current{}, test: t}
	s := serve(t)
	p.s.Store(s)
	corp := s.namespace("corp")
	for name, count := range map[string]int32{"worker": 1, "team": 4} {
		s.run(name, s.register(quick(t, name)), count, s.discovery(corp, name, proofTTL, sdtypes.RecordTypeA, sdtypes.RecordTypeSrv))
	}
	command := []string{self(t), "sample", "flask-backend"}
	if why := noResolver(t); why == nil {
		command = slices.Concat([]string{"env", "-u", "ROLLCALL_DNS"}, command) // leaves it the system's resolver
	} else if os.Getenv("CI") == "true" {
		t.Fatalf("tasks have no resolver of their own: %v", why)
	}
	s.run("backend", s.register(program(t, "backend", command...)), 1, nil)
	for _, name := range []string{"worker", "team", "backend"} {
		s.stable(name)
	}
	at := netip.AddrPortFrom(netip.MustParseAddr(address(s.tasks("backend", ecstypes.DesiredStatusRunning)[0])), 5000)
	eventually(t, 30*time.Second, "the backend answers", func() bool { return visit(t.Context(), "http://"+at.String()+"/") == nil })
	p.watchers = startWatchers(t, bySystem(at),
		byA(p.s, "worker.corp"), bySRV(p.s, "worker.corp"), byDiscovery(p.s, "corp", "worker"),
		byA(p.s, "team.corp"), bySRV(p.s, "team.corp"), byDiscovery(p.s, "corp", "team"))
	return p
}

// quick is the sample worker, healthy as soon as it answers.
func quick(t testing.TB, family string) *ecs.RegisterTaskDefinitionInput {
	in := worker(t, family, "")
	in.ContainerDefinitions[0].HealthCheck.Interval = aws.Int32(60) // once healthy, it need not be asked often
	return in
}

// deploy replaces the tasks of both services and waits for the end of that.
func (p *proof) deploy() {
	p.test.Helper()
	p.update()
	for _, name := range []string{"worker", "team"} {
		p.stable(name)
	}
}

func (p *proof) update() {
	p.test.Helper()
	for _, name := range []string{"worker", "team"} {
		must[*ecs.UpdateServiceOutput](p.test)(p.s.Load().ecs().UpdateService(p.test.Context(),
			&ecs.UpdateServiceInput{Service: &name, ForceNewDeployment: true}))
	}
}

// stable is patient: tasks that drain, and machines that are slow, take their time.
func (p *proof) stable(name string) {
	p.test.Helper()
	eventually(p.test, 2*time.Minute, "service "+name+" is stable", func() bool {
		svc := p.s.Load().describe(name)
		return len(svc.Deployments) == 1 && svc.RunningCount == svc.DesiredCount && svc.PendingCount == 0 &&
			svc.Deployments[0].RolloutState == ecstypes.DeploymentRolloutStateCompleted
	})
}

// gone waits until a task has stopped.
func (p *proof) gone(task ecstypes.Task) {
	p.test.Helper()
	eventually(p.test, 2*time.Minute, "task "+taskID(task)+" has stopped", func() bool {
		out := must[*ecs.DescribeTasksOutput](p.test)(p.s.Load().ecs().DescribeTasks(p.test.Context(), &ecs.DescribeTasksInput{Tasks: []string{*task.TaskArn}}))
		return aws.ToString(out.Tasks[0].LastStatus) == "STOPPED"
	})
}

// TestNoClientNotices is the proof of exact drain and of no gap: through updates, scalings and stops, with one task
// and with four, no client that honours TTLs has a request fail, or gets an empty answer.
func TestNoClientNotices(t *testing.T) {
	p := newProof(t)
	for n := range *deployments {
		p.deploy()
		p.none("an update")
		if n%3 == 0 {
			p.scaleAndStop()
		}
		if sent, _ := p.counts(); n%20 == 19 {
			t.Logf("%d deployments, %d requests so far", n+1, sent)
		}
	}
	p.end()
	p.none("the end")
	sent, unanswered := p.counts()
	t.Logf("%d deployments: %d requests, 0 failed, 0 empty", *deployments, sent)
	if sent < 100 || unanswered > 0 {
		t.Errorf("%d requests were sent, %d lookups unanswered", sent, unanswered)
	}
}

// scaleAndStop scales both services up and down and stops tasks of both by hand.
func (p *proof) scaleAndStop() {
	p.test.Helper()
	s := p.s.Load()
	for _, count := range []struct{ worker, team int32 }{{2, 6}, {1, 3}, {1, 4}} {
		s.scale("worker", count.worker)
		s.scale("team", count.team)
		p.stable("worker")
		p.stable("team")
	}
	p.none("scaling")
	for _, name := range []string{"worker", "team"} {
		task := s.tasks(name, ecstypes.DesiredStatusRunning)[0]
		must[*ecs.StopTaskOutput](p.test)(s.ecs().StopTask(p.test.Context(), &ecs.StopTaskInput{Task: task.TaskArn}))
		p.gone(task)
		p.stable(name)
	}
	p.none("StopTask")
}

// TestKilledTask: when a task's process is killed, requests fail until that is noticed and its answers have expired,
// and not for longer.
func TestKilledTask(t *testing.T) {
	p := newProof(t)
	s := p.s.Load()
	victim := s.tasks("team", ecstypes.DesiredStatusRunning)[0]
	pid := must[int](t)(strconv.Atoi(aws.ToString(victim.Containers[0].RuntimeId)))
	killed := time.Now()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the task that was killed has left the answers", func() bool {
		return !s.lookup("team.corp")[netip.MustParseAddr(address(victim))]
	})
	detected := time.Now()
	p.stable("team")
	p.gone(victim)
	p.end()
	failed, late := 0, 0
	for _, trouble := range p.troubles() {
		failed++
		if trouble.empty || trouble.at.Before(killed) || trouble.at.After(detected.Add((proofTTL+1)*time.Second)) {
			late++
			t.Errorf("killed at %s, noticed by %s: %v", killed.Format("15:04:05.000"), detected.Format("15:04:05.000"), trouble)
		}
	}
	sent, _ := p.counts()
	t.Logf("noticed within %v; of %d requests %d failed, %d of them later than a TTL after that", detected.Sub(killed), sent, failed, late)
}

// TestKilledServer: a server that is killed in the middle of an update answers nobody while it is down, but what it
// has answered before, and what the next one does, is right.
func TestKilledServer(t *testing.T) {
	p := newProof(t)
	for range 2 {
		p.update()
		old := p.s.Load()
		eventually(t, time.Minute, "the update is under way", func() bool { return len(old.describe("team").Deployments) > 1 })
		old.kill()
		p.s.Store(serveOn(t, old.dir))
		p.stable("worker")
		p.stable("team")
	}
	p.end()
	p.none("an update during which the server was killed")
	sent, unanswered := p.counts()
	t.Logf("%d requests, 0 failed, 0 empty; %d lookups found no server", sent, unanswered)
}
