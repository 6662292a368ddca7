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

// TestContainersChangedByHand removes, pauses and kills containers, and disconnects them from their network, with the
// docker command. Each time the task must leave the answers and be replaced.
func TestContainersChangedByHand(t *testing.T) {
	t.Parallel()
	image := clientsImage(t)
	s := serve(t)
	corp := s.CreateNamespace("corp")
	s.CreateECSService("worker", s.RegisterDefinition(unchecked("worker")), 3,
		s.CreateCloudMapService(corp, "worker", 1))
	s.WaitStable("worker")
	network := shared.MustCommand(t, "network", "ls", "-q", "--filter", "label="+labelData+"="+s.Dir)
	for _, tc := range []struct {
		name   string
		do     func(id string)
		reason string // in the reason of the container or the task
	}{
		{"removed", func(id string) { shared.MustCommand(t, "rm", "-f", id) }, ""},
		{"paused", func(id string) { shared.MustCommand(t, "pause", id) }, "paused"},
		{"killed", func(id string) { shared.MustCommand(t, "kill", id) }, ""},
		{"disconnected", func(id string) { shared.MustCommand(t, "network", "disconnect", network, id) },
			"disconnected"},
	} {
		s.waitReplaced("worker", "worker.corp", 3, ecstypes.Task{TaskArn: aws.String("")})
		victim := s.running("worker")[0]
		tc.do(id(victim, "main"))
		t.Log(tc.name)
		s.waitWithout("worker.corp", address(victim), 20*time.Second)
		s.waitReplaced("worker", "worker.corp", 3, victim)
		ended := s.waitStopped(victim)
		why := aws.ToString(ended.StoppedReason) + " " + aws.ToString(ended.Containers[0].Reason)
		if ended.StopCode != ecstypes.TaskStopCodeEssentialContainerExited || !strings.Contains(why, tc.reason) {
			t.Errorf("container %s: the task stopped as %s: %s", tc.name, ended.StopCode, why)
		}
	}

	// Without the whole network, the tasks are replaced and the new ones get a new network.
	old := s.running("worker")
	for _, victim := range old {
		shared.MustCommand(t, "network", "disconnect", "-f", network, id(victim, "main"))
	}
	shared.TryCommand("network", "rm", network) // fails if a new task has already joined the network
	for _, victim := range old {
		s.waitWithout("worker.corp", address(victim), 20*time.Second)
	}
	for _, victim := range old {
		s.waitReplaced("worker", "worker.corp", 3, victim)
	}
	asker := s.start(task("asker", container("main", image, "sleep", "100000")))
	if found, took := s.lookup(id(asker, "main"), "musl", "worker.corp"); len(found) != 3 || took > quickly {
		t.Errorf("on the new network worker.corp resolves to %q within %v", found, took)
	}
}

// TestAdoption kills the server and starts another. It must find the containers, keep them and their addresses, and
// notice which of them have ended.
func TestAdoption(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.CreateECSService("worker", s.RegisterDefinition(unchecked("worker")), 3,
		s.CreateCloudMapService(s.CreateNamespace("corp"), "worker", 1))
	s.WaitStable("worker")
	s.waitReplaced("worker", "worker.corp", 3, ecstypes.Task{TaskArn: aws.String("")})
	before := s.running("worker")

	s = s.restartAfterKill()
	if got := s.Lookup("worker.corp"); len(got) != 3 {
		t.Errorf("a server that has just started answers %v, want 3 addresses", got)
	}
	s.WaitStable("worker")
	s.checkSame(before, s.running("worker"))

	s.Kill()
	dead := before[0]
	shared.MustCommand(t, "kill", id(dead, "main"))
	s = shared.serveOn(t, s.Dir)
	s.waitWithout("worker.corp", address(dead), 20*time.Second)
	s.waitReplaced("worker", "worker.corp", 3, dead)
	var kept []ecstypes.Task
	for _, now := range s.running("worker") {
		if slices.ContainsFunc(before, func(b ecstypes.Task) bool { return *b.TaskArn == *now.TaskArn }) {
			kept = append(kept, now)
		}
	}
	s.checkSame(before[1:], kept)
	if ended := s.waitStopped(dead); aws.ToInt32(ended.Containers[0].ExitCode) != 137 {
		t.Errorf("the container that was killed while the server was down is %s", harness.AsJSON(ended.Containers))
	}
}

// checkSame checks that tasks are the same as before, in the same running containers and with the same addresses.
func (s *server) checkSame(before, after []ecstypes.Task) {
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
	old, current := identities(before), identities(after)
	for one := range old {
		if !current[one] {
			s.T.Errorf("%+v is not among %+v", one, current)
		}
		if state := s.engine.MustCommand(s.T, "inspect", "-f", "{{.State.Status}}", one.container); state != "running" {
			s.T.Errorf("container %s is %s", one.container, state)
		}
	}
}
