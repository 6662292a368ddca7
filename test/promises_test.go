package test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
	"github.com/aws/smithy-go"
	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

// registration is the call that registers an instance with an IPv4 address.
func registration(service, id, ip string) *sd.RegisterInstanceInput {
	return &sd.RegisterInstanceInput{ServiceId: &service, InstanceId: &id, Attributes: map[string]string{"AWS_INSTANCE_IPV4": ip}}
}

// errorCode is the code of an AWS error, "" for none, and the text of any other error.
func errorCode(err error) string {
	var apiErr smithy.APIError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &apiErr):
		return apiErr.ErrorCode()
	}
	return err.Error()
}

// TestAcknowledgedIsVisible holds that whatever call has been acknowledged, the very next query and the very next
// read show it, while others write to the same service.
func TestAcknowledgedIsVisible(t *testing.T) {
	t.Parallel()
	s := serve(t, "--runtime", "none")
	shop := s.Namespace("shop")
	cart := s.Discovery(shop, "cart", 1)
	// One instance stays healthy, since with none the unhealthy ones would be answered.
	must[*sd.RegisterInstanceOutput](t)(s.CloudMap().RegisterInstance(t.Context(), registration(*cart.Id, "anchor", "10.0.0.1")))

	const rounds = 15
	var writers errgroup.Group
	for n := range 7 { // with the anchor, as many as one answer holds
		writers.Go(func() error {
			for round := range rounds {
				if err := s.instanceIsVisible(*cart.Id, n, round); err != nil {
					return fmt.Errorf("writer %d, round %d: %w", n, round, err)
				}
			}
			return nil
		})
	}
	for n := range 2 {
		writers.Go(func() error {
			for round := range rounds {
				if err := s.serviceIsVisible(shop, fmt.Sprintf("service-%d-%d", n, round)); err != nil {
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

// instanceIsVisible leads one instance of cart.shop through its life and looks once after each step.
func (s *server) instanceIsVisible(service string, n, round int) error {
	ctx := s.T.Context()
	api := s.cloudMapOnce()
	id, ip := fmt.Sprintf("writer-%d", n), fmt.Sprintf("10.1.%d.%d", n, round+1)

	if _, err := api.RegisterInstance(ctx, registration(service, id, ip)); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	if err := s.seesInstance(service, id, ip, true); err != nil {
		return fmt.Errorf("after RegisterInstance: %w", err)
	}
	got, err := api.GetInstance(ctx, &sd.GetInstanceInput{ServiceId: &service, InstanceId: &id})
	if err != nil || got.Instance.Attributes["AWS_INSTANCE_IPV4"] != ip {
		return fmt.Errorf("after RegisterInstance: GetInstance gives %s, %v", asJSON(got), err)
	}
	for _, health := range []sdtypes.CustomHealthStatus{sdtypes.CustomHealthStatusUnhealthy, sdtypes.CustomHealthStatusHealthy} {
		if _, err := api.UpdateInstanceCustomHealthStatus(ctx, &sd.UpdateInstanceCustomHealthStatusInput{ServiceId: &service, InstanceId: &id, Status: health}); err != nil {
			return fmt.Errorf("set health: %w", err)
		}
		if err := s.seesInstance(service, id, ip, health == sdtypes.CustomHealthStatusHealthy); err != nil {
			return fmt.Errorf("after UpdateInstanceCustomHealthStatus %s: %w", health, err)
		}
	}
	if _, err := api.DeregisterInstance(ctx, &sd.DeregisterInstanceInput{ServiceId: &service, InstanceId: &id}); err != nil {
		return fmt.Errorf("deregister: %w", err)
	}
	if err := s.seesInstance(service, id, ip, false); err != nil {
		return fmt.Errorf("after DeregisterInstance: %w", err)
	}
	if _, err := api.GetInstance(ctx, &sd.GetInstanceInput{ServiceId: &service, InstanceId: &id}); errorCode(err) != "InstanceNotFound" {
		return fmt.Errorf("after DeregisterInstance: GetInstance gives %v", err)
	}
	return nil
}

// seesInstance asks DNS once and DiscoverInstances once, and compares with what is wanted.
func (s *server) seesInstance(service, id, ip string, want bool) error {
	answered, err := s.addresses("cart.shop")
	if err != nil {
		return err
	}
	if slices.Contains(answered, ip) != want {
		return fmt.Errorf("DNS answers %v; %s in it: want %v", answered, ip, want)
	}
	out, err := s.cloudMapOnce().DiscoverInstances(s.T.Context(), &sd.DiscoverInstancesInput{NamespaceName: aws.String("shop"), ServiceName: aws.String("cart"), HealthStatus: sdtypes.HealthStatusFilterHealthy})
	if err != nil {
		return err
	}
	found := slices.ContainsFunc(out.Instances, func(i sdtypes.HttpInstanceSummary) bool {
		return *i.InstanceId == id && i.Attributes["AWS_INSTANCE_IPV4"] == ip
	})
	if found != want {
		return fmt.Errorf("DiscoverInstances gives %s; %s in it: want %v", asJSON(out.Instances), id, want)
	}
	return nil
}

// serviceIsVisible creates a service with an instance and deletes both. Before and after it there is no such name; a
// service without instances has a name and no address.
func (s *server) serviceIsVisible(namespace, name string) error {
	ctx := s.T.Context()
	api := s.cloudMapOnce()
	rcode := func(when string, want int) error {
		reply, err := s.ask(name+".shop", dns.TypeA)
		if err == nil && reply.Rcode != want {
			err = fmt.Errorf("%s is answered %s, want %s", name, dns.RcodeToString[reply.Rcode], dns.RcodeToString[want])
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
	if _, err := api.RegisterInstance(ctx, registration(*id, "one", "10.2.0.1")); err != nil {
		return err
	}
	if answered, err := s.addresses(name + ".shop"); err != nil || !slices.Equal(answered, []string{"10.2.0.1"}) {
		return fmt.Errorf("after RegisterInstance in %s: DNS answers %v, %v", name, answered, err)
	}
	if _, err := api.DeregisterInstance(ctx, &sd.DeregisterInstanceInput{ServiceId: id, InstanceId: aws.String("one")}); err != nil {
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
	if _, err := api.GetService(ctx, &sd.GetServiceInput{Id: id}); errorCode(err) != "ServiceNotFound" {
		return fmt.Errorf("after DeleteService: GetService gives %v", err)
	}
	return nil
}

// TestOneTruth holds that DNS and DiscoverInstances give the same set whenever the InstancesRevision before and after
// the two is the same, while instances come and go.
func TestOneTruth(t *testing.T) {
	t.Parallel()
	s := serve(t, "--runtime", "none")
	cart := s.Discovery(s.Namespace("shop"), "cart", 1)
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
				id := fmt.Sprintf("%d-%d", n, round%4) // both together, as many as one answer holds
				_, err := s.cloudMapOnce().RegisterInstance(ctx, registration(*cart.Id, id, fmt.Sprintf("10.%d.%d.%d", n, round>>8&255, round&255)))
				if err == nil && round%3 != 0 {
					_, err = s.cloudMapOnce().DeregisterInstance(ctx, &sd.DeregisterInstanceInput{ServiceId: cart.Id, InstanceId: &id})
				}
				if err != nil && ctx.Err() == nil {
					return err
				}
			}
			return nil
		})
	}
	const enough = 100 // comparisons, and half as many revisions
	revisions := map[int64]bool{}
	deadline := time.Now().Add(time.Minute)
	for compared := 0; compared < enough || len(revisions) < enough/2; {
		if time.Now().After(deadline) {
			t.Fatalf("only %d comparisons at %d revisions in a minute", compared, len(revisions))
		}
		before := s.instancesOf("shop", "cart")
		answered, err := s.addresses("cart.shop")
		if err != nil {
			t.Fatal(err)
		}
		after := s.instancesOf("shop", "cart")
		if before.revision != after.revision {
			continue
		}
		compared++
		revisions[before.revision] = true
		if !slices.Equal(before.addresses, answered) || !slices.Equal(before.addresses, after.addresses) {
			t.Fatalf("at revision %d: DiscoverInstances gives %v, DNS %v, DiscoverInstances %v",
				before.revision, before.addresses, answered, after.addresses)
		}
	}
}

// discovered is one answer of DiscoverInstances.
type discovered struct {
	revision  int64
	addresses []string // sorted
}

func (s *server) instancesOf(namespace, service string) discovered {
	s.T.Helper()
	out := must[*sd.DiscoverInstancesOutput](s.T)(s.cloudMapOnce().DiscoverInstances(s.T.Context(),
		&sd.DiscoverInstancesInput{NamespaceName: &namespace, ServiceName: &service}))
	d := discovered{revision: aws.ToInt64(out.InstancesRevision)}
	for _, i := range out.Instances {
		d.addresses = append(d.addresses, i.Attributes["AWS_INSTANCE_IPV4"])
	}
	slices.Sort(d.addresses)
	return d
}

// race makes two calls at once and returns the codes that they failed with, "" for the one that won.
func race(a, b func() error) (codeA, codeB string) {
	done := make(chan string)
	go func() { done <- errorCode(a()) }()
	codeB = errorCode(b())
	return <-done, codeB
}

// inParallel runs rounds of a test from a few goroutines at once.
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

// TestConflicts holds that of two calls of which one makes the other impossible exactly one wins, and that what is
// left afterwards is what the winner promised.
func TestConflicts(t *testing.T) {
	t.Parallel()
	s := serve(t, "--runtime", "none")
	shop := s.Namespace("shop")
	ctx := t.Context()
	api := s.cloudMapOnce()
	newService := func(namespace, name string) (*sd.CreateServiceOutput, error) {
		return api.CreateService(ctx, &sd.CreateServiceInput{
			Name: &name, NamespaceId: &namespace,
			DnsConfig: &sdtypes.DnsConfig{DnsRecords: []sdtypes.DnsRecord{{Type: sdtypes.RecordTypeA, TTL: aws.Int64(1)}}},
		})
	}

	t.Run("register an instance, delete its service", func(t *testing.T) {
		inParallel(t, 200, func(n int) error {
			name := fmt.Sprintf("service-%d", n)
			made, err := newService(shop, name)
			if err != nil {
				return err
			}
			id := made.Service.Id
			byRegister, byDelete := race(
				func() error { _, err := api.RegisterInstance(ctx, registration(*id, "one", "10.0.0.1")); return err },
				func() error { _, err := api.DeleteService(ctx, &sd.DeleteServiceInput{Id: id}); return err },
			)
			reply, err := s.ask(name+".shop", dns.TypeA)
			if err != nil {
				return err
			}
			_, getErr := api.GetInstance(ctx, &sd.GetInstanceInput{ServiceId: id, InstanceId: aws.String("one")})
			left := fmt.Sprintf("RegisterInstance %q, DeleteService %q, DNS %s with %d addresses, GetInstance %q",
				byRegister, byDelete, dns.RcodeToString[reply.Rcode], len(reply.Answer), errorCode(getErr))
			switch left {
			case `RegisterInstance "", DeleteService "ResourceInUse", DNS NOERROR with 1 addresses, GetInstance ""`,
				`RegisterInstance "ServiceNotFound", DeleteService "", DNS NXDOMAIN with 0 addresses, GetInstance "ServiceNotFound"`:
				return nil
			default:
				return errors.New(left)
			}
		})
	})

	t.Run("create a service, delete its namespace", func(t *testing.T) {
		inParallel(t, 100, func(n int) error {
			made, err := api.CreateHttpNamespace(ctx, &sd.CreateHttpNamespaceInput{Name: aws.String(fmt.Sprintf("space-%d", n))})
			if err != nil {
				return err
			}
			op, err := api.GetOperation(ctx, &sd.GetOperationInput{OperationId: made.OperationId})
			if err != nil {
				return err
			}
			id := op.Operation.Targets["NAMESPACE"]
			byCreate, byDelete := race(
				func() error {
					_, err := api.CreateService(ctx, &sd.CreateServiceInput{Name: aws.String("one"), NamespaceId: &id})
					return err
				},
				func() error { _, err := api.DeleteNamespace(ctx, &sd.DeleteNamespaceInput{Id: &id}); return err },
			)
			_, getErr := api.GetNamespace(ctx, &sd.GetNamespaceInput{Id: &id})
			switch left := fmt.Sprintf("CreateService %q, DeleteNamespace %q, GetNamespace %q", byCreate, byDelete, errorCode(getErr)); left {
			case `CreateService "", DeleteNamespace "ResourceInUse", GetNamespace ""`,
				`CreateService "NamespaceNotFound", DeleteNamespace "", GetNamespace "NamespaceNotFound"`:
				return nil
			default:
				return errors.New(left)
			}
		})
	})

	t.Run("two creates of one name", func(t *testing.T) {
		s.Register(program(t, "sleeper", "/bin/sleep", "1000"))
		for _, tc := range []struct {
			what, code string
			create     func(name, token string) error
		}{
			{"HTTP namespace", "NamespaceAlreadyExists", func(name, token string) error {
				_, err := api.CreateHttpNamespace(ctx, &sd.CreateHttpNamespaceInput{Name: &name, CreatorRequestId: &token})
				return err
			}},
			{"private namespace", "NamespaceAlreadyExists", func(name, token string) error {
				_, err := api.CreatePrivateDnsNamespace(ctx, &sd.CreatePrivateDnsNamespaceInput{Name: &name, CreatorRequestId: &token, Vpc: aws.String("vpc-1")})
				return err
			}},
			{"Cloud Map service", "ServiceAlreadyExists", func(name, token string) error {
				_, err := api.CreateService(ctx, &sd.CreateServiceInput{Name: &name, NamespaceId: &shop, CreatorRequestId: &token})
				return err
			}},
			{"ECS service", "InvalidParameterException", func(name, token string) error {
				_, err := s.ecsOnce().CreateService(ctx, &ecs.CreateServiceInput{
					ServiceName: &name, ClientToken: &token, TaskDefinition: aws.String("sleeper"), DesiredCount: aws.Int32(0),
					NetworkConfiguration: awsvpc(),
				})
				return err
			}},
		} {
			inParallel(t, 25, func(n int) error {
				name := fmt.Sprintf("twice-%d", n)
				a, b := race(func() error { return tc.create(name, "a "+tc.what+name) }, func() error { return tc.create(name, "b "+tc.what+name) })
				if !(a == "" && b == tc.code || a == tc.code && b == "") {
					return fmt.Errorf("%s %s: one call gave %q, the other %q", tc.what, name, a, b)
				}
				return nil
			})
		}
	})
}
