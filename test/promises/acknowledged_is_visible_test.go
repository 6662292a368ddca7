package promises

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"github.com/bakingclouds/rollcall/test/harness"
)

// TestAcknowledgedIsVisible checks that the first query and the first read after an acknowledged call show its effect,
// while other clients write to the same service.
func TestAcknowledgedIsVisible(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--runtime", "none")
	shop := s.CreateNamespace("shop")
	cart := s.CreateCloudMapService(shop, "cart", 1)
	// One instance stays healthy: if none were, DNS would answer with the unhealthy ones.
	harness.Must(s.CloudMap().RegisterInstance(t.Context(), harness.Registration(*cart.Id, "anchor", "10.0.0.1")))(t)

	const rounds = 15
	var writers errgroup.Group
	for n := range 7 { // with the instance anchor, as many as one answer holds
		writers.Go(func() error {
			for round := range rounds {
				if err := checkInstanceVisible(s, *cart.Id, n, round); err != nil {
					return fmt.Errorf("writer %d, round %d: %w", n, round, err)
				}
			}
			return nil
		})
	}
	for n := range 2 {
		writers.Go(func() error {
			for round := range rounds {
				if err := checkServiceVisible(s, shop, fmt.Sprintf("service-%d-%d", n, round)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := writers.Wait(); err != nil {
		t.Error(err)
	}
}

// checkInstanceVisible registers an instance of cart.shop, changes its health and deregisters it, and queries once
// after each step.
func checkInstanceVisible(s *harness.Server, service string, n, round int) error {
	ctx := s.T.Context()
	api := s.CloudMapWithoutRetries()
	id, ip := fmt.Sprintf("writer-%d", n), fmt.Sprintf("10.1.%d.%d", n, round+1)

	if _, err := api.RegisterInstance(ctx, harness.Registration(service, id, ip)); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	if err := checkInstanceAnswered(s, id, ip, true); err != nil {
		return fmt.Errorf("after RegisterInstance: %w", err)
	}
	got, err := api.GetInstance(ctx, &sd.GetInstanceInput{ServiceId: &service, InstanceId: &id})
	if err != nil || got.Instance.Attributes["AWS_INSTANCE_IPV4"] != ip {
		return fmt.Errorf("after RegisterInstance: GetInstance returns %s, %v", harness.AsJSON(got), err)
	}
	for _, health := range []sdtypes.CustomHealthStatus{sdtypes.CustomHealthStatusUnhealthy,
		sdtypes.CustomHealthStatusHealthy} {
		if _, err := api.UpdateInstanceCustomHealthStatus(ctx,
			&sd.UpdateInstanceCustomHealthStatusInput{ServiceId: &service, InstanceId: &id,
				Status: health}); err != nil {
			return fmt.Errorf("set health: %w", err)
		}
		if err := checkInstanceAnswered(s, id, ip, health == sdtypes.CustomHealthStatusHealthy); err != nil {
			return fmt.Errorf("after UpdateInstanceCustomHealthStatus %s: %w", health, err)
		}
	}
	if _, err := api.DeregisterInstance(ctx, &sd.DeregisterInstanceInput{ServiceId: &service,
		InstanceId: &id}); err != nil {
		return fmt.Errorf("deregister: %w", err)
	}
	if err := checkInstanceAnswered(s, id, ip, false); err != nil {
		return fmt.Errorf("after DeregisterInstance: %w", err)
	}
	if _, err := api.GetInstance(ctx, &sd.GetInstanceInput{ServiceId: &service,
		InstanceId: &id}); harness.ErrorCode(err) != "InstanceNotFound" {
		return fmt.Errorf("after DeregisterInstance: GetInstance returns %v", err)
	}
	return nil
}

// checkInstanceAnswered queries DNS once and DiscoverInstances once, and returns an error unless both have the
// instance, or neither if want is false.
func checkInstanceAnswered(s *harness.Server, id, ip string, want bool) error {
	answered, err := s.QueryA("cart.shop")
	if err != nil {
		return err
	}
	if slices.Contains(answered, ip) != want {
		return fmt.Errorf("DNS answers %v; contains %s: want %v", answered, ip, want)
	}
	out, err := s.CloudMapWithoutRetries().DiscoverInstances(s.T.Context(),
		&sd.DiscoverInstancesInput{NamespaceName: aws.String("shop"), ServiceName: aws.String("cart"),
			HealthStatus: sdtypes.HealthStatusFilterHealthy})
	if err != nil {
		return err
	}
	found := slices.ContainsFunc(out.Instances, func(i sdtypes.HttpInstanceSummary) bool {
		return *i.InstanceId == id && i.Attributes["AWS_INSTANCE_IPV4"] == ip
	})
	if found != want {
		return fmt.Errorf("DiscoverInstances returns %s; contains %s: want %v", harness.AsJSON(out.Instances), id, want)
	}
	return nil
}

// checkServiceVisible creates a service with an instance and deletes both. Its name must exist only between, and have
// an address only while there is an instance.
func checkServiceVisible(s *harness.Server, namespace, name string) error {
	ctx := s.T.Context()
	api := s.CloudMapWithoutRetries()
	rcode := func(when string, want int) error {
		reply, err := s.QueryDNS(name+".shop", dns.TypeA)
		if err == nil && reply.Rcode != want {
			err = fmt.Errorf("the answer for %s is %s, want %s", name, dns.RcodeToString[reply.Rcode],
				dns.RcodeToString[want])
		}
		if err != nil {
			return fmt.Errorf("%s: %w", when, err)
		}
		return nil
	}
	made, err := api.CreateService(ctx, &sd.CreateServiceInput{
		Name: &name, NamespaceId: &namespace,
		DnsConfig: &sdtypes.DnsConfig{DnsRecords: []sdtypes.DnsRecord{{Type: sdtypes.RecordTypeA, TTL: aws.Int64(1)}}},
	})
	if err != nil {
		return err
	}
	id := made.Service.Id
	if err := rcode("after CreateService", dns.RcodeSuccess); err != nil {
		return err
	}
	if _, err := api.RegisterInstance(ctx, harness.Registration(*id, "one", "10.2.0.1")); err != nil {
		return err
	}
	if answered, err := s.QueryA(name + ".shop"); err != nil || !slices.Equal(answered, []string{"10.2.0.1"}) {
		return fmt.Errorf("after RegisterInstance in %s: DNS answers %v, %v", name, answered, err)
	}
	if _, err := api.DeregisterInstance(ctx, &sd.DeregisterInstanceInput{ServiceId: id,
		InstanceId: aws.String("one")}); err != nil {
		return err
	}
	if err := rcode("after DeregisterInstance", dns.RcodeSuccess); err != nil {
		return err
	}
	if _, err := api.DeleteService(ctx, &sd.DeleteServiceInput{Id: id}); err != nil {
		return err
	}
	if err := rcode("after DeleteService", dns.RcodeNameError); err != nil {
		return err
	}
	if _, err := api.GetService(ctx, &sd.GetServiceInput{Id: id}); harness.ErrorCode(err) != "ServiceNotFound" {
		return fmt.Errorf("after DeleteService: GetService returns %v", err)
	}
	return nil
}

// runTogether makes two calls at the same time and returns the codes of their errors, "" for success.
func runTogether(a, b func() error) (codeA, codeB string) {
	done := make(chan string)
	go func() { done <- harness.ErrorCode(a()) }()
	codeB = harness.ErrorCode(b())
	return <-done, codeB
}

// inParallel runs rounds of a test in a few goroutines.
func inParallel(t *testing.T, rounds int, round func(n int) error) {
	t.Helper()
	var g errgroup.Group
	g.SetLimit(4)
	for n := range rounds {
		g.Go(func() error {
			if err := round(n); err != nil {
				return fmt.Errorf("round %d: %w", n, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

// TestConflictingWrites makes pairs of calls of which each makes the other impossible. Exactly one must succeed, and
// the state afterwards must be the one that it promised.
func TestConflictingWrites(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--runtime", "none")
	shop := s.CreateNamespace("shop")
	t.Run("register an instance, delete its service", func(t *testing.T) { registerDuringDelete(t, s, shop) })
	t.Run("create a service, delete its namespace", func(t *testing.T) { createDuringDelete(t, s) })
	t.Run("two creates of one name", func(t *testing.T) { createTwice(t, s, shop) })
}

// registerDuringDelete registers an instance while its service is deleted.
func registerDuringDelete(t *testing.T, s *harness.Server, namespace string) {
	t.Helper()
	ctx, api := t.Context(), s.CloudMapWithoutRetries()
	inParallel(t, 200, func(n int) error {
		name := fmt.Sprintf("service-%d", n)
		made, err := api.CreateService(ctx, &sd.CreateServiceInput{Name: &name, NamespaceId: &namespace,
			DnsConfig: &sdtypes.DnsConfig{DnsRecords: []sdtypes.DnsRecord{
				{Type: sdtypes.RecordTypeA, TTL: aws.Int64(1)}}}})
		if err != nil {
			return err
		}
		id := made.Service.Id
		byRegister, byDelete := runTogether(
			func() error {
				_, err := api.RegisterInstance(ctx, harness.Registration(*id, "one", "10.0.0.1"))
				return err
			},
			func() error { _, err := api.DeleteService(ctx, &sd.DeleteServiceInput{Id: id}); return err },
		)
		reply, err := s.QueryDNS(name+".shop", dns.TypeA)
		if err != nil {
			return err
		}
		_, getErr := api.GetInstance(ctx, &sd.GetInstanceInput{ServiceId: id, InstanceId: aws.String("one")})
		left := fmt.Sprintf("RegisterInstance %q, DeleteService %q, DNS %s with %d addresses, GetInstance %q",
			byRegister, byDelete, dns.RcodeToString[reply.Rcode], len(reply.Answer), harness.ErrorCode(getErr))
		switch left {
		case `RegisterInstance "", DeleteService "ResourceInUse", DNS NOERROR with 1 addresses, GetInstance ""`,
			`RegisterInstance "ServiceNotFound", DeleteService "", DNS NXDOMAIN with 0 addresses, ` +
				`GetInstance "ServiceNotFound"`:
			return nil
		default:
			return errors.New(left)
		}
	})
}

// createDuringDelete creates a service while its namespace is deleted.
func createDuringDelete(t *testing.T, s *harness.Server) {
	t.Helper()
	ctx, api := t.Context(), s.CloudMapWithoutRetries()
	inParallel(t, 100, func(n int) error {
		made, err := api.CreateHttpNamespace(ctx, &sd.CreateHttpNamespaceInput{
			Name: aws.String(fmt.Sprintf("space-%d", n))})
		if err != nil {
			return err
		}
		op, err := api.GetOperation(ctx, &sd.GetOperationInput{OperationId: made.OperationId})
		if err != nil {
			return err
		}
		id := op.Operation.Targets["NAMESPACE"]
		byCreate, byDelete := runTogether(
			func() error {
				_, err := api.CreateService(ctx, &sd.CreateServiceInput{Name: aws.String("one"), NamespaceId: &id})
				return err
			},
			func() error { _, err := api.DeleteNamespace(ctx, &sd.DeleteNamespaceInput{Id: &id}); return err },
		)
		_, getErr := api.GetNamespace(ctx, &sd.GetNamespaceInput{Id: &id})
		switch left := fmt.Sprintf("CreateService %q, DeleteNamespace %q, GetNamespace %q", byCreate, byDelete,
			harness.ErrorCode(getErr)); left {
		case `CreateService "", DeleteNamespace "ResourceInUse", GetNamespace ""`,
			`CreateService "NamespaceNotFound", DeleteNamespace "", GetNamespace "NamespaceNotFound"`:
			return nil
		default:
			return errors.New(left)
		}
	})
}

// createTwice creates two resources of one name at the same time, of each kind.
func createTwice(t *testing.T, s *harness.Server, namespace string) {
	t.Helper()
	ctx, api := t.Context(), s.CloudMapWithoutRetries()
	s.RegisterDefinition(harness.Program(t, "sleeper", "/bin/sleep", "1000"))
	for _, tc := range []struct {
		what, code string
		create     func(name, token string) error
	}{
		{"HTTP namespace", "NamespaceAlreadyExists", func(name, token string) error {
			_, err := api.CreateHttpNamespace(ctx, &sd.CreateHttpNamespaceInput{Name: &name,
				CreatorRequestId: &token})
			return err
		}},
		{"private namespace", "NamespaceAlreadyExists", func(name, token string) error {
			_, err := api.CreatePrivateDnsNamespace(ctx, &sd.CreatePrivateDnsNamespaceInput{Name: &name,
				CreatorRequestId: &token, Vpc: aws.String("vpc-1")})
			return err
		}},
		{"Cloud Map service", "ServiceAlreadyExists", func(name, token string) error {
			_, err := api.CreateService(ctx, &sd.CreateServiceInput{Name: &name, NamespaceId: &namespace,
				CreatorRequestId: &token})
			return err
		}},
		{"ECS service", "InvalidParameterException", func(name, token string) error {
			_, err := s.ECSWithoutRetries().CreateService(ctx, &ecs.CreateServiceInput{
				ServiceName: &name, ClientToken: &token, TaskDefinition: aws.String("sleeper"),
				DesiredCount:         aws.Int32(0),
				NetworkConfiguration: harness.AWSVPC(),
			})
			return err
		}},
	} {
		inParallel(t, 25, func(n int) error {
			name := fmt.Sprintf("twice-%d", n)
			a, b := runTogether(func() error { return tc.create(name, "a "+tc.what+name) },
				func() error { return tc.create(name, "b "+tc.what+name) })
			if (a != "" || b != tc.code) && (a != tc.code || b != "") {
				return fmt.Errorf("%s %s: one call returned %q, the other %q", tc.what, name, a, b)
			}
			return nil
		})
	}
}
