package clients

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/test/harness"
)

// TestServeEnvironment configures `rollcall serve` with environment variables. A flag must override its variable.
func TestServeEnvironment(t *testing.T) {
	t.Parallel()
	keys := awsapi.Pair{AccessKeyID: "AKIAENVIRONMENT00001", Secret: strings.Repeat("s3cret/+", 5)}
	dir := filepath.Join(t.TempDir(), "data")
	s := harness.NewServer(t, dir, exec.Command(harness.TestBinary(t), "serve", "--region", "eu-west-3"))
	s.Keys = keys
	s.Cmd.Env = append(os.Environ(), harness.RunAsCommand+"=1", "XDG_RUNTIME_DIR="+t.TempDir(), "ROLLCALL_DATA="+dir,
		"ROLLCALL_API=127.0.0.1:0", "ROLLCALL_DNS=127.0.0.1:0", "ROLLCALL_RUNTIME=none",
		"ROLLCALL_ACCOUNT=123456789012", "ROLLCALL_REGION=eu-central-1", "ROLLCALL_LOG_FORMAT=json",
		"ROLLCALL_NODE=from-environment",
		"ROLLCALL_ACCESS_KEY_ID="+keys.AccessKeyID, "ROLLCALL_SECRET_ACCESS_KEY="+keys.Secret)
	if err := s.Launch(); err != nil {
		t.Fatal(err)
	}
	if s.Info.Account != "123456789012" || s.Info.Region != "eu-west-3" {
		t.Errorf("the server reports %+v, want the account and region of the environment and the flag", s.Info)
	}
	got := harness.Must(s.ECS().CreateCluster(t.Context(), &ecs.CreateClusterInput{ClusterName: aws.String("one")}))(t)
	if want := "arn:aws:ecs:us-east-1:123456789012:cluster/one"; *got.Cluster.ClusterArn != want {
		t.Errorf("ARN %s, want %s", *got.Cluster.ClusterArn, want)
	}
	harness.Eventually(t, 5*time.Second, "the log is JSON and names the node",
		func() bool { return strings.Contains(s.Out.String(), `"node":"from-environment"`) })
	if _, err := os.Stat(filepath.Join(dir, "credentials")); err == nil {
		t.Error("the server created keys although the environment has some")
	}
}

// TestLookupCommand checks what `rollcall lookup` prints for instances in every state.
func TestLookupCommand(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--runtime", "none")
	ns := s.CreateNamespace("shop")
	cart := s.CreateCloudMapService(ns, "cart", 7)
	for i, init := range []string{"HEALTHY", "HEALTHY", "UNHEALTHY"} {
		s.RegisterInstance(*cart.Id, fmt.Sprintf("i-%d", i+1), map[string]string{
			"AWS_INSTANCE_IPV4": fmt.Sprintf("192.0.2.%d", i+1), "AWS_INIT_HEALTH_STATUS": init,
		})
	}
	health := func(id string, h sdtypes.CustomHealthStatus) {
		t.Helper()
		harness.Must(s.CloudMap().UpdateInstanceCustomHealthStatus(t.Context(),
			&servicediscovery.UpdateInstanceCustomHealthStatusInput{ServiceId: cart.Id, InstanceId: &id, Status: h}))(t)
	}
	health("i-2", sdtypes.CustomHealthStatusUnhealthy)
	out := s.RunCommand("lookup", "Cart.shop.")
	harness.WantLine(t, out, `NOERROR, 1 in the answer$`)
	harness.WantLine(t, out, `^ +cart\.shop\. +7 +A +192\.0\.2\.1$`)
	harness.WantLine(t, out, `^ +in +i-1 +192\.0\.2\.1 +healthy +\S+ ago$`)
	harness.WantLine(t, out,
		`^ +out +i-2 +192\.0\.2\.2 +unhealthy since \S+, by UpdateInstanceCustomHealthStatus +\S+ ago$`)
	harness.WantLine(t, out, `^ +out +i-3 +192\.0\.2\.3 +has never been healthy`)
	harness.WantLine(t, s.RunCommand("lookup", "cart.shop", "SRV"), `out +i-1 .*the service has no SRV records`)

	health("i-1", sdtypes.CustomHealthStatusUnhealthy)
	out = s.RunCommand("lookup", "cart.shop")
	harness.WantLine(t, out, `NOERROR, 2 in the answer$`)
	harness.WantLine(t, out, `^ +in +i-1 .*no instance is healthy, so all are answered`)
	harness.WantLine(t, out, `^ +out +i-3 .*has never been healthy`)

	many := s.CreateCloudMapService(ns, "many", 5)
	for i := range 10 {
		s.RegisterInstance(*many.Id, fmt.Sprintf("m-%d", i),
			map[string]string{"AWS_INSTANCE_IPV4": fmt.Sprintf("198.51.100.%d", i)})
	}
	out = s.RunCommand("lookup", "many.shop")
	in, beyond := strings.Count(out, "  in "), strings.Count(out, "this answer already contains eight instances")
	if in != 8 || beyond != 2 {
		t.Errorf("%d instances in the answer and %d beyond it, want 8 and 2:\n%s", in, beyond, out)
	}
	harness.WantLine(t, s.RunCommand("lookup", "missing.shop"), `NXDOMAIN`)
	harness.WantLine(t, s.RunCommand("lookup", "elsewhere.example"), `FORWARDED`)
	if out, err := harness.Command(t, "lookup", "cart.shop", "TXT", "--data", s.Dir).CombinedOutput(); err == nil ||
		!strings.Contains(string(out), "use A, AAAA, SRV or CNAME") {
		t.Errorf("lookup of a TXT record: %v, %s; want an error that lists the types", err, out)
	}
}

// TestStatusCommand checks what `rollcall status` prints for nodes, ECS services and namespaces.
func TestStatusCommand(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	s.CreateECSService("cart", s.RegisterDefinition(harness.Worker(t, "flask-worker", "")), 2,
		s.CreateCloudMapService(s.CreateNamespace("shop"), "cart", 1))
	s.WaitStable("cart")
	out := s.RunCommand("status")
	harness.WantLine(t, out, `^test +process +2$`)
	harness.WantLine(t, out, `^us-east-1/default/cart +2 +2 +2 +0 +flask-worker:1 +COMPLETED$`)
	harness.WantLine(t, out, `^us-east-1/shop +DNS_PRIVATE +1 +2 +2 +0 +0 +0 +ns-`)
	harness.WantLine(t, out, `^  cart +2 +2 +0 +0 +0 +srv-`)

	// Of two namespaces with the same name and the same clients the older one answers, and status warns about it.
	made := harness.Must(s.CloudMap().CreatePrivateDnsNamespace(t.Context(),
		&servicediscovery.CreatePrivateDnsNamespaceInput{Name: aws.String("shop"), Vpc: aws.String("vpc-other")}))(t)
	second := s.NamespaceOf(made.OperationId)
	harness.WantLine(t, s.RunCommand("status"),
		`^warning: namespace shop \(`+second+`\) has the same name and clients as the older ns-`)
	if tasks := s.Tasks("cart", ecstypes.DesiredStatusRunning); len(tasks) != 2 {
		t.Errorf("%d tasks, want 2", len(tasks))
	}
}

// TestStatusCountsInstances checks how `rollcall status` counts instances by their states, and which of many services
// it lists.
func TestStatusCountsInstances(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--runtime", "none")
	ns := s.CreateNamespace("shop")
	cart := s.CreateCloudMapService(ns, "cart", 1)
	for i, init := range []string{"HEALTHY", "HEALTHY", "HEALTHY", "UNHEALTHY"} {
		s.RegisterInstance(*cart.Id, fmt.Sprintf("i-%d", i), map[string]string{
			"AWS_INSTANCE_IPV4": fmt.Sprintf("192.0.2.%d", i+1), "AWS_INIT_HEALTH_STATUS": init,
		})
	}
	harness.Must(s.CloudMap().UpdateInstanceCustomHealthStatus(t.Context(),
		&servicediscovery.UpdateInstanceCustomHealthStatusInput{ServiceId: cart.Id, InstanceId: aws.String("i-0"),
			Status: sdtypes.CustomHealthStatusUnhealthy}))(t)
	const many = 30
	for i := range many {
		s.CreateCloudMapService(ns, fmt.Sprintf("a-%02d", i), 1)
	}
	out := s.RunCommand("status")
	harness.WantLine(t, out, `^us-east-1/shop +DNS_PRIVATE +31 +4 +2 +1 +1 +0 +`+ns+`$`)
	harness.WantLine(t, out, `^  a-18 +0 +0 +0 +0 +0 +srv-`)
	harness.WantLine(t, out, `^  cart +4 +2 +1 +1 +0 +`+*cart.Id+`$`) // listed first because it has unhealthy instances
	harness.WantLine(t, out, `^  and 11 more \(--all\)`)
	if strings.Contains(out, " a-19 ") {
		t.Errorf("status lists more than 20 services:\n%s", out)
	}
	all := s.RunCommand("status", "--all")
	harness.WantLine(t, all, `^  a-29 +0 `)
	if strings.Contains(all, " more (") {
		t.Errorf("--all leaves out services:\n%s", all)
	}
}
