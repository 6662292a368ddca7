// Package answer decides what a DNS query is answered: directory and query in, records out.
//
// [Authority.Answer] reads the directory once, draws its choice from the query's own random word and fills
// a [Reply]. It is pure: no socket, no clock, no message format. The same directory, query and word give
// the same reply, so that two encoders (one that is easy to read, one that is fast) can be compared byte
// for byte, and a test can say what it expects.
//
// The way of a query, each step in a function of that name:
//
//	Answer    the zone that answers this client; a zone that matches is final
//	  at      what stands at the name: service, host, an empty name, nothing
//	  service the record set of the type: eight instances, or one, or a CNAME to follow
//	  negative no such name, or no such type at the name, with the zone's SOA
//
// answer knows names, types and addresses. It does not know wire formats, EDNS, transports or upstreams:
// [Reply.OutsideZones] and [Reply.ExternalTarget] tell the server what is left to a resolver.
package answer

import (
	"net/netip"
	"strings"

	"github.com/bakingclouds/rollcall/internal/directory"
)

// The record types that are decided here, by their numbers on the wire; those of services are
// [directory.A], [directory.AAAA], [directory.CNAME] and [directory.SRV].
const (
	typeNS    = 2
	typeSOA   = 6
	typeHINFO = 13
	typeOPT   = 41
	typeIXFR  = 251
	typeAXFR  = 252
	typeANY   = 255
)

// Rcode is a response code of RFC 1035, section 4.1.1.
type Rcode uint8

// The response codes that a decision can end in.
const (
	NoError  Rcode = 0
	NXDomain Rcode = 3
	Refused  Rcode = 5
)

const (
	// maxAnswers is how many instances a multivalue answer holds, as in Route 53.
	maxAnswers = 8
	// maxChain is how many CNAMEs are followed: enough for every sane use, and the bound of a loop.
	maxChain = 8
	// hinfoTTL is how long the answer to ANY lives. It holds nothing that changes.
	hinfoTTL = 3600
	// nsTTL is that of Route 53's NS records.
	nsTTL = 172800
	// staleTTL bounds the TTL, in seconds, of a node that has lost the store: it cannot say how long what it
	// knows will be true.
	staleTTL = 5
)

// DefaultNameServer is what zones name as their server when the operator names none. Names below "invalid"
// never resolve (RFC 6761, section 6.4), so nobody is sent to a server that is not ours; only who delegates
// a public zone to Rollcall has a name that others can resolve, and sets it.
const DefaultNameServer = "ns.rollcall.invalid"

// Query is one question of class IN.
type Query struct {
	// Name is canonical: ASCII lower case, labels joined by '.', none at the end; a dot or a backslash
	// inside a label is written \046 or \092, so that it is never taken for a separator.
	Name   string
	Type   uint16
	Client netip.Addr // whose view of the namespaces is asked for
	Rand   uint64     // decides every random choice
	// Now decides how long the host name of a draining instance may still be kept.
	Now directory.Tick
	// Stale says that the directory may be behind: what is answered is kept for staleTTL at most.
	Stale bool
}

// Authority answers for the DNS namespaces of a directory. Its fields do not change once it is in use.
type Authority struct {
	Directory *directory.Directory
	// NameServers are the NS records of every zone; the first is also the SOA's primary. None means
	// [DefaultNameServer].
	NameServers []string
}

// Answer fills r with the answer to q; what r held before is forgotten, its memory is used again.
func (a *Authority) Answer(q Query, r *Reply) {
	r.reset()
	if !askable(q.Type) {
		r.Rcode = Refused
		return
	}
	s := step{Authority: a, q: q, r: r, rnd: newSource(q.Rand), owner: Name{From: Question}, name: q.Name}
	s.chain()
	if q.Stale {
		r.bound(staleTTL)
	}
}

// chain answers the question's name, and then the target of each CNAME on the way.
func (s *step) chain() {
	for range maxChain {
		zone, ours := s.Directory.Zone(s.q.Client, s.name)
		if !ours {
			s.r.OutsideZones = s.owner.From == Question
			s.r.ExternalTarget = s.owner.Text // "" for the question itself
			return
		}
		target := s.at(zone)
		if target == "" || s.seen(target) {
			return
		}
		s.owner, s.name = Name{From: Literal, Text: target}, directory.CanonicalName(target)
	}
}

// askable tells types of records from what is asked of a server instead (RFC 6895, section 3.1): zone
// transfers, which Cloud Map has none of, and meta types.
func askable(typ uint16) bool {
	return typ == typeANY || typ != typeOPT && typ != 0 && (typ < 128 || typ > 255)
}

// step answers one name: the question's, and then the target of each CNAME on the way.
type step struct {
	*Authority
	q     Query
	r     *Reply
	rnd   source
	owner Name   // how the reply spells the name
	name  string // how the directory does
}

// at answers what stands at the name. It returns the name to go on with, "" at the end of the chain.
func (s *step) at(zone *directory.Zone) (target string) {
	ns := zone.Namespace()
	if s.name == directory.CanonicalName(ns.Name) && (s.q.Type == typeSOA || s.q.Type == typeNS) {
		s.apex(ns)
		return ""
	}
	switch m := zone.Find(s.name); m.Kind {
	case directory.ServiceName:
		return s.service(m.View)
	case directory.HostName:
		s.host(m)
	case directory.EmptyName:
		s.negative(NoError, ns)
	case directory.NoName:
		s.negative(NXDomain, ns)
	}
	return ""
}

// service answers the record set of the asked type at a service's name.
func (s *step) service(v *directory.View) (target string) {
	if s.r.View == nil {
		s.r.View = v
	}
	if ttl, ok := v.Service.TTL(directory.CNAME); ok {
		return s.alias(v, ttl)
	}
	switch t := directory.RecordType(s.q.Type); t {
	case directory.A, directory.AAAA:
		if ttl, ok := v.Service.TTL(t); ok {
			for _, i := range s.choose(v, t) {
				s.r.address(&s.r.Answer, s.owner, t, ttl, i)
			}
		}
	case directory.SRV:
		if ttl, ok := v.Service.TTL(t); ok {
			s.srv(v, ttl)
		}
	case typeANY:
		if v.Answerable().Len() > 0 {
			s.hinfo()
		}
	}
	if !s.answered() {
		s.negative(NoError, v.Namespace)
	}
	return ""
}

// alias answers a CNAME service, whatever type was asked (RFC 1034, section 3.6.2), and returns the target
// unless the CNAME itself, or ANY, was asked for.
func (s *step) alias(v *directory.View, ttl uint32) (target string) {
	chosen := s.choose(v, directory.CNAME)
	if len(chosen) == 0 {
		s.negative(NoError, v.Namespace)
		return ""
	}
	i := chosen[0] // CNAME services are weighted: a name has one CNAME at a time
	target = strings.TrimSuffix(i.CNAME, ".")
	s.r.Answer = append(s.r.Answer, Record{Owner: s.owner, Type: uint16(directory.CNAME), TTL: ttl,
		Target: Name{From: Literal, Text: target}, Instance: i})
	if s.q.Type == uint16(directory.CNAME) || s.q.Type == typeANY {
		return ""
	}
	return target
}

// srv answers SRV records and adds the addresses of their targets, so that a client need not ask for them
// (RFC 2782). A target's address lives as long as the SRV record that names it.
func (s *step) srv(v *directory.View, ttl uint32) {
	for _, i := range s.choose(v, directory.SRV) {
		target := Name{From: Below, Text: directory.CanonicalName(i.ID)}
		if s.owner.From != Question {
			target = Name{From: Literal, Text: v.HostName(i)}
		}
		s.r.Answer = append(s.r.Answer, Record{Owner: s.owner, Type: uint16(directory.SRV), TTL: ttl,
			Target: target, Port: i.Port, Instance: i})
		s.r.address(&s.r.Additional, target, directory.A, ttl, i)
		s.r.address(&s.r.Additional, target, directory.AAAA, ttl, i)
	}
}

// host answers the name of one instance, the target of an SRV record. It does so as long as the instance is
// registered, in whatever state: who holds a cached SRV record must still reach a draining instance (for as
// long as anybody may hold such a record, so the drain does not get longer by it), and who has the name of an unready one has it from elsewhere than from us, and means it.
func (s *step) host(m directory.Match) {
	if s.r.View == nil {
		s.r.View = m.View
	}
	ttl, _ := m.View.Service.TTL(directory.SRV)
	if m.Instance.State == directory.Draining {
		ttl = min(ttl, m.Instance.RemainingTTL(s.q.Now))
	}
	switch t := directory.RecordType(s.q.Type); t {
	case directory.A, directory.AAAA:
		s.r.address(&s.r.Answer, s.owner, t, ttl, m.Instance)
	case typeANY:
		s.hinfo()
	}
	if !s.answered() {
		s.negative(NoError, m.View.Namespace)
	}
}

// apex answers what every zone has at its top.
func (s *step) apex(ns *directory.Namespace) {
	if s.q.Type == typeSOA {
		s.r.Answer = append(s.r.Answer, s.soa(ns))
		return
	}
	servers := s.NameServers
	if len(servers) == 0 {
		servers = []string{DefaultNameServer}
	}
	for _, name := range servers {
		s.r.Answer = append(s.r.Answer, Record{Owner: s.owner, Type: typeNS, TTL: nsTTL,
			Target: Name{From: Literal, Text: name}})
	}
}

// hinfo answers ANY with one small record instead of all of them (RFC 8482, section 4.2).
func (s *step) hinfo() {
	s.r.Answer = append(s.r.Answer, Record{Owner: s.owner, Type: typeHINFO, TTL: hinfoTTL})
}

// negative answers that there is no such name, or no such type at the name, and for how long that holds: the
// SOA's TTL and minimum are both the namespace's (RFC 2308, section 3). After a CNAME it speaks of the last
// name of the chain (RFC 6604, section 3).
func (s *step) negative(rcode Rcode, ns *directory.Namespace) {
	s.r.Rcode = rcode
	s.r.Authority = append(s.r.Authority, s.soa(ns))
}

func (s *step) soa(ns *directory.Namespace) Record {
	primary := DefaultNameServer
	if len(s.NameServers) > 0 {
		primary = s.NameServers[0]
	}
	owner := Name{From: Above, Text: directory.CanonicalName(ns.Name)}
	if s.owner.From != Question {
		owner.From = Literal
	}
	return Record{Owner: owner, Type: typeSOA, TTL: ns.NegativeTTL, Target: Name{From: Literal, Text: primary}}
}

// answered reports whether the name at hand has a record in the answer: the last one, if any.
func (s *step) answered() bool {
	n := len(s.r.Answer)
	return n > 0 && s.r.Answer[n-1].Owner == s.owner
}

// seen reports whether a CNAME's target closes a loop.
func (s *step) seen(target string) bool {
	name := directory.CanonicalName(target)
	if name == s.q.Name {
		return true
	}
	for _, rr := range s.r.Answer {
		if rr.Owner.From == Literal && directory.CanonicalName(rr.Owner.Text) == name {
			return true
		}
	}
	return false
}
