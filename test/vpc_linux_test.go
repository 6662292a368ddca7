package test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/bakingclouds/rollcall/internal/dns/dnstest"
)

// TestPrivateNamespaces holds that a private namespace answers the networks of its VPC and nobody else. It runs in a
// network namespace of its own, whose one interface has an address in each of the networks.
func TestPrivateNamespaces(t *testing.T) {
	t.Parallel()
	if !inNamespaces(t, unix.CLONE_NEWNET) {
		return
	}
	bringUp(t, "lo", "127.0.0.1")
	for n, address := range []string{"10.1.0.1", "10.2.0.1", "10.3.0.1"} {
		bringUp(t, fmt.Sprintf("lo:%d", n+1), address)
	}
	elsewhere := dnstest.NewUpstream(t, dnstest.Answer(dns.RcodeNameError)) // the host's resolver knows none of them
	s := serve(t, "--runtime", "none", "--dns", "0.0.0.0:0", "--upstream", elsewhere.Addr.String(),
		"--vpc", "vpc-a=10.1.0.0/16,subnet-a", "--vpc", "vpc-b=10.2.0.0/16,subnet-b")
	s.Info.DNS = s.Info.DNS[len(s.Info.DNS)-1:] // of the two --dns the second
	for name, address := range map[string]string{"vpc-a": "10.1.9.9", "vpc-b": "10.2.9.9"} {
		cart := s.Discovery(s.NamespaceIn("shop", name), "cart", 1)
		must[*sd.RegisterInstanceOutput](t)(s.CloudMap().RegisterInstance(t.Context(), registration(*cart.Id, "one", address)))
	}
	lost := must[*sd.CreatePrivateDnsNamespaceOutput](t)(s.CloudMap().CreatePrivateDnsNamespace(t.Context(),
		&sd.CreatePrivateDnsNamespaceInput{Name: aws.String("shop"), Vpc: aws.String("vpc-c")}))
	op := must[*sd.GetOperationOutput](t)(s.CloudMap().GetOperation(t.Context(), &sd.GetOperationInput{OperationId: lost.OperationId})).Operation
	if aws.ToString(op.ErrorCode) != "CANNOT_CREATE_HOSTED_ZONE" || !strings.Contains(aws.ToString(op.ErrorMessage), "InvalidVPCId") {
		t.Errorf("a namespace in a VPC that is not declared: %s", asJSON(op))
	}
	public := must[*sd.CreatePublicDnsNamespaceOutput](t)(s.CloudMap().CreatePublicDnsNamespace(t.Context(), &sd.CreatePublicDnsNamespaceInput{Name: aws.String("open.example")}))
	cart := s.Discovery(s.OperationTarget(public.OperationId), "cart", 1)
	must[*sd.RegisterInstanceOutput](t)(s.CloudMap().RegisterInstance(t.Context(), registration(*cart.Id, "one", "10.4.9.9")))

	for _, tc := range []struct {
		client, to, name string
		want             string
	}{
		{"10.1.0.1", "10.1.0.1", "cart.shop.", "NOERROR 10.1.9.9"},
		{"10.2.0.1", "10.2.0.1", "cart.shop.", "NOERROR 10.2.9.9"},
		{"10.2.0.1", "10.1.0.1", "cart.shop.", "NOERROR 10.2.9.9"}, // whichever address it asks
		{"127.0.0.1", "127.0.0.1", "cart.shop.", "NOERROR 10.1.9.9"},
		{"127.0.0.2", "127.0.0.1", "CART.shop.", "NOERROR 10.1.9.9"}, // loopback belongs to the first
		{"10.3.0.1", "10.3.0.1", "cart.shop.", "REFUSED"},            // it is in no VPC
		{"10.3.0.1", "10.1.0.1", "cart.shop.", "REFUSED"},
		{"10.3.0.1", "10.1.0.1", "shop.", "REFUSED"}, // not even that it exists
		{"10.3.0.1", "10.1.0.1", "nothing.shop.", "REFUSED"},
		{"10.3.0.1", "10.1.0.1", "one.cart.shop.", "REFUSED"},
		{"10.1.0.1", "10.1.0.1", "other.name.", "REFUSED"}, // nor is anything resolved for strangers
		{"127.0.0.1", "127.0.0.1", "other.name.", "NXDOMAIN"},
		{"10.1.0.1", "10.1.0.1", "cart.open.example.", "NOERROR 10.4.9.9"},
		{"10.3.0.1", "10.3.0.1", "cart.open.example.", "NOERROR 10.4.9.9"},
	} {
		for _, network := range []string{"udp", "tcp"} {
			if got := s.askFrom(network, tc.client, tc.to, tc.name); got != tc.want {
				t.Errorf("%s asks %s over %s for %s: %s, want %s", tc.client, tc.to, network, tc.name, got, tc.want)
			}
		}
	}
	if asked := elsewhere.Asked(); asked != 2 && asked != 1 { // the second may come from the cache
		t.Errorf("the host's resolver was asked %d times; private names are none of its business", asked)
	}
}

// bringUp gives an interface, or an alias of one, an address of its own (netdevice(7)).
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
		{unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_LOOPBACK | unix.IFF_RUNNING); return nil }},
	} {
		request, err := unix.NewIfreq(name)
		if err == nil {
			err = step.set(request)
		}
		if err == nil {
			err = unix.IoctlIfreq(fd, step.request, request)
		}
		if err != nil {
			t.Fatalf("give %s the address %s: %v", name, address, err)
		}
	}
}

// askFrom sends one question from one address to another and returns the answer's code and address.
func (s *server) askFrom(network, from, to, name string) string {
	port := must[netip.AddrPort](s.T)(netip.ParseAddrPort(s.Info.DNS[0])).Port()
	dialer := &net.Dialer{Timeout: 2 * time.Second, LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}
	if network == "tcp" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	client := dns.Client{Net: network, Dialer: dialer, Timeout: 2 * time.Second}
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
