package clients

import (
	"context"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/bakingclouds/rollcall/test/harness"
	"github.com/bakingclouds/rollcall/test/harness/source"
)

// codeOf returns the only block of a language in docs/clients.md.
func codeOf(t *testing.T, language string) string {
	t.Helper()
	text, _ := source.ReadText(t, "docs/clients.md")
	blocks := regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(text, -1)
	if len(blocks) != 1 {
		t.Fatalf("docs/clients.md has %d blocks of %s, want 1", len(blocks), language)
	}
	return blocks[0][1]
}

// serveCart starts a server with one instance of cart.shop, and returns it with the environment that `rollcall env`
// prints.
func serveCart(t *testing.T) (s *harness.Server, environ []string) {
	t.Helper()
	s = harness.Serve(t, "--runtime", "none")
	cart := createDNSService(s, s.CreateNamespace("shop"), "cart", sdtypes.RoutingPolicyMultivalue, sdtypes.RecordTypeA)
	registerInstances(s, cart, 1, "i", func(int) map[string]string {
		return map[string]string{
			"AWS_INSTANCE_IPV4": "10.0.0.1"}
	})
	cmd := exec.Command("sh", "-c", `eval "$("$0" env --data "$1")" && env`, harness.TestBinary(t), s.Dir)
	cmd.Env = harness.UserEnviron(harness.RunAsCommand + "=1")
	return s, strings.Split(strings.TrimSpace(string(harness.Must(cmd.Output())(t))), "\n")
}

var findCart = &servicediscovery.DiscoverInstancesInput{NamespaceName: aws.String("shop"),
	ServiceName: aws.String("cart")}

// TestDocumentedGoClient uses the Go client in docs/clients.md with the environment that `rollcall env` prints. It is
// not parallel, because it sets the environment of this process.
func TestDocumentedGoClient(t *testing.T) {
	code, _ := source.ReadText(t, "test/harness/cloudmap.go")
	if !strings.Contains(code, codeOf(t, "go")) {
		t.Error("the code in docs/clients.md differs from test/harness/cloudmap.go")
	}
	_, environ := serveCart(t)
	for _, kv := range environ {
		if name, value, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, value)
		}
	}
	client := harness.Must(harness.NewCloudMap(t.Context()))(t)
	found := harness.Must(client.DiscoverInstances(t.Context(), findCart))(t)
	if len(found.Instances) != 1 || found.Instances[0].Attributes["AWS_INSTANCE_IPV4"] != "10.0.0.1" {
		t.Errorf("DiscoverInstances returns %s", harness.AsJSON(found.Instances))
	}
}

// TestHostPrefix uses a client without Rollcall's settings in a network where both host names resolve to the server.
// The SDK then calls data-…, and must get an answer.
func TestHostPrefix(t *testing.T) {
	t.Parallel()
	s, _ := serveCart(t)
	var mu sync.Mutex
	hosts := map[string]bool{}
	names := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		mu.Lock()
		hosts[address] = true
		mu.Unlock()
		return (&net.Dialer{}).DialContext(ctx, network, strings.TrimPrefix(s.Info.API, "http://"))
	}}
	defer names.CloseIdleConnections()
	cfg := s.AWSConfig()
	cfg.BaseEndpoint = aws.String("http://rollcall.example:7070")
	cfg.HTTPClient = &http.Client{Transport: names}
	client := servicediscovery.NewFromConfig(cfg)
	harness.Must(client.ListNamespaces(t.Context(), &servicediscovery.ListNamespacesInput{}))(t)
	found := harness.Must(client.DiscoverInstances(t.Context(), findCart))(t)
	if len(found.Instances) != 1 {
		t.Errorf("DiscoverInstances returns %s", harness.AsJSON(found.Instances))
	}
	if len(hosts) != 2 || !hosts["rollcall.example:7070"] || !hosts["data-rollcall.example:7070"] {
		t.Errorf("the SDK called %v, want both host names", hosts)
	}
}

// TestCallerIdentity calls GetCallerIdentity, which many tools do first.
func TestCallerIdentity(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--runtime", "none", "--account", "123456789012")
	who := harness.Must(s.STS().GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}))(t)
	if aws.ToString(who.Account) != "123456789012" || aws.ToString(who.Arn) != "arn:aws:iam::123456789012:root" {
		t.Errorf("GetCallerIdentity returns %s", harness.AsJSON(who))
	}
}
