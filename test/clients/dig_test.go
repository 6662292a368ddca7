package clients

import (
	"fmt"
	"net"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"

	"github.com/bakingclouds/rollcall/test/harness"
)

// runDig queries the server with dig. The words are dig's arguments.
func runDig(s *harness.Server, words string) string {
	s.T.Helper()
	host, port, err := net.SplitHostPort(s.Info.DNS[0])
	if err != nil {
		s.T.Fatal(err)
	}
	// +noidnin sends a name as it is written; -r ignores ~/.digrc.
	args := append([]string{"-r", "@" + host, "-p", port, "+tries=1", "+time=10", "+noidnin", "+noidnout"},
		strings.Fields(words)...)
	out, err := exec.CommandContext(s.T.Context(), "dig", args...).CombinedOutput()
	if err != nil {
		s.T.Fatalf("dig %s: %v\n%s", words, err, out)
	}
	return string(out)
}

// registerInstances registers n instances: id-1, id-2, …
func registerInstances(s *harness.Server, service *sdtypes.Service, n int, id string,
	attributes func(i int) map[string]string) {
	s.T.Helper()
	for i := range n {
		harness.Must(s.CloudMap().RegisterInstance(s.T.Context(), &servicediscovery.RegisterInstanceInput{
			ServiceId: service.Id, InstanceId: aws.String(fmt.Sprintf("%s-%d", id, i+1)), Attributes: attributes(i + 1),
		}))(s.T)
	}
}

// createDNSService creates a Cloud Map service without a health check.
func createDNSService(s *harness.Server, namespace, name string, policy sdtypes.RoutingPolicy,
	types ...sdtypes.RecordType) *sdtypes.Service {
	s.T.Helper()
	in := &servicediscovery.CreateServiceInput{Name: &name, NamespaceId: &namespace,
		DnsConfig: &sdtypes.DnsConfig{RoutingPolicy: policy}}
	for _, typ := range types {
		in.DnsConfig.DnsRecords = append(in.DnsConfig.DnsRecords, sdtypes.DnsRecord{Type: typ, TTL: aws.Int64(10)})
	}
	return harness.Must(s.CloudMap().CreateService(s.T.Context(), in))(s.T).Service
}

// serveDigNames starts a server with services for each kind of answer.
func serveDigNames(t *testing.T) *harness.Server {
	t.Helper()
	s := harness.Serve(t, "--runtime", "none")
	ns := s.CreateNamespace("corp")
	v4 := func(i int) map[string]string {
		return map[string]string{"AWS_INSTANCE_IPV4": fmt.Sprintf("10.0.0.%d", i)}
	}
	registerInstances(s, createDNSService(s, ns, "worker", sdtypes.RoutingPolicyMultivalue, sdtypes.RecordTypeA), 2,
		"i", v4)
	registerInstances(s, createDNSService(s, ns, "one", sdtypes.RoutingPolicyWeighted, sdtypes.RecordTypeA), 3, "i", v4)
	v6 := func(int) map[string]string { return map[string]string{"AWS_INSTANCE_IPV6": "2001:db8::7"} }
	registerInstances(s, createDNSService(s, ns, "six", sdtypes.RoutingPolicyMultivalue, sdtypes.RecordTypeAaaa), 1,
		"i", v6)
	cname := func(int) map[string]string { return map[string]string{"AWS_INSTANCE_CNAME": "worker.corp"} }
	registerInstances(s, createDNSService(s, ns, "alias", sdtypes.RoutingPolicyWeighted, sdtypes.RecordTypeCname), 1,
		"i", cname)
	// Eight SRV records with their addresses are more than 512 octets, and fewer than 1232.
	port := func(i int) map[string]string {
		return map[string]string{"AWS_INSTANCE_IPV4": fmt.Sprintf("10.0.1.%d", i), "AWS_INSTANCE_PORT": "8080"}
	}
	registerInstances(s, createDNSService(s, ns, "api", sdtypes.RoutingPolicyMultivalue, sdtypes.RecordTypeA,
		sdtypes.RecordTypeSrv), 8, "i", port)
	// With ids this long, the SRV records alone exceed 512 octets.
	registerInstances(s, createDNSService(s, ns, "long", sdtypes.RoutingPolicyMultivalue, sdtypes.RecordTypeA,
		sdtypes.RecordTypeSrv), 8, strings.Repeat("i", 45), port)
	createDNSService(s, ns, "empty", sdtypes.RoutingPolicyMultivalue, sdtypes.RecordTypeA)
	return s
}

// TestDig queries the server with dig's options.
func TestDig(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("dig"); err != nil {
		harness.SkipMissing(t, "dig")
	}
	s := serveDigNames(t)

	const (
		noerror       = `status: NOERROR`
		authoritative = `flags: qr aa rd ra; QUERY: 1`
		negative      = `(?m)^corp\.\s+\d+\s+IN\s+SOA\s`
	)
	a := func(name string, ip string) string {
		return `(?m)^` + regexp.QuoteMeta(name) + `\s+10\s+IN\s+A\s+` + ip + `$`
	}
	for _, tc := range []struct {
		words string
		want  []string // patterns
		not   []string
	}{
		{"worker.corp", []string{noerror, authoritative, "ANSWER: 2,", a("worker.corp.", `10\.0\.0\.1`),
			a("worker.corp.", `10\.0\.0\.2`), `\(UDP\)`}, nil},
		{"worker.corp A +tcp", []string{noerror, authoritative, "ANSWER: 2,", `\(TCP\)`}, nil},
		{"worker.corp A +noedns", []string{noerror, "ANSWER: 2,", "ADDITIONAL: 0"}, []string{"OPT PSEUDOSECTION"}},
		{"worker.corp A +edns=0 +bufsize=4096", []string{noerror, `EDNS: version: 0, flags:; udp: 1232`,
			"COOKIE: [0-9a-f]{48} .good."}, nil},
		{"worker.corp A +edns=1 +noednsneg", []string{"status: BADVERS"}, nil},
		{"worker.corp A +dnssec +nocookie", []string{noerror, "ANSWER: 2,"}, []string{"RRSIG", "COOKIE"}},
		{"worker.corp A +norecurse", []string{noerror, `flags: qr aa ra; QUERY: 1`, "ANSWER: 2,"}, nil},
		{"worker.corp A +short", []string{`(?m)^10\.0\.0\.1$`, `(?m)^10\.0\.0\.2$`}, nil},
		{"WoRkEr.CoRp", []string{noerror, a("WoRkEr.CoRp.", `10\.0\.0\.1`)}, nil},
		{"one.corp", []string{noerror, "ANSWER: 1,", a("one.corp.", `10\.0\.0\.[123]`)}, nil},
		{"six.corp AAAA", []string{noerror, `(?m)^six\.corp\.\s+10\s+IN\s+AAAA\s+2001:db8::7$`}, nil},
		{"alias.corp", []string{noerror, "ANSWER: 3,", `(?m)^alias\.corp\.\s+10\s+IN\s+CNAME\s+worker\.corp\.$`,
			a("worker.corp.", `10\.0\.0\.1`)}, nil},
		{"worker.corp TXT", []string{noerror, authoritative, "ANSWER: 0,", "AUTHORITY: 1,", negative}, nil},
		{"worker.corp AAAA", []string{noerror, "ANSWER: 0,", negative}, nil},
		{"empty.corp", []string{noerror, "ANSWER: 0,", negative}, nil},
		{"missing.corp", []string{"status: NXDOMAIN", authoritative, "ANSWER: 0,", "AUTHORITY: 1,", negative}, nil},
		{"missing.corp TXT +tcp", []string{"status: NXDOMAIN", negative}, nil},
		{"corp SOA", []string{noerror, `(?m)^corp\.\s+\d+\s+IN\s+SOA\s+ns\.rollcall\.invalid\.`}, nil},
		{"corp NS", []string{noerror, `(?m)^corp\.\s+\d+\s+IN\s+NS\s+ns\.rollcall\.invalid\.$`}, nil},
		{"worker.corp ANY", []string{noerror, `(?m)^worker\.corp\.\s+\d+\s+IN\s+HINFO\s+"RFC8482" ""$`}, nil},
		{"worker.corp CH TXT", []string{"status: REFUSED"}, nil},
		{"corp AXFR +onesoa", []string{"Transfer failed"}, nil},
		{"api.corp SRV",
			[]string{noerror, "ANSWER: 8,", `(?m)^api\.corp\.\s+10\s+IN\s+SRV\s+1 1 8080 i-1\.api\.corp\.$`,
				a("i-1.api.corp.", `10\.0\.1\.1`), `\(UDP\)`}, nil},
		{"i-3.api.corp A +short", []string{`^10\.0\.1\.3\n$`}, nil},
		// Without EDNS the server leaves out the addresses of the targets. If the answer itself does not fit, dig
		// repeats the query over TCP.
		{"api.corp SRV +noedns +ignore", []string{noerror, "ANSWER: 8,", `\(UDP\)`}, []string{"flags: qr aa tc"}},
		{"api.corp SRV +bufsize=512", []string{noerror, "ANSWER: 8,"}, nil},
		{"long.corp SRV +noedns", []string{"Truncated, retrying in TCP mode", noerror, "ANSWER: 8,", `\(TCP\)`}, nil},
		{"long.corp SRV +noedns +ignore", []string{noerror, "flags: qr aa tc", "ANSWER: [1-7],", `\(UDP\)`}, nil},
		{"long.corp SRV", []string{noerror, "ANSWER: 8,", `\(UDP\)`}, []string{"flags: qr aa tc"}},
	} {
		out := runDig(s, tc.words)
		for _, want := range tc.want {
			if !regexp.MustCompile(want).MatchString(out) {
				t.Errorf("dig %s: no line matches %s:\n%s", tc.words, want, out)
			}
		}
		for _, not := range tc.not {
			if regexp.MustCompile(not).MatchString(out) {
				t.Errorf("dig %s: a line matches %s:\n%s", tc.words, not, out)
			}
		}
	}
}
