package docker

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/test/harness"
)

// TestTroubleByHand: a container that somebody removes, pauses, kills or takes off its network, leaves the
// answers and is replaced.
func TestTroubleByHand(t *testing.T) {
	t.Parallel()
	image := clients(t)
	s := serve(t)
	corp := s.CreateNamespace("corp")
	s.CreateECSService("worker", s.RegisterDefinition(unchecked("worker")), 3, s.CreateCloudMapService(corp, "worker", 1))
	s.WaitStable("worker")
	network := shared.MustCommand(t, "network", "ls", "-q", "--filter", "label="+labelData+"="+s.Dir)
	for _, tc := range []struct {
		name   string
		do     func(id string)
		reason string // of the container, or the task
	}{
		{"removed", func(id string) { shared.MustCommand(t, "rm", "-f", id) }, ""},
		{"paused", func(id string) { shared.MustCommand(t, "pause", id) }, "paused"},
		{"killed", func(id string) { shared.MustCommand(t, "kill", id) }, ""},
		{"taken off its network", func(id string) { shared.MustCommand(t, "network", "disconnect", network, id) }, "disconnected"},
	} {
		s.replaced("worker", "worker.corp", 3, ecstypes.Task{TaskArn: aws.String("")})
		victim := s.running("worker")[0]
		tc.do(id(victim, "main"))
		t.Log(tc.name)
		s.without("worker.corp", address(victim), 20*time.Second)
		s.replaced("worker", "worker.corp", 3, victim)
		ended := s.stopped(victim)
		why := aws.ToString(ended.StoppedReason) + " " + aws.ToString(ended.Containers[0].Reason)
		if ended.StopCode != ecstypes.TaskStopCodeEssentialContainerExited || !strings.Contains(why, tc.reason) {
			t.Errorf("a container %s: the task ended as %s: %s", tc.name, ended.StopCode, why)
		}
	}

	// The whole network: its tasks are cut off, and the next have it again.
	old := s.running("worker")
	for _, victim := range old {
		shared.MustCommand(t, "network", "disconnect", "-f", network, id(victim, "main"))
	}
	shared.TryCommand("network", "rm", network) // a new task may have been faster, which is as well
	for _, victim := range old {
		s.without("worker.corp", address(victim), 20*time.Second)
	}
	for _, victim := range old {
		s.replaced("worker", "worker.corp", 3, victim)
	}
	asker := s.start(task("asker", container("main", image, "sleep", "100000")))
	if found, took := s.lookup(id(asker, "main"), "musl", "worker.corp"); len(found) != 3 || took > quickly {
		t.Errorf("on the network that was made anew worker.corp is %q, within %v", found, took)
	}
}

// TestAdoption: a server that is killed and started again finds its containers, keeps them and their addresses, and
// notices which of them have ended meanwhile.
func TestAdoption(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.CreateECSService("worker", s.RegisterDefinition(unchecked("worker")), 3, s.CreateCloudMapService(s.CreateNamespace("corp"), "worker", 1))
	s.WaitStable("worker")
	s.replaced("worker", "worker.corp", 3, ecstypes.Task{TaskArn: aws.String("")})
	before := s.running("worker")

	s = s.again()
	if got := s.Lookup("worker.corp"); len(got) != 3 {
		t.Errorf("a server that has just started answers %v", got)
	}
	s.WaitStable("worker")
	s.same(before, s.running("worker"))

	s.Kill()
	dead := before[0]
	shared.MustCommand(t, "kill", id(dead, "main"))
	s = shared.serveOn(t, s.Dir)
	s.without("worker.corp", address(dead), 20*time.Second)
	s.replaced("worker", "worker.corp", 3, dead)
	var kept []ecstypes.Task
	for _, now := range s.running("worker") {
		if slices.ContainsFunc(before, func(b ecstypes.Task) bool { return *b.TaskArn == *now.TaskArn }) {
			kept = append(kept, now)
		}
	}
	s.same(before[1:], kept)
	if ended := s.stopped(dead); aws.ToInt32(ended.Containers[0].ExitCode) != 137 {
		t.Errorf("what was killed meanwhile: %s", harness.AsJSON(ended.Containers))
	}
}

// same holds that tasks are the same, in the same containers and at the same addresses.
func (s *server) same(before, after []ecstypes.Task) {
	s.T.Helper()
	type identity struct {
		arn, container string
		at             netip.Addr
	}
	identities := func(tasks []ecstypes.Task) map[identity]bool {
		set := map[identity]bool{}
		for _, t := range tasks {
			set[identity{*t.TaskArn, id(t, "main"), address(t)}] = true
		}
		return set
	}
	was, is := identities(before), identities(after)
	for one := range was {
		if !is[one] {
			s.T.Errorf("%+v is not among %+v", one, is)
		}
		if state := s.engine.MustCommand(s.T, "inspect", "-f", "{{.State.Status}}", one.container); state != "running" {
			s.T.Errorf("container %s is %s", one.container, state)
		}
	}
}
