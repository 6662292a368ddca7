package test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// TestStory is the main job: a service runs as tasks and is found by name, as it starts, scales, is updated,
// loses a task and is deleted.
func TestStory(t *testing.T) {
	t.Parallel()
	s := serve(t)
	ns := s.Namespace("shop")
	cart := s.Discovery(ns, "cart", 1)
	s.Run("cart", s.Register(worker(t, "flask-worker", "")), 2, cart)
	s.Stable("cart")
	s.answersAre("cart", 2)

	scale := func(n int32) {
		t.Helper()
		must[*ecs.UpdateServiceOutput](t)(s.ECS().UpdateService(t.Context(), &ecs.UpdateServiceInput{Service: aws.String("cart"), DesiredCount: &n}))
		s.Stable("cart")
		s.answersAre("cart", int(n))
	}
	scale(5)
	scale(1)

	before := s.Tasks("cart", ecstypes.DesiredStatusRunning)
	must[*ecs.UpdateServiceOutput](t)(s.ECS().UpdateService(t.Context(), &ecs.UpdateServiceInput{Service: aws.String("cart"), ForceNewDeployment: true}))
	s.neverEmpty("cart.shop", func() { s.Stable("cart") })
	s.answersAre("cart", 1)
	if after := s.Tasks("cart", ecstypes.DesiredStatusRunning); taskID(after[0]) == taskID(before[0]) {
		t.Error("a forced deployment kept the old task")
	}

	must[*ecs.DeleteServiceOutput](t)(s.ECS().DeleteService(t.Context(), &ecs.DeleteServiceInput{Service: aws.String("cart"), Force: aws.Bool(true)}))
	eventually(t, 20*time.Second, "the deleted service is inactive", func() bool { return aws.ToString(s.Describe("cart").Status) == "INACTIVE" })
	if got := s.Lookup("cart.shop"); len(got) != 0 {
		t.Errorf("a deleted service answers %v", got)
	}
}

// answersAre holds that DNS, DiscoverInstances and ECS name the same n tasks.
func (s *server) answersAre(service string, n int) {
	s.T.Helper()
	var dns, disc, ecs []string
	eventually(s.T, 20*time.Second, fmt.Sprintf("%d tasks of %s in every answer", n, service), func() bool {
		dns, disc, ecs = nil, nil, nil
		for ip := range s.Lookup(service + ".shop") {
			dns = append(dns, ip.String())
		}
		for _, ip := range s.Discover("shop", service, sdtypes.HealthStatusFilterHealthy) {
			disc = append(disc, ip)
		}
		for _, t := range s.Tasks(service, ecstypes.DesiredStatusRunning) {
			ecs = append(ecs, address(t))
		}
		return len(dns) == n && sameSet(dns, disc) && sameSet(dns, ecs)
	})
}

func sameSet(a, b []string) bool {
	set := map[string]bool{}
	for _, x := range a {
		set[x] = true
	}
	for _, x := range b {
		if !set[x] {
			return false
		}
	}
	return len(a) == len(b)
}

// neverEmpty holds that a name has an address at every moment while something goes on.
func (s *server) neverEmpty(name string, while func()) {
	s.T.Helper()
	stop, done := make(chan struct{}), make(chan int)
	go func() {
		empty := 0
		for {
			select {
			case <-stop:
				done <- empty
				return
			default:
				if len(s.Lookup(name)) == 0 {
					empty++
				}
			}
		}
	}()
	while()
	close(stop)
	if empty := <-done; empty > 0 {
		s.T.Errorf("%s had no address %d times", name, empty)
	}
}

// TestInstanceOfTask holds what ECS tells Cloud Map of a task.
func TestInstanceOfTask(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.Run("cart", s.Register(worker(t, "flask-worker", "")), 1, s.Discovery(s.Namespace("shop"), "cart", 1, sdtypes.RecordTypeA, sdtypes.RecordTypeSrv))
	s.Stable("cart")
	task := s.Tasks("cart", ecstypes.DesiredStatusRunning)[0]
	out := must[map[string]string](t)(s.Attributes("shop", "cart", taskID(task)))
	for key, want := range map[string]string{
		"AWS_INSTANCE_IPV4": address(task), "AWS_INSTANCE_PORT": "5000", "AVAILABILITY_ZONE": "us-east-1a", "REGION": "us-east-1",
		"ECS_CLUSTER_NAME": "default", "ECS_SERVICE_NAME": "cart", "ECS_TASK_DEFINITION_FAMILY": "flask-worker",
	} {
		if out[key] != want {
			t.Errorf("attribute %s is %q, want %q", key, out[key], want)
		}
	}
	_, srvs, err := s.Resolver().LookupSRV(short(t), "", "", "cart.shop.")
	if err != nil || len(srvs) != 1 || srvs[0].Port != 5000 || srvs[0].Target != taskID(task)+".cart.shop." {
		t.Errorf("SRV: %s, %v", asJSON(srvs), err)
	}
	if ips := s.Lookup(strings.TrimSuffix(srvs[0].Target, ".")); len(ips) != 1 {
		t.Errorf("the SRV record's target has the addresses %v", ips)
	}
}

// TestHealthDecides: a task is answered from its first passed health check, is out of the answers when it
// fails them, and is replaced.
func TestHealthDecides(t *testing.T) {
	t.Parallel()
	s := serve(t)
	flag := filepath.Join(t.TempDir(), "healthy")
	s.Run("cart", s.Register(worker(t, "flask-worker", "test -e "+flag)), 1, s.Discovery(s.Namespace("shop"), "cart", 1))
	eventually(t, 20*time.Second, "the task is registered", func() bool {
		return len(s.Discover("shop", "cart", sdtypes.HealthStatusFilterAll)) == 1
	})
	if got := s.Lookup("cart.shop"); len(got) != 0 {
		t.Errorf("a task that was never healthy is answered: %v", got)
	}
	if err := os.WriteFile(flag, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s.Stable("cart")
	first := s.Tasks("cart", ecstypes.DesiredStatusRunning)[0]
	if first.HealthStatus != ecstypes.HealthStatusHealthy {
		t.Errorf("health is %s", first.HealthStatus)
	}
	s.answersAre("cart", 1)
	if err := os.Remove(flag); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "the unhealthy task is being replaced", func() bool {
		for _, task := range s.Tasks("cart", ecstypes.DesiredStatusRunning) {
			if taskID(task) != taskID(first) {
				return true
			}
		}
		return false
	})
	if err := os.WriteFile(flag, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s.Stable("cart")
	s.answersAre("cart", 1)
}

// TestTaskThatDies: a killed task is noticed, leaves the answers and is replaced.
func TestTaskThatDies(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.Run("cart", s.Register(worker(t, "flask-worker", "")), 2, s.Discovery(s.Namespace("shop"), "cart", 1))
	s.Stable("cart")
	victim := s.Tasks("cart", ecstypes.DesiredStatusRunning)[0]
	pid, err := strconv.Atoi(aws.ToString(victim.Containers[0].RuntimeId))
	if err != nil {
		t.Fatalf("runtime id %q is no pid", aws.ToString(victim.Containers[0].RuntimeId))
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "the dead task is out of the answers", func() bool {
		for ip := range s.Lookup("cart.shop") {
			if ip.String() == address(victim) {
				return false
			}
		}
		return true
	})
	s.Stable("cart")
	s.answersAre("cart", 2)
	for _, stopped := range s.Tasks("cart", ecstypes.DesiredStatusStopped) {
		if taskID(stopped) != taskID(victim) {
			continue
		}
		if stopped.StopCode != ecstypes.TaskStopCodeEssentialContainerExited || aws.ToInt32(stopped.Containers[0].ExitCode) != 137 {
			t.Errorf("stop code %s, exit code %d", stopped.StopCode, aws.ToInt32(stopped.Containers[0].ExitCode))
		}
	}
}

// TestSamplesFindEachOther runs the two sample services as the demo does.
func TestSamplesFindEachOther(t *testing.T) {
	t.Parallel()
	s := serve(t)
	corp := s.Namespace("corp")
	s.Run("worker", s.Register(worker(t, "flask-worker", "")), 2, s.Discovery(corp, "worker", 1))
	backend := worker(t, "flask-backend", "")
	backend.ContainerDefinitions[0].Command = []string{self(t), "sample", "flask-backend"}
	s.Run("backend", s.Register(backend), 1, s.Discovery(corp, "backend", 1))
	s.Stable("worker")
	s.Stable("backend")
	workers := s.Lookup("worker.corp")
	task := s.Tasks("backend", ecstypes.DesiredStatusRunning)[0]
	seen := map[string]bool{}
	eventually(t, 10*time.Second, "both workers have answered", func() bool {
		resp, err := http.Get("http://" + address(task) + ":5000/")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		said := must[[]byte](t)(io.ReadAll(resp.Body))
		_, from, ok := strings.Cut(strings.TrimSpace(string(said)), " From: ")
		if resp.StatusCode != http.StatusOK || !ok || !strings.HasPrefix(string(said), "Worker Message: ") {
			t.Fatalf("the backend said %s: %s", resp.Status, said)
		}
		for ip := range workers {
			if from == ip.String() {
				seen[from] = true
				return len(seen) == 2
			}
		}
		t.Fatalf("the backend asked %s, which DNS does not name: %v", from, workers)
		return false
	})
}

// TestCallerIdentity: many tools ask it before anything else.
func TestCallerIdentity(t *testing.T) {
	t.Parallel()
	s := serve(t, "--runtime", "none", "--account", "123456789012")
	who := must[*sts.GetCallerIdentityOutput](t)(s.STS().GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}))
	if aws.ToString(who.Account) != "123456789012" || aws.ToString(who.Arn) != "arn:aws:iam::123456789012:root" {
		t.Errorf("the caller is %s", asJSON(who))
	}
}
