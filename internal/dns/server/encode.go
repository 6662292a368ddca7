package server

import (
	"sort"
	"strings"

	"github.com/miekg/dns"

	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/dns/answer"
)

// addRecords sets the response code and the records of a message. question is the question's name as the client spelled
// it.
func addRecords(m *dns.Msg, question string, r *answer.Reply) {
	m.Rcode = int(r.Rcode)
	m.Answer = resourceRecords(question, r.Answer)
	m.Ns = resourceRecords(question, r.Authority)
	m.Extra = resourceRecords(question, r.Additional)
}

func resourceRecords(question string, rrs []answer.Record) []dns.RR {
	var out []dns.RR
	for i := range rrs {
		out = append(out, resourceRecord(question, &rrs[i]))
	}
	return out
}

func resourceRecord(question string, rr *answer.Record) dns.RR {
	h := dns.RR_Header{Name: presentationName(question, rr.Owner), Rrtype: rr.Type, Class: dns.ClassINET, Ttl: rr.TTL}
	switch directory.RecordType(rr.Type) {
	case directory.A:
		return &dns.A{Hdr: h, A: rr.Addr.AsSlice()}
	case directory.AAAA:
		return &dns.AAAA{Hdr: h, AAAA: rr.Addr.AsSlice()}
	case directory.CNAME:
		return &dns.CNAME{Hdr: h, Target: presentationName(question, rr.Target)}
	case directory.SRV:
		return &dns.SRV{Hdr: h, Priority: answer.SRVPriority, Weight: answer.SRVWeight, Port: rr.Port,
			Target: presentationName(question, rr.Target)}
	}
	switch rr.Type {
	case dns.TypeNS:
		return &dns.NS{Hdr: h, Ns: presentationName(question, rr.Target)}
	case dns.TypeSOA:
		primary := presentationName(question, rr.Target)
		return &dns.SOA{Hdr: h, Ns: primary, Mbox: hostmaster(primary), Serial: answer.SOASerial,
			Refresh: answer.SOARefresh, Retry: answer.SOARetry, Expire: answer.SOAExpire, Minttl: rr.TTL}
	default: // HINFO, in the answer to ANY
		return &dns.HINFO{Hdr: h, Cpu: answer.HINFOCPU}
	}
}

// hostmaster returns the hostmaster mailbox (RFC 2142, section 7) in the primary server's domain.
func hostmaster(primary string) string {
	_, domain, _ := strings.Cut(primary, ".")
	return "hostmaster." + domain
}

// presentationName returns a name of a reply in presentation form.
func presentationName(question string, n answer.Name) string {
	switch n.From {
	case answer.Question:
		return question
	case answer.Below:
		return n.Text + "." + question
	case answer.Above:
		labels := dns.Split(question)
		if skip := len(labels) - strings.Count(n.Text, ".") - 1; skip >= 0 {
			return question[labels[skip]:]
		}
	}
	return dns.Fqdn(n.Text)
}

// packWithin encodes a message with an OPT record, if any, in at most limit octets. It omits records from the end that
// do not fit. It omits additional records silently, because a client can query them. If it omits a record of the answer
// or the authority section, it sets TC, so that the client retries over TCP (RFC 2181, section 9).
func packWithin(m *dns.Msg, opt *dns.OPT, limit int) ([]byte, error) {
	full := *m
	pack := func(keep int) ([]byte, error) {
		m.Answer, keep = firstRecords(full.Answer, keep)
		m.Ns, keep = firstRecords(full.Ns, keep)
		m.Extra, _ = firstRecords(full.Extra, keep)
		if opt != nil {
			m.Extra = append(m.Extra[:len(m.Extra):len(m.Extra)], opt)
		}
		m.Truncated = len(m.Answer) < len(full.Answer) || len(m.Ns) < len(full.Ns)
		return m.Pack()
	}
	all := len(full.Answer) + len(full.Ns) + len(full.Extra)
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

// firstRecords returns the first n records, and the part of n that is left for the next section.
func firstRecords(rrs []dns.RR, n int) (kept []dns.RR, left int) {
	if n < len(rrs) {
		return rrs[:n], 0
	}
	return rrs, n - len(rrs)
}
