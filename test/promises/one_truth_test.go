package promises

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"golang.org/x/sync/errgroup"

	"github.com/bakingclouds/rollcall/test/harness"
)

// TestOneTruth compares DNS with DiscoverInstances while instances come and go: the two must give the same set whenever
// the InstancesRevision is the same before and after.
func TestOneTruth(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--runtime", "none")
	cart := s.CreateCloudMapService(s.CreateNamespace("shop"), "cart", 1)
	ctx, cancel := context.WithCancel(t.Context())
	var churn errgroup.Group
	defer func() {
		cancel()
		if err := churn.Wait(); err != nil {
			t.Error(err)
		}
	}()
	for n := range 2 {
		churn.Go(func() error {
			for round := 0; ctx.Err() == nil; round++ {
				id := fmt.Sprintf("%d-%d", n, round%4) // both writers together register as many as one answer holds
				_, err := s.CloudMapWithoutRetries().RegisterInstance(ctx,
					harness.Registration(*cart.Id, id, fmt.Sprintf("10.%d.%d.%d", n, round>>8&255, round&255)))
				if err == nil && round%3 != 0 {
					_, err = s.CloudMapWithoutRetries().DeregisterInstance(ctx,
						&sd.DeregisterInstanceInput{ServiceId: cart.Id, InstanceId: &id})
				}
				if err != nil && ctx.Err() == nil {
					return err
				}
			}
			return nil
		})
	}
	const enough = 100 // comparisons, at half as many revisions
	revisions := map[int64]bool{}
	watch := harness.StartStopwatch()
	for compared := 0; compared < enough || len(revisions) < enough/2; {
		if watch.Unstalled() > time.Minute {
			t.Fatalf("only %d comparisons at %d revisions within a minute", compared, len(revisions))
		}
		before := discoverWithRevision(s)
		answered, err := s.QueryA("cart.shop")
		if err != nil {
			t.Fatal(err)
		}
		after := discoverWithRevision(s)
		if before.revision != after.revision {
			continue
		}
		compared++
		revisions[before.revision] = true
		if !slices.Equal(before.addresses, answered) || !slices.Equal(before.addresses, after.addresses) {
			t.Fatalf("at revision %d: DiscoverInstances returns %v, DNS %v, DiscoverInstances %v",
				before.revision, before.addresses, answered, after.addresses)
		}
	}
}

// discovered is an answer of DiscoverInstances.
type discovered struct {
	revision  int64
	addresses []string // sorted
}

// discoverWithRevision calls DiscoverInstances for cart.shop and returns the addresses with their revision.
func discoverWithRevision(s *harness.Server) discovered {
	s.T.Helper()
	out := harness.Must(s.CloudMapWithoutRetries().DiscoverInstances(s.T.Context(),
		&sd.DiscoverInstancesInput{NamespaceName: aws.String("shop"), ServiceName: aws.String("cart")}))(s.T)
	d := discovered{revision: aws.ToInt64(out.InstancesRevision)}
	for _, i := range out.Instances {
		d.addresses = append(d.addresses, i.Attributes["AWS_INSTANCE_IPV4"])
	}
	slices.Sort(d.addresses)
	return d
}

// TestServiceLifecycle runs a service that starts, scales, is updated and is deleted. DNS, DiscoverInstances and ECS
// must name the same tasks after each step, and the name must have an address at all times.
func TestServiceLifecycle(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	ns := s.CreateNamespace("shop")
	cart := s.CreateCloudMapService(ns, "cart", 1)
	s.CreateECSService("cart", s.RegisterDefinition(harness.Worker(t, "flask-worker", "")), 2, cart)
	s.WaitStable("cart")
	s.CheckAnswers("cart", 2)

	scale := func(n int32) {
		t.Helper()
		harness.Must(s.ECS().UpdateService(t.Context(), &ecs.UpdateServiceInput{Service: aws.String("cart"),
			DesiredCount: &n}))(t)
		s.WaitStable("cart")
		s.CheckAnswers("cart", int(n))
	}
	scale(5)
	scale(1)

	before := s.Tasks("cart", ecstypes.DesiredStatusRunning)
	harness.Must(s.ECS().UpdateService(t.Context(), &ecs.UpdateServiceInput{Service: aws.String("cart"),
		ForceNewDeployment: true}))(t)
	checkNeverEmpty(s, "cart.shop", func() { s.WaitStable("cart") })
	s.CheckAnswers("cart", 1)
	if after := s.Tasks("cart", ecstypes.DesiredStatusRunning); harness.TaskID(after[0]) == harness.TaskID(before[0]) {
		t.Error("a forced deployment kept the old task")
	}

	harness.Must(s.ECS().DeleteService(t.Context(), &ecs.DeleteServiceInput{Service: aws.String("cart"),
		Force: aws.Bool(true)}))(t)
	harness.Eventually(t, 20*time.Second, "the deleted service is inactive",
		func() bool { return aws.ToString(s.DescribeService("cart").Status) == "INACTIVE" })
	if got := s.Lookup("cart.shop"); len(got) != 0 {
		t.Errorf("the answer for a deleted service is %v", got)
	}
}

// checkNeverEmpty checks that a name has an address at all times while during runs.
func checkNeverEmpty(s *harness.Server, name string, during func()) {
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
	during()
	close(stop)
	if empty := <-done; empty > 0 {
		s.T.Errorf("%d of the answers for %s had no address", empty, name)
	}
}
