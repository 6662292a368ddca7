package cloudmap_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
	"github.com/miekg/dns"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/dns/answer"
	"github.com/bakingclouds/rollcall/internal/dns/server"
	"github.com/bakingclouds/rollcall/internal/registry"
)

// FuzzNames registers instances under arbitrary names. If the API accepts the names, a resolver finds them: the SRV
// record at the service's name leads to a host name with the instance's address, and a CNAME record leads to the
// registered target. If the API rejects a name, it returns an error code and leaves nothing behind.
func FuzzNames(f *testing.F) {
	long := strings.Repeat("l", 63)
	for _, seed := range [][4]string{
		{"corp", "cart", "i-1", "www.example.com"},
		{"Corp.Example.", "_http._tcp", "10.0.0.1", "WWW.example."},
		{"a", ".", "x:y@z/1", "a"},
		{"sh_op!\"#$%&'()*+,-/:;<=>?@[]^`{|}~", "a.b", "A.b", "sh;op\"(@).example"},
		{`a\b`, "a", "a", `a\b.example`}, {`a\046b`, "a", "a", `a\.b`}, {`a\.b`, "a", "a", "a..b"},
		{"*.corp", "a", "a", "*.example"},
		{strings.Repeat(long+".", 3) + long[:53], "a", "i", long + ".example"},
		{strings.Repeat(long+".", 3) + long[:59], ".", "i", strings.Repeat(long+".", 3) + long[:61]},
		{"corp", long + "." + long[:60], long, "a b.example"}, {"corp", "i.cart", "..", ""}, {"..", "a", "a", "."},
		{"cart.corp", "alias", "alias", "alias.cart.corp"}, {"cor\x00p", "ca\nrt", "i ", "\u00e4.example"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	w := newWorld(f)
	srv := server.New(server.Config{Authority: &answer.Authority{Directory: w.dir}})
	f.Cleanup(srv.Shutdown)
	at, err := srv.Listen("127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, zone, name, id, target string) {
		w.t = t
		n := names{w, at}
		out, err := w.CreatePrivateDnsNamespace(t.Context(),
			&sd.CreatePrivateDnsNamespaceInput{Name: &zone, Vpc: s("vpc-1")})
		if n.rejected(err) || n.failed(out.OperationId) {
			n.nothingLeft()
			return
		}
		ns := w.operation(out.OperationId).Targets["NAMESPACE"]
		n.srv(ns, zone, name, id)
		n.alias(ns, zone, name, id, target)
		w.operation(apitest.Must(w.DeleteNamespace(t.Context(), &sd.DeleteNamespaceInput{Id: &ns}))(t).OperationId)
		n.nothingLeft()
	})
}

// names is a world with a DNS server that looks up its names.
type names struct {
	*world
	at netip.AddrPort
}

// rejected reports whether err is not nil. It fails the test if the error is not about the input.
func (n names) rejected(err error) bool {
	n.t.Helper()
	if err != nil && apitest.ErrorCode(err) != "InvalidInput" && apitest.ErrorCode(err) != "SerializationException" {
		n.t.Fatal(err)
	}
	return err != nil
}

// failed reports whether an operation has failed. It fails the test if the operation's code is not about a name.
func (n names) failed(operation *string) bool {
	n.t.Helper()
	op := apitest.Must(n.GetOperation(n.t.Context(), &sd.GetOperationInput{OperationId: operation}))(n.t).Operation
	if c := aws.ToString(op.ErrorCode); c != "" && c != "CANNOT_CREATE_HOSTED_ZONE" && c != "INVALID_CHANGE_BATCH" {
		n.t.Fatalf("%s: %s", c, aws.ToString(op.ErrorMessage))
	}
	return op.Status != types.OperationStatusSuccess
}

func (n names) nothingLeft() {
	n.t.Helper()
	out := apitest.Must(n.ListNamespaces(n.t.Context(), &sd.ListNamespacesInput{}))(n.t)
	if len(out.Namespaces) > 0 {
		n.t.Fatalf("a namespace remains: %q", *out.Namespaces[0].Name)
	}
}

// with creates a service and registers an instance. It calls look if both succeed, then deletes both.
func (n names) with(ns, name, what, id string, attributes map[string]string, look func()) {
	n.t.Helper()
	in := &sd.CreateServiceInput{Name: &name, NamespaceId: &ns}
	shape(in, what)
	made, err := n.CreateService(n.t.Context(), in)
	if n.rejected(err) {
		return
	}
	reg, err := n.RegisterInstance(n.t.Context(), &sd.RegisterInstanceInput{ServiceId: made.Service.Id,
		InstanceId: &id, Attributes: attributes})
	if !n.rejected(err) && !n.failed(reg.OperationId) {
		look()
		n.deregister(*made.Service.Id, id)
	}
	apitest.Must(n.DeleteService(n.t.Context(), &sd.DeleteServiceInput{Id: made.Service.Id}))(n.t)
}

func (n names) srv(ns, zone, name, id string) {
	n.t.Helper()
	n.with(ns, name, "A 10, SRV 20", id, parse("IPV4=10.0.0.1 PORT=80"), func() {
		n.t.Helper()
		full := presentation(name, zone)
		srv, ok := n.one(full, dns.TypeSRV).(*dns.SRV)
		if !ok || srv.Port != 80 || srv.Hdr.Ttl != 20 {
			n.t.Fatalf("SRV of %s: %v", full, srv)
		}
		for _, host := range []string{full, srv.Target, presentation(id, name, zone)} {
			if a, ok := n.one(host, dns.TypeA).(*dns.A); !ok || a.A.String() != "10.0.0.1" {
				n.t.Fatalf("A of %s: %v", host, a)
			}
		}
	})
}

func (n names) alias(ns, zone, name, id, target string) {
	n.t.Helper()
	n.with(ns, name, "CNAME 30, weighted", id, map[string]string{registry.AttrCNAME: target}, func() {
		n.t.Helper()
		full := presentation(name, zone)
		cname, ok := n.one(full, dns.TypeCNAME).(*dns.CNAME)
		if !ok || cname.Target != presentation(target) {
			n.t.Fatalf("CNAME of %s: %v, want %s", full, cname, presentation(target))
		}
	})
}

// presentation joins names as the API has them to a name as the DNS library prints it: fully qualified, with the
// characters escaped that have a meaning in zone files.
func presentation(parts ...string) string {
	var wire []byte
	for _, part := range parts {
		for label := range strings.SplitSeq(strings.TrimSuffix(part, "."), ".") {
			if label != "" {
				wire = append(append(wire, byte(len(label))), label...)
			}
		}
	}
	name, _, err := dns.UnpackDomainName(append(wire, 0), 0)
	if err != nil {
		return err.Error()
	}
	return name
}

// one returns the only record of a response.
func (n names) one(name string, typ uint16) dns.RR {
	n.t.Helper()
	q := new(dns.Msg).SetQuestion(name, typ).SetEdns0(1232, false)
	reply, _, err := (&dns.Client{}).ExchangeContext(n.t.Context(), q, n.at.String())
	if err == nil && reply.Truncated {
		reply, _, err = (&dns.Client{Net: "tcp"}).ExchangeContext(n.t.Context(), q, n.at.String())
	}
	if err != nil {
		n.t.Fatalf("%s %s: %v", name, dns.TypeToString[typ], err)
	}
	if len(reply.Answer) != 1 || reply.Answer[0].Header().Name != name || !reply.Authoritative {
		n.t.Fatalf("%s %s: want exactly one record in\n%v", name, dns.TypeToString[typ], reply)
	}
	return reply.Answer[0]
}
