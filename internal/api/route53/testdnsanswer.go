package route53

import (
	"math/rand/v2"
	"net/netip"
	"strings"

	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/dns/answer"
	"github.com/bakingclouds/rollcall/internal/registry"
)

// typeNumbers maps the record types of Route 53 (API Reference, ResourceRecordSet) to their numbers on the wire (IANA,
// "Resource Record (RR) TYPEs"). Zones have records of five of them; all can be queried.
var typeNumbers = map[string]uint16{
	"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33, "NAPTR": 35,
	"DS": 43, "SSHFP": 44, "TLSA": 52, "SVCB": 64, "HTTPS": 65, "SPF": 99, "CAA": 257,
}

type testDNSAnswerOutput struct {
	Nameserver string
	RecordName string
	RecordType string
	RecordData struct {
		RecordDataEntry []string
	}
	ResponseCode string
	Protocol     string
}

// testDNSAnswer returns the answer that DNS would give. If a service has more than eight instances, each call returns a
// random choice of eight, as in DNS. The client is the one that the request names, or else a client of the zone.
func (a *API) testDNSAnswer(r request) (any, error) {
	ns, err := r.zone(a.db.Snapshot(), plainZone(r.query.Get("hostedzoneid")))
	if err != nil {
		return nil, err
	}
	text, typ := r.query.Get("recordname"), r.query.Get("recordtype")
	name, err := parseName(text)
	if err != nil {
		return nil, err
	}
	if apex := directory.CanonicalName(ns.Name); name != apex && !strings.HasSuffix(name, "."+apex) {
		return nil, invalid("RecordName %.300q is outside the hosted zone %s", text, formatName(apex))
	}
	number, ok := typeNumbers[typ]
	if !ok {
		return nil, invalid("RecordType %.100q is not a record type", typ)
	}
	client, err := a.client(r, ns)
	if err != nil {
		return nil, err
	}
	var reply answer.Reply
	a.dns.Answer(answer.Query{Name: name, Type: number, Client: client, Rand: rand.Uint64()}, &reply)
	out := testDNSAnswerOutput{
		Nameserver: a.nameServers()[0], RecordName: formatName(name), RecordType: typ,
		ResponseCode: responseCode(&reply), Protocol: "UDP",
	}
	for _, rr := range reply.Answer {
		if rr.Owner.From != answer.Literal { // records of another name, which a CNAME leads to
			out.RecordData.RecordDataEntry = append(out.RecordData.RecordDataEntry, a.data(name, rr))
		}
	}
	return out, nil
}

func responseCode(r *answer.Reply) string {
	switch {
	case r.OutsideZones, r.Rcode == answer.Refused:
		return "REFUSED"
	case r.Rcode == answer.NXDomain:
		return "NXDOMAIN"
	}
	return "NOERROR"
}

// client returns the address from which the question comes: the client subnet of the request, or else its resolver, or
// else an address that the zone answers.
func (a *API) client(r request, ns *registry.Namespace) (netip.Addr, error) {
	for _, parameter := range []string{"edns0clientsubnetip", "resolverip"} {
		text := r.query.Get(parameter)
		if text == "" {
			continue
		}
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return ip, invalid("%.100q is not an IP address", text)
		}
		return ip, nil
	}
	apex, client := directory.CanonicalName(ns.Name), netip.AddrFrom4([4]byte{127, 0, 0, 1})
	d, ok := a.dns.Directory.Namespace(ns.ID)
	if !ok {
		return client, nil // the namespace was deleted in the meantime
	}
	for _, network := range d.Networks {
		first := network.Masked().Addr()
		if z, ok := a.dns.Directory.Zone(first, apex); ok && z.Namespace().ID == ns.ID {
			return first, nil
		}
	}
	return client, nil
}

// data returns a record's value as in a record set. asked is the name of the question.
func (a *API) data(asked string, rr answer.Record) string {
	target := rr.Target.Expand(asked)
	switch rr.Type {
	case uint16(directory.CNAME):
		return target
	case uint16(directory.SRV):
		return srv(rr.Port, target)
	case typeNumbers["NS"]:
		return formatName(target)
	case typeNumbers["SOA"]:
		return a.soa(rr.TTL)
	}
	return rr.Addr.String()
}
