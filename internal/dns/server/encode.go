package server

import (
	"sort"
	"strings"

	"github.com/miekg/dns"

	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/dns/answer"
)

// encode writes a decision into a message. asked is the question's name, as it was spelled.
func encode(m *dns.Msg, asked string, r *answer.Reply) {
	m.Rcode = int(r.Rcode)
	m.Answer = records(asked, r.Answer)
	m.Ns = records(asked, r.Authority)
	m.Extra = records(asked, r.Additional)
}

func records(asked string, rrs []answer.Record) []dns.RR {
	var out []dns.RR
	for i := range rrs {
		out = append(out, record(asked, &rrs[i]))
	}
	return out
}

func record(asked string, rr *answer.Record) dns.RR {
	h := dns.RR_Header{Name: spell(asked, rr.Owner), Rrtype: rr.Type, Class: dns.ClassINET, Ttl: rr.TTL}
	switch directory.RecordType(rr.Type) {
	case directory.A:
		return &dns.A{Hdr: h, A: rr.Addr.AsSlice()}
	case directory.AAAA:
		return &dns.AAAA{Hdr: h, AAAA: rr.Addr.AsSlice()}
	case directory.CNAME:
		return &dns.CNAME{Hdr: h, Target: spell(asked, rr.Target)}
	case directory.SRV:
		return &dns.SRV{Hdr: h, Priority: answer.SRVPriority, Weight: answer.SRVWeight, Port: rr.Port,
			Target: spell(asked, rr.Target)}
	}
	switch rr.Type {
	case dns.TypeNS:
		return &dns.NS{Hdr: h, Ns: spell(asked, rr.Target)}
	case dns.TypeSOA:
		primary := spell(asked, rr.Target)
		return &dns.SOA{Hdr: h, Ns: primary, Mbox: hostmaster(primary), Serial: answer.SOASerial,
			Refresh: answer.SOARefresh, Retry: answer.SOARetry, Expire: answer.SOAExpire, Minttl: rr.TTL}
	default: // HINFO, the answer to ANY
		return &dns.HINFO{Hdr: h, Cpu: answer.HINFOCPU}
	}
}

// hostmaster is the mailbox of RFC 2142, section 7, at the primary server's domain.
func hostmaster(primary string) string {
	_, domain, _ := strings.Cut(primary, ".")
	return "hostmaster." + domain
}

// spell writes a name of a decision in presentation form.
func spell(asked string, n answer.Name) string {
	switch n.From {
	case answer.Question:
		return asked
	case answer.Below:
		return n.Text + "." + asked
	case answer.Above:
		labels := dns.Split(asked)
		if skip := len(labels) - strings.Count(n.Text, ".") - 1; skip >= 0 {
			return asked[labels[skip]:]
		}
	}
	return dns.Fqdn(n.Text)
}

// fit packs a message with an OPT record, if any, into at most limit octets. What does not fit is left out
// from the end: additional records silently, since a client can ask for them, but a missing record of the
// answer or the authority section sets TC, which sends the client to TCP (RFC 2181, section 9).
func fit(m *dns.Msg, opt *dns.OPT, limit int) ([]byte, error) {
	whole := *m
	pack := func(keep int) ([]byte, error) {
		m.Answer, keep = first(whole.Answer, keep)
		m.Ns, keep = first(whole.Ns, keep)
		m.Extra, _ = first(whole.Extra, keep)
		if opt != nil {
			m.Extra = append(m.Extra[:len(m.Extra):len(m.Extra)], opt)
		}
		m.Truncated = len(m.Answer) < len(whole.Answer) || len(m.Ns) < len(whole.Ns)
		return m.Pack()
	}
	all := len(whole.Answer) + len(whole.Ns) + len(whole.Extra)
	reply, err := pack(all)
	if err != nil || len(reply) <= limit {
		return reply, err
	}
	keep := sort.Search(all, func(k int) bool {
		reply, err := pack(k + 1)
		return err != nil || len(reply) > limit
	})
	return pack(keep)
}

// first returns the first n records, and how many of n are left for the next section.
func first(rrs []dns.RR, n int) (kept []dns.RR, left int) {
	if n < len(rrs) {
		return rrs[:n], 0
	}
	return rrs, n - len(rrs)
}
