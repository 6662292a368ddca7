package promises

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/bakingclouds/rollcall/internal/dns/dnstest"
	"github.com/bakingclouds/rollcall/test/harness"
)

// replaceBody returns a function that replaces the body that was signed.
func replaceBody(body string) func(*http.Request) {
	return func(r *http.Request) {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		r.GetBody = nil
	}
}

// TestOnlySignedCalls makes calls whose signature is missing, wrong, of another request or of another time. The API
// must reject them, and nothing may change, not even a row that no list shows.
func TestOnlySignedCalls(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--runtime", "none")
	cart := s.CreateCloudMapService(s.CreateNamespace("shop"), "cart", 1)
	harness.Must(s.CloudMap().RegisterInstance(t.Context(), harness.Registration(*cart.Id, "one", "10.0.0.1")))(t)

	writes := []harness.Call{
		{Operation: "CreateHttpNamespace", Body: `{"Name":"stolen"}`},
		{Operation: "DeregisterInstance", Body: fmt.Sprintf(`{"ServiceId":%q,"InstanceId":"one"}`, *cart.Id)},
		{Operation: "DeleteService", Body: fmt.Sprintf(`{"Id":%q}`, *cart.Id)},
		{Operation: "CreateCluster", ECS: true, Body: `{"clusterName":"stolen"}`},
		{Operation: "RegisterTaskDefinition", ECS: true,
			Body: `{"family":"stolen","containerDefinitions":[{"name":"main","image":"none","memory":64}]}`},
	}
	faults := []struct {
		name, code string
		do         func(*harness.Call)
	}{
		{"unsigned", "MissingAuthenticationTokenException", func(c *harness.Call) { c.Unsigned = true }},
		{"an unknown key", "UnrecognizedClientException", func(c *harness.Call) {
			c.Key = aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: s.Keys.Secret}
		}},
		{"a wrong secret", "InvalidSignatureException", func(c *harness.Call) {
			c.Key = aws.Credentials{AccessKeyID: s.Keys.AccessKeyID, SecretAccessKey: s.Keys.Secret + "x"}
		}},
		{"an invented session token", "UnrecognizedClientException", func(c *harness.Call) {
			c.Key = aws.Credentials{AccessKeyID: s.Keys.AccessKeyID, SecretAccessKey: s.Keys.Secret,
				SessionToken: "invented"}
		}},
		{"expired", "InvalidSignatureException", func(c *harness.Call) { c.At = time.Now().Add(-6 * time.Minute) }},
		{"from the future", "InvalidSignatureException",
			func(c *harness.Call) { c.At = time.Now().Add(6 * time.Minute) }},
		{"for another service", "InvalidSignatureException", func(c *harness.Call) { c.Service = "s3" }},
		{"with another body", "InvalidSignatureException",
			func(c *harness.Call) { c.Tamper = replaceBody(strings.Replace(c.Body, `"}`, `" }`, 1) + " ") }},
		{"with a declared hash of another body", "InvalidSignatureException", func(c *harness.Call) {
			c.Tamper = func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD") }
		}},
		{"with another target", "InvalidSignatureException", func(c *harness.Call) {
			wanted := c.Operation
			c.Operation = "ListTagsForResource"
			c.Tamper = func(r *http.Request) {
				r.Header.Set("X-Amz-Target", strings.Replace(r.Header.Get("X-Amz-Target"), c.Operation, wanted, 1))
			}
		}},
		{"with the host of another server", "InvalidSignatureException", func(c *harness.Call) {
			c.Tamper = func(r *http.Request) { r.Host = "ecs.us-east-1.amazonaws.com" }
		}},
	}
	before := s.Contents()
	for _, fault := range faults {
		for _, write := range writes {
			operation := write.Operation
			fault.do(&write)
			got, err := s.Send(write)
			if err != nil || got.Status < 400 || got.Status >= 500 || got.Code != fault.code {
				t.Errorf("%s, %s: %+v, %v; want an error with the code %s", operation, fault.name, got, err, fault.code)
			}
		}
	}
	if after := s.Contents(); after != before {
		t.Errorf("rejected calls changed the state to\n%s\nfrom\n%s", after, before)
	}
	// The same calls with a correct signature succeed, so the signature was the reason.
	for _, write := range writes {
		if got, err := s.Send(write); got.Status != http.StatusOK {
			t.Errorf("%s, signed: %+v, %v", write.Operation, got, err)
		}
	}
}

// TestPrivateNamespaces checks that a private namespace is answered only in the networks of its VPC. It runs in a new
// network namespace, whose one interface has an address in each of the networks.
func TestPrivateNamespaces(t *testing.T) {
	t.Parallel()
	if !harness.InNamespaces(t, unix.CLONE_NEWNET) {
		return
	}
	bringUp(t, "lo", "127.0.0.1")
	for n, address := range []string{"10.1.0.1", "10.2.0.1", "10.3.0.1"} {
		bringUp(t, fmt.Sprintf("lo:%d", n+1), address)
	}
	// the upstream resolver has none of the names
	upstream := dnstest.NewUpstream(t, dnstest.Answer(dns.RcodeNameError))
	s := harness.Serve(t, "--runtime", "none", "--dns", "0.0.0.0:0", "--upstream", upstream.Addr.String(),
		"--vpc", "vpc-a=10.1.0.0/16,subnet-a", "--vpc", "vpc-b=10.2.0.0/16,subnet-b")
	s.Info.DNS = s.Info.DNS[len(s.Info.DNS)-1:] // Serve sets --dns too; this test uses its own, the second
	for name, address := range map[string]string{"vpc-a": "10.1.9.9", "vpc-b": "10.2.9.9"} {
		cart := s.CreateCloudMapService(s.CreateNamespaceIn("shop", name), "cart", 1)
		harness.Must(s.CloudMap().RegisterInstance(t.Context(), harness.Registration(*cart.Id, "one", address)))(t)
	}
	undeclared := harness.Must(s.CloudMap().CreatePrivateDnsNamespace(t.Context(),
		&sd.CreatePrivateDnsNamespaceInput{Name: aws.String("shop"), Vpc: aws.String("vpc-c")}))(t)
	op := harness.Must(s.CloudMap().GetOperation(t.Context(),
		&sd.GetOperationInput{OperationId: undeclared.OperationId}))(t).Operation
	if aws.ToString(op.ErrorCode) != "CANNOT_CREATE_HOSTED_ZONE" ||
		!strings.Contains(aws.ToString(op.ErrorMessage), "InvalidVPCId") {
		t.Errorf("the operation that creates a namespace in a VPC without --vpc: %s", harness.AsJSON(op))
	}
	public := harness.Must(s.CloudMap().CreatePublicDnsNamespace(t.Context(),
		&sd.CreatePublicDnsNamespaceInput{Name: aws.String("open.example")}))(t)
	cart := s.CreateCloudMapService(s.NamespaceOf(public.OperationId), "cart", 1)
	harness.Must(s.CloudMap().RegisterInstance(t.Context(), harness.Registration(*cart.Id, "one", "10.4.9.9")))(t)

	for _, tc := range []struct {
		client, to, name string
		want             string
	}{
		{"10.1.0.1", "10.1.0.1", "cart.shop.", "NOERROR 10.1.9.9"},
		{"10.2.0.1", "10.2.0.1", "cart.shop.", "NOERROR 10.2.9.9"},
		{"10.2.0.1", "10.1.0.1", "cart.shop.", "NOERROR 10.2.9.9"}, // the client's address counts, not the server's
		{"127.0.0.1", "127.0.0.1", "cart.shop.", "NOERROR 10.1.9.9"},
		{"127.0.0.2", "127.0.0.1", "CART.shop.", "NOERROR 10.1.9.9"}, // loopback belongs to the first VPC
		{"10.3.0.1", "10.3.0.1", "cart.shop.", "REFUSED"},            // an address in no VPC
		{"10.3.0.1", "10.1.0.1", "cart.shop.", "REFUSED"},
		{"10.3.0.1", "10.1.0.1", "shop.", "REFUSED"}, // the answer must not reveal that the name exists
		{"10.3.0.1", "10.1.0.1", "nothing.shop.", "REFUSED"},
		{"10.3.0.1", "10.1.0.1", "one.cart.shop.", "REFUSED"},
		// a client that is not local must not use the upstream resolver
		{"10.1.0.1", "10.1.0.1", "other.name.", "REFUSED"},
		{"127.0.0.1", "127.0.0.1", "other.name.", "NXDOMAIN"},
		{"10.1.0.1", "10.1.0.1", "cart.open.example.", "NOERROR 10.4.9.9"},
		{"10.3.0.1", "10.3.0.1", "cart.open.example.", "NOERROR 10.4.9.9"},
	} {
		for _, network := range []string{"udp", "tcp"} {
			if got := queryFrom(s, network, tc.client, tc.to, tc.name); got != tc.want {
				t.Errorf("%s queries %s over %s for %s: %s, want %s", tc.client, tc.to, network, tc.name, got, tc.want)
			}
		}
	}
	// over UDP and TCP; the second answer may come from the cache
	if asked := upstream.Received(); asked != 2 && asked != 1 {
		t.Errorf("the upstream resolver received %d queries, want only those for the public name", asked)
	}
}

// bringUp sets the address of an interface, or of an alias of one, and brings it up (netdevice(7)).
func bringUp(t *testing.T, name, address string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	ip := netip.MustParseAddr(address).As4()
	for _, step := range []struct {
		request uint
		set     func(*unix.Ifreq) error
	}{
		{unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(ip[:]) }},
		{unix.SIOCSIFFLAGS,
			func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_LOOPBACK | unix.IFF_RUNNING); return nil }},
	} {
		request, err := unix.NewIfreq(name)
		if err == nil {
			err = step.set(request)
		}
		if err == nil {
			err = unix.IoctlIfreq(fd, step.request, request)
		}
		if err != nil {
			t.Fatalf("set the address of %s to %s: %v", name, address, err)
		}
	}
}

// queryFrom sends a query from one address to another and returns the code and the addresses of the answer as text.
func queryFrom(s *harness.Server, network, from, to, name string) string {
	port := harness.Must(netip.ParseAddrPort(s.Info.DNS[0]))(s.T).Port()
	dialer := &net.Dialer{Timeout: 20 * time.Second, LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}
	if network == "tcp" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	client := dns.Client{Net: network, Dialer: dialer, Timeout: 20 * time.Second}
	reply, _, err := client.Exchange(new(dns.Msg).SetQuestion(name, dns.TypeA), fmt.Sprintf("%s:%d", to, port))
	if err != nil {
		return err.Error()
	}
	text := dns.RcodeToString[reply.Rcode]
	for _, rr := range reply.Answer {
		if a, ok := rr.(*dns.A); ok {
			text += " " + a.A.String()
		}
	}
	return text
}
