package test

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
)

// says runs a command against the server and returns what it prints.
func (s *server) says(args ...string) string {
	s.T.Helper()
	cmd := rollcall(s.T, append(args, "--data", s.Dir)...)
	out, err := cmd.Output()
	if exit, failed := err.(*exec.ExitError); failed {
		s.T.Fatalf("rollcall %v: %v: %s", args, err, exit.Stderr)
	} else if err != nil {
		s.T.Fatal(err)
	}
	return string(out)
}

// wantLineLike holds that one line of a text matches a pattern.
func wantLineLike(t *testing.T, text, pattern string) {
	t.Helper()
	if !regexp.MustCompile("(?m)" + pattern).MatchString(text) {
		t.Errorf("no line like %q in:\n%s", pattern, text)
	}
}

// TestLookupExplains holds what `rollcall lookup` says of instances in every state.
func TestLookupExplains(t *testing.T) {
	t.Parallel()
	s := serve(t, "--runtime", "none")
	ns := s.Namespace("shop")
	cart := s.Discovery(ns, "cart", 7)
	for i, init := range []string{"HEALTHY", "HEALTHY", "UNHEALTHY"} {
		s.registerInstance(*cart.Id, fmt.Sprintf("i-%d", i+1), map[string]string{
			"AWS_INSTANCE_IPV4": fmt.Sprintf("192.0.2.%d", i+1), "AWS_INIT_HEALTH_STATUS": init,
		})
	}
	health := func(id string, h sdtypes.CustomHealthStatus) {
		t.Helper()
		must[*servicediscovery.UpdateInstanceCustomHealthStatusOutput](t)(s.CloudMap().UpdateInstanceCustomHealthStatus(t.Context(),
			&servicediscovery.UpdateInstanceCustomHealthStatusInput{ServiceId: cart.Id, InstanceId: &id, Status: h}))
	}
	health("i-2", sdtypes.CustomHealthStatusUnhealthy)
	out := s.says("lookup", "Cart.shop.")
	wantLineLike(t, out, `NOERROR, 1 in the answer$`)
	wantLineLike(t, out, `^ +cart\.shop\. +7 +A +192\.0\.2\.1$`)
	wantLineLike(t, out, `^ +in +i-1 +192\.0\.2\.1 +healthy +\S+ ago$`)
	wantLineLike(t, out, `^ +out +i-2 +192\.0\.2\.2 +unhealthy since \S+, by UpdateInstanceCustomHealthStatus +\S+ ago$`)
	wantLineLike(t, out, `^ +out +i-3 +192\.0\.2\.3 +never healthy yet`)
	wantLineLike(t, s.says("lookup", "cart.shop", "SRV"), `out +i-1 .*the service has no SRV records`)

	health("i-1", sdtypes.CustomHealthStatusUnhealthy)
	out = s.says("lookup", "cart.shop")
	wantLineLike(t, out, `NOERROR, 2 in the answer$`)
	wantLineLike(t, out, `^ +in +i-1 .*so are all, and then all are answered`)
	wantLineLike(t, out, `^ +out +i-3 .*never healthy yet`)

	many := s.Discovery(ns, "many", 5)
	for i := range 10 {
		s.registerInstance(*many.Id, fmt.Sprintf("m-%d", i), map[string]string{"AWS_INSTANCE_IPV4": fmt.Sprintf("198.51.100.%d", i)})
	}
	out = s.says("lookup", "many.shop")
	if in, beyond := strings.Count(out, "  in "), strings.Count(out, "beyond the eight that this answer holds"); in != 8 || beyond != 2 {
		t.Errorf("%d in the answer and %d beyond it, want 8 and 2:\n%s", in, beyond, out)
	}
	wantLineLike(t, s.says("lookup", "nobody.shop"), `NXDOMAIN`)
	wantLineLike(t, s.says("lookup", "elsewhere.example"), `FORWARDED`)
	if out, err := rollcall(t, "lookup", "cart.shop", "TXT", "--data", s.Dir).CombinedOutput(); err == nil || !strings.Contains(string(out), "choose A, AAAA, SRV or CNAME") {
		t.Errorf("lookup of a TXT record: %v, %s", err, out)
	}
}

// TestStatus holds what `rollcall status` counts.
func TestStatus(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.Run("cart", s.Register(worker(t, "flask-worker", "")), 2, s.Discovery(s.Namespace("shop"), "cart", 1))
	s.Stable("cart")
	out := s.says("status")
	wantLineLike(t, out, `^test +process +2$`)
	wantLineLike(t, out, `^us-east-1/default/cart +2 +2 +2 +0 +flask-worker:1 +COMPLETED$`)
	wantLineLike(t, out, `^us-east-1/shop +DNS_PRIVATE +1 +2 +2 +0 +0 +0 +ns-`)
	wantLineLike(t, out, `^  cart +2 +2 +0 +0 +0 +srv-`)

	// A namespace of the same name for the same clients: the older answers, and status says so.
	made := must[*servicediscovery.CreatePrivateDnsNamespaceOutput](t)(s.CloudMap().CreatePrivateDnsNamespace(t.Context(),
		&servicediscovery.CreatePrivateDnsNamespaceInput{Name: aws.String("shop"), Vpc: aws.String("vpc-other")}))
	second := s.OperationTarget(made.OperationId)
	wantLineLike(t, s.says("status"), `^warning: namespace shop \(`+second+`\) has the name and the clients of the older ns-`)
	if tasks := s.Tasks("cart", ecstypes.DesiredStatusRunning); len(tasks) != 2 {
		t.Errorf("%d tasks", len(tasks))
	}
}

// TestStatusOfNamespaces holds how `rollcall status` counts instances by their states, and what it lists of many services.
func TestStatusOfNamespaces(t *testing.T) {
	t.Parallel()
	s := serve(t, "--runtime", "none")
	ns := s.Namespace("shop")
	cart := s.Discovery(ns, "cart", 1)
	for i, init := range []string{"HEALTHY", "HEALTHY", "HEALTHY", "UNHEALTHY"} {
		s.registerInstance(*cart.Id, fmt.Sprintf("i-%d", i), map[string]string{
			"AWS_INSTANCE_IPV4": fmt.Sprintf("192.0.2.%d", i+1), "AWS_INIT_HEALTH_STATUS": init,
		})
	}
	must[*servicediscovery.UpdateInstanceCustomHealthStatusOutput](t)(s.CloudMap().UpdateInstanceCustomHealthStatus(t.Context(),
		&servicediscovery.UpdateInstanceCustomHealthStatusInput{ServiceId: cart.Id, InstanceId: aws.String("i-0"), Status: sdtypes.CustomHealthStatusUnhealthy}))
	const many = 30
	for i := range many {
		s.Discovery(ns, fmt.Sprintf("a-%02d", i), 1)
	}
	out := s.says("status")
	wantLineLike(t, out, `^us-east-1/shop +DNS_PRIVATE +31 +4 +2 +1 +1 +0 +`+ns+`$`)
	wantLineLike(t, out, `^  a-18 +0 +0 +0 +0 +0 +srv-`)
	wantLineLike(t, out, `^  cart +4 +2 +1 +1 +0 +`+*cart.Id+`$`) // first of those to look at, though last by name
	wantLineLike(t, out, `^  and 11 more \(--all\)`)
	if strings.Contains(out, " a-19 ") {
		t.Errorf("more than 20 services are listed:\n%s", out)
	}
	all := s.says("status", "--all")
	wantLineLike(t, all, `^  a-29 +0 `)
	if strings.Contains(all, " more (") {
		t.Errorf("--all leaves some out:\n%s", all)
	}
}
