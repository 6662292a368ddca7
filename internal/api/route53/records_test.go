package route53_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	r53 "github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
)

// everything is a zone with all kinds of records.
const everything = `
zone Shop.Local vpc-1 eu-west-1
web A 60 custom
  b IPV4=10.0.0.2 unhealthy
  a IPV4=10.0.0.1
  c IPV4=10.0.0.3 draining
  d IPV4=10.0.0.4 unready
both A 60 AAAA 30
  i-1 IPV4=10.0.1.1 IPV6=2001:DB8::1
  i-2 IPV4=10.0.1.2 IPV6=2001:db8::2
one A 0 weighted
  x IPV4=10.0.2.1
  y IPV4=10.0.2.2
away CNAME 60 weighted custom
  main CNAME=Origin.example.com
api A 30 SRV 60 custom
  i-1 IPV4=10.0.3.1 PORT=8080
  i-2 IPV4=10.0.3.2 IPV6=2001:db8::2 PORT=8081
  I/3:x@y IPV4=10.0.3.3 PORT=8082
  10.0.3.4 IPV4=10.0.3.4 PORT=8083
  gone IPV4=10.0.3.5 PORT=8084 draining
v1.api A 30
  i-1 IPV4=10.0.4.1
a-api A 30
  i-1 IPV4=10.0.5.1
_http._tcp SRV 5
  six IPV6=2001:db8::6 PORT=80
empty A 60
quiet api
  i-1 IPV4=10.0.6.1
. A 15
  top IPV4=10.0.7.1
zone other.local vpc-1 eu-west-1
web A 60
  elsewhere IPV4=10.9.9.9
`

// TestRecordSets lists a whole zone.
func TestRecordSets(t *testing.T) {
	w := newWorld(t, everything)
	sets := w.list("Shop.Local", 300, nil)
	same(t, "the zone", lines(sets), `
		shop.local. 15 A 10.0.7.1 id=top multivalue
		shop.local. 172800 NS ns.rollcall.invalid.
		shop.local. 5 SOA ns.rollcall.invalid. hostmaster.rollcall.invalid. 1 7200 900 1209600 5
		_http._tcp.shop.local. 5 SRV 1 1 80 six._http._tcp.shop.local. id=six multivalue
		six._http._tcp.shop.local. 5 AAAA 2001:db8::6
		a-api.shop.local. 30 A 10.0.5.1 id=i-1 multivalue
		api.shop.local. 30 A 10.0.3.4 id=10.0.3.4 multivalue checked
		api.shop.local. 30 A 10.0.3.3 id=I/3:x@y multivalue checked
		api.shop.local. 30 A 10.0.3.1 id=i-1 multivalue checked
		api.shop.local. 30 A 10.0.3.2 id=i-2 multivalue checked
		api.shop.local. 60 SRV 1 1 8083 10.0.3.4.api.shop.local. id=10.0.3.4 multivalue checked
		api.shop.local. 60 SRV 1 1 8082 i\0573\072x\100y.api.shop.local. id=I/3:x@y multivalue checked
		api.shop.local. 60 SRV 1 1 8080 i-1.api.shop.local. id=i-1 multivalue checked
		api.shop.local. 60 SRV 1 1 8081 i-2.api.shop.local. id=i-2 multivalue checked
		10.0.3.4.api.shop.local. 60 A 10.0.3.4
		i\0573\072x\100y.api.shop.local. 60 A 10.0.3.3
		i-1.api.shop.local. 60 A 10.0.3.1
		i-2.api.shop.local. 60 A 10.0.3.2
		i-2.api.shop.local. 60 AAAA 2001:db8::2
		v1.api.shop.local. 30 A 10.0.4.1 id=i-1 multivalue
		away.shop.local. 60 CNAME Origin.example.com id=main weight=1 checked
		both.shop.local. 60 A 10.0.1.1 id=i-1 multivalue
		both.shop.local. 60 A 10.0.1.2 id=i-2 multivalue
		both.shop.local. 30 AAAA 2001:db8::1 id=i-1 multivalue
		both.shop.local. 30 AAAA 2001:db8::2 id=i-2 multivalue
		one.shop.local. 0 A 10.0.2.1 id=x weight=1
		one.shop.local. 0 A 10.0.2.2 id=y weight=1
		web.shop.local. 60 A 10.0.0.1 id=a multivalue checked
		web.shop.local. 60 A 10.0.0.2 id=b multivalue checked
		web.shop.local. 60 A 10.0.0.4 id=d multivalue checked`)

	zone := apitest.Must(w.GetHostedZone(t.Context(),
		&r53.GetHostedZoneInput{Id: w.zoneID("Shop.Local")}))(t).HostedZone
	if *zone.ResourceRecordSetCount != int64(len(sets)) {
		t.Errorf("ResourceRecordSetCount is %d, but the zone has %d", *zone.ResourceRecordSetCount, len(sets))
	}

	checks := map[string]string{} // one UUID for each instance, the same for all its types and at every call
	for range 2 {
		for _, set := range w.list("Shop.Local", 300, nil) {
			if set.HealthCheckId == nil {
				continue
			}
			instance := *set.Name + *set.SetIdentifier
			if id, ok := checks[instance]; ok && id != *set.HealthCheckId || len(*set.HealthCheckId) != 36 {
				t.Errorf("%s: health check %s, but %s before", instance, *set.HealthCheckId, id)
			}
			checks[instance] = *set.HealthCheckId
		}
	}
}

// TestPages checks that pages of any size together show the same as one page, and each record set once.
func TestPages(t *testing.T) {
	w := newWorld(t, everything)
	want := lines(w.list("Shop.Local", 300, nil))
	for _, max := range []int32{1, 2, 7, int32(len(want)) - 1, int32(len(want))} {
		if got := lines(w.list("Shop.Local", max, nil)); !slices.Equal(got, want) {
			t.Errorf("pages of %d:\n%s", max, strings.Join(got, "\n"))
		}
	}
	out := apitest.Must(w.ListResourceRecordSets(t.Context(),
		&r53.ListResourceRecordSetsInput{HostedZoneId: w.zoneID("Shop.Local"), MaxItems: aws.Int32(1000)}))(t)
	if *out.MaxItems != 300 || out.IsTruncated || out.NextRecordName != nil || out.NextRecordType != "" {
		t.Errorf("MaxItems 1000: %d, and next %v %s", *out.MaxItems, out.NextRecordName, out.NextRecordType)
	}
}

// TestStartAtEachRecordSet begins a list at each record set of a zone, also after that record set was deleted.
func TestStartAtEachRecordSet(t *testing.T) {
	w := newWorld(t, everything)
	all := w.list("Shop.Local", 300, nil)
	for k := range all {
		if got, want := lines(w.list("Shop.Local", 300, &all[k])), lines(all[k:]); !slices.Equal(got, want) {
			t.Errorf("from %s:\n%s", line(all[k]), strings.Join(got, "\n"))
		}
	}
	for _, tc := range []struct{ service, id string }{
		{"web", "b"}, {"api", "i-1"}, {"api", "i-2"}, {"_http._tcp", "six"}, {".", "top"}, {"v1.api", "i-1"},
	} {
		w.deregister("Shop.Local", tc.service, tc.id)
		left := lines(w.list("Shop.Local", 300, nil))
		for k := range all {
			var want []string // the record sets that follow and still exist
			for _, l := range lines(all[k:]) {
				if slices.Contains(left, l) {
					want = append(want, l)
				}
			}
			if got := lines(w.list("Shop.Local", 300, &all[k])); !slices.Equal(got, want) {
				t.Errorf("without %s of %s, from %s:\n%s\nwant:\n%s", tc.id, tc.service, line(all[k]),
					strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	}
}

// TestStartAtName begins a list at names that may have no records.
func TestStartAtName(t *testing.T) {
	w := newWorld(t, everything)
	for _, tc := range []struct{ from, first string }{ // name, type, identifier; the first record set
		{"shop.local", "shop.local. A"},
		{"SHOP.local. NS", "shop.local. NS"},
		{"shop.local. MX", "shop.local. NS"},
		{"shop.local. TXT", "_http._tcp.shop.local. SRV"},
		{"com.", "shop.local. A"},
		{"zzz.", ""},
		{"none.shop.local", "one.shop.local. A"},
		{"web.shop.local. A b", "web.shop.local. A b"},
		{"web.shop.local. A bb", "web.shop.local. A d"},
		{"web.shop.local. A e", ""},
		{"web.shop.local. AAAA", ""},
		{"api.shop.local. AAAA", "api.shop.local. SRV 10.0.3.4"},
		{"api.shop.local. TXT", "10.0.3.4.api.shop.local. A"},
		{"I-2.api.shop.local. AAAA", "i-2.api.shop.local. AAAA"},
		{`i\0573\072x\100y.api.shop.local.`, `i\0573\072x\100y.api.shop.local. A`},
		{"none.api.shop.local", "v1.api.shop.local. A"},
		{"below.v1.api.shop.local", "i-1.api.shop.local. A"}, // this may have been the name of a host of api
		{"empty.shop.local", "one.shop.local. A"},
	} {
		words := strings.Fields(tc.from + "  ")
		in := &r53.ListResourceRecordSetsInput{HostedZoneId: w.zoneID("Shop.Local"), MaxItems: aws.Int32(1),
			StartRecordName: &words[0]}
		if len(words) > 1 {
			in.StartRecordType = types.RRType(words[1])
		}
		if len(words) > 2 {
			in.StartRecordIdentifier = &words[2]
		}
		first := ""
		for _, set := range apitest.Must(w.ListResourceRecordSets(t.Context(), in))(t).ResourceRecordSets {
			first = strings.TrimSpace(fmt.Sprint(*set.Name, " ", set.Type, " ", aws.ToString(set.SetIdentifier)))
		}
		if !strings.HasPrefix(first, tc.first) || (first == "") != (tc.first == "") {
			t.Errorf("from %s: %q, want %q", tc.from, first, tc.first)
		}
	}
}

// TestPagesDuringChanges lists in pages of one record set while instances are registered and deregistered. Record sets
// that exist from the first page to the last are seen once and in order.
func TestPagesDuringChanges(t *testing.T) {
	w := newWorld(t, `
zone shop.local vpc-1 eu-west-1
api A 30 SRV 60
  k-1 IPV4=10.0.0.1 PORT=80
  k-3 IPV4=10.0.0.3 PORT=80
  k-5 IPV4=10.0.0.5 PORT=80
v1.api A 30
  k-1 IPV4=10.0.1.1
`)
	kept := lines(w.list("shop.local", 300, nil))
	rnd := rand.New(rand.NewPCG(1, 2))
	registered := map[string]bool{} // whether each of the other instances is registered
	var seen []string
	in := &r53.ListResourceRecordSetsInput{HostedZoneId: w.zoneID("shop.local"), MaxItems: aws.Int32(1)}
	for pages := r53.NewListResourceRecordSetsPaginator(w, in); pages.HasMorePages(); {
		out := apitest.Must(pages.NextPage(t.Context()))(t)
		for _, l := range lines(out.ResourceRecordSets) {
			if slices.Contains(kept, l) {
				seen = append(seen, l)
			}
		}
		for range 2 {
			id := fmt.Sprintf("k-%d", 2*rnd.IntN(4))
			if registered[id] {
				w.deregister("shop.local", "api", id)
			} else {
				w.instance("shop.local", "api", []string{id, "IPV4=10.0.9.9", "PORT=80"})
			}
			registered[id] = !registered[id]
		}
	}
	same(t, "seen", seen, strings.Join(kept, "\n"))
}

// TestDNSAnswer checks that TestDNSAnswer returns the answers of DNS.
func TestDNSAnswer(t *testing.T) {
	w := newWorld(t, everything+`
zone public.example - us-east-1
many A 60
  1 IPV4=10.0.8.1
  2 IPV4=10.0.8.2
  3 IPV4=10.0.8.3
  4 IPV4=10.0.8.4
  5 IPV4=10.0.8.5
  6 IPV4=10.0.8.6
  7 IPV4=10.0.8.7
  8 IPV4=10.0.8.8
  9 IPV4=10.0.8.9
`)
	// name, type and client; response code and sorted values
	for _, tc := range []struct{ zone, question, want string }{
		{"Shop.Local", "web.shop.local A", "NOERROR 10.0.0.1"},
		{"Shop.Local", "WEB.shop.local. A", "NOERROR 10.0.0.1"},
		{"Shop.Local", "both.shop.local AAAA", "NOERROR 2001:db8::1 2001:db8::2"},
		{"Shop.Local", "away.shop.local A", "NOERROR Origin.example.com"},
		{"Shop.Local", "_http._tcp.shop.local SRV", "NOERROR 1 1 80 six._http._tcp.shop.local."},
		{"Shop.Local", `I\0573\072x\100y.api.shop.local A`, "NOERROR 10.0.3.3"},
		{"Shop.Local", "shop.local NS", "NOERROR ns.rollcall.invalid."},
		{"Shop.Local", "shop.local SOA",
			"NOERROR ns.rollcall.invalid. hostmaster.rollcall.invalid. 1 7200 900 1209600 5"},
		{"Shop.Local", "web.shop.local MX", "NOERROR"},
		{"Shop.Local", "empty.shop.local A", "NOERROR"},
		{"Shop.Local", "none.shop.local A", "NXDOMAIN"},
		{"Shop.Local", "web.shop.local A 10.1.2.3", "NOERROR 10.0.0.1"},
		{"Shop.Local", "web.shop.local A 10.2.2.3", "REFUSED"}, // not a client of the zone's VPC
	} {
		words := strings.Fields(tc.question)
		in := &r53.TestDNSAnswerInput{HostedZoneId: w.zoneID(tc.zone), RecordName: &words[0],
			RecordType: types.RRType(words[1])}
		if len(words) > 2 {
			in.ResolverIP = &words[2]
		}
		out := apitest.Must(w.TestDNSAnswer(t.Context(), in))(t)
		slices.Sort(out.RecordData)
		if got := strings.TrimSpace(*out.ResponseCode + " " + strings.Join(out.RecordData, " ")); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.question, got, tc.want)
		}
		if *out.Protocol != "UDP" || *out.Nameserver != "ns.rollcall.invalid" || string(out.RecordType) != words[1] {
			t.Errorf("%s: %s %s %s", tc.question, *out.Protocol, *out.Nameserver, out.RecordType)
		}
	}

	drawn := map[string]bool{}
	for range 200 {
		out := apitest.Must(w.TestDNSAnswer(t.Context(), &r53.TestDNSAnswerInput{
			HostedZoneId: w.zoneID("public.example"),
			RecordName:   s("many.public.example"), RecordType: types.RRTypeA}))(t)
		if len(out.RecordData) != 8 {
			t.Fatalf("an answer has %d records, want 8", len(out.RecordData))
		}
		for _, ip := range out.RecordData {
			drawn[ip] = true
		}
	}
	if len(drawn) != 9 {
		t.Errorf("200 answers contain %d of the nine instances, want all", len(drawn))
	}
}
