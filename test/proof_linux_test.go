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

	"github.com/bakingclouds/rollcall/test/harness"
)

// deployments is how many updates TestNoClientNotices makes; `make soak` asks for 200.
var deployments = flag.Int("deployments", 5, "how many deployments the proof of exact drain makes")

// newProof is the proof's services as processes.
func newProof(t *testing.T) *harness.Proof {
	command := []string{self(t), "sample", "flask-backend"}
	if why := noResolver(t); why == nil {
		command = slices.Concat([]string{"env", "-u", "ROLLCALL_DNS"}, command) // leaves it the system's resolver
	} else if os.Getenv("CI") == "true" {
		t.Fatalf("tasks have no resolver of their own: %v", why)
	}
	quick := func(family string) *ecs.RegisterTaskDefinitionInput {
		in := worker(t, family, "")
		in.ContainerDefinitions[0].HealthCheck.Interval = aws.Int32(60) // once healthy, it need not be asked often
		return in
	}
	return harness.NewProof(t, serve(t).Server, quick, program(t, "backend", command...))
}

// TestNoClientNotices is the proof of exact drain and of no gap for processes.
func TestNoClientNotices(t *testing.T) {
	newProof(t).NoClientNotices(*deployments)
}

// TestKilledTask: when a task's process is killed, requests fail until that is noticed and its answers have expired,
// and not for longer.
func TestKilledTask(t *testing.T) {
	p := newProof(t)
	s := &server{p.S.Load()}
	victim := s.Tasks("team", ecstypes.DesiredStatusRunning)[0]
	pid := must[int](t)(strconv.Atoi(aws.ToString(victim.Containers[0].RuntimeId)))
	killed := time.Now()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the task that was killed has left the answers", func() bool {
		return !s.Lookup("team.corp")[netip.MustParseAddr(address(victim))]
	})
	detected := time.Now()
	p.Stable("team")
	p.Gone(victim)
	p.End()
	failed, late := 0, 0
	for _, trouble := range p.Troubles() {
		failed++
		if trouble.Empty || trouble.At.Before(killed) || trouble.At.After(detected.Add((harness.ProofTTL+1)*time.Second)) {
			late++
			t.Errorf("killed at %s, noticed by %s: %v", killed.Format("15:04:05.000"), detected.Format("15:04:05.000"), trouble)
		}
	}
	sent, _ := p.Counts()
	t.Logf("noticed within %v; of %d requests %d failed, %d of them later than a TTL after that", detected.Sub(killed), sent, failed, late)
}

// TestKilledServer: a server that is killed in the middle of an update answers nobody while it is down, but what it
// has answered before, and what the next one does, is right.
func TestKilledServer(t *testing.T) {
	p := newProof(t)
	for range 2 {
		p.Update()
		old := p.S.Load()
		eventually(t, time.Minute, "the update is under way", func() bool { return len(old.Describe("team").Deployments) > 1 })
		old.Kill()
		p.S.Store(serveOn(t, old.Dir).Server)
		p.Stable("worker")
		p.Stable("team")
	}
	p.End()
	p.None("an update during which the server was killed")
	sent, unanswered := p.Counts()
	t.Logf("%d requests, 0 failed, 0 empty; %d lookups found no server", sent, unanswered)
}
