// Package answer decides the answer to a DNS query: from a query and the directory to resource records.
//
// [Authority.Answer] reads the directory once, makes its random choice from the query's own random number, and fills a
// [Reply]. It has no side effects and uses no socket, clock or message format. The same directory, query and random
// number always lead to the same reply, so a test can expect an exact reply, and can compare two encoders byte for
// byte.
//
// The path of a query through the functions of answer.go:
//
//	Answer          check the type; followCNAMEs finds the zone of each name in the chain
//	  answerName    look up the name: a service, a host, an empty name, or no name
//	    answerService   the records of the type: up to eight instances, one, or a CNAME to follow
//	    answerNegative  NXDOMAIN or NODATA, with the zone's SOA
//
// The package knows names, types and addresses. It does not know wire formats, EDNS, transports or upstream resolvers.
// [Reply.OutsideZones] and [Reply.ExternalTarget] tell the server which name it must forward to a resolver.
package answer

import (
	"net/netip"
	"strings"

	"github.com/bakingclouds/rollcall/internal/directory"
)

// The types that this package handles, by their numbers on the wire. The types of services' records are [directory.A],
// [directory.AAAA], [directory.CNAME] and [directory.SRV].
const (
	typeNS    = 2
	typeSOA   = 6
	typeHINFO = 13
	typeOPT   = 41
	typeANY   = 255
)

// Rcode is a response code of RFC 1035, section 4.1.1.
type Rcode uint8

// The response codes of replies.
const (
	NoError  Rcode = 0
	NXDomain Rcode = 3
	Refused  Rcode = 5
)

const (
	// maxAnswers is the maximum number of instances in a multivalue answer, as in Route 53.
	maxAnswers = 8
	// maxChain is the maximum number of CNAMEs that are followed. It also ends loops.
	maxChain = 8
	// hinfoTTL is the TTL of the answer to ANY, which never changes.
	hinfoTTL = 3600
	// nsTTL is the TTL of NS records, as in Route 53.
	nsTTL = 172800
	// staleTTL is the maximum TTL, in seconds, on a node that has lost the store, because its data may be out of date.
	staleTTL = 5
)

// DefaultNameServer is the name server of all zones if the operator configures none. Names below "invalid" never
// resolve (RFC 6761, section 6.4), so no client is directed to an unrelated server. An operator who delegates a public
// zone to Rollcall configures a name that resolves.
const DefaultNameServer = "ns.rollcall.invalid"

// Query is one question of class IN.
type Query struct {
	// Name is in canonical form: ASCII lower case, labels joined by '.', no trailing dot. A dot or a backslash inside a
	// label is written as \046 or \092, so that it is not mistaken for a separator.
	Name   string
	Type   uint16
	Client netip.Addr // selects the namespaces that the query may see
	Rand   uint64     // determines every random choice
	// Now determines the remaining TTL of the host name of a draining instance.
	Now directory.Tick
	// Stale means that the directory may be out of date, so that no TTL exceeds staleTTL.
	Stale bool
}

// Authority answers queries for the DNS namespaces of a directory. Its fields must not change while it is in use.
type Authority struct {
	Directory *directory.Directory
	// NameServers are the NS records of every zone. The first one is also the primary server in the SOA. If there are
	// none, every zone has [DefaultNameServer].
	NameServers []string
}

// Answer overwrites r with the answer to q. It reuses the memory of r.
func (a *Authority) Answer(q Query, r *Reply) {
	r.reset()
	if !isAnswerableType(q.Type) {
		r.Rcode = Refused
		return
	}
	s := resolution{Authority: a, q: q, r: r, rnd: newRandom(q.Rand), owner: Name{From: Question}, name: q.Name}
	s.followCNAMEs()
	if q.Stale {
		r.limitTTL(staleTTL)
	}
}

// followCNAMEs answers the question's name, and then the target of each CNAME in the answer.
func (s *resolution) followCNAMEs() {
	for range maxChain {
		zone, ok := s.Directory.Zone(s.q.Client, s.name)
		if !ok {
			s.r.OutsideZones = s.owner.From == Question
			s.r.ExternalTarget = s.owner.Text // "" for the name of the question
			return
		}
		target := s.answerName(zone)
		if target == "" || s.isLoop(target) {
			return
		}
		s.owner, s.name = Name{From: Literal, Text: target}, directory.CanonicalName(target)
	}
}

// isAnswerableType reports whether a query type is a record type or ANY. Other query types (RFC 6895, section 3.1),
// such as zone transfers, which Cloud Map does not have, and meta types, are refused.
func isAnswerableType(typ uint16) bool {
	return typ == typeANY || typ != typeOPT && typ != 0 && (typ < 128 || typ > 255)
}

// resolution is the state of one query while its chain of names is answered: the question's name, and then the target
// of each CNAME.
type resolution struct {
	*Authority
	q     Query
	r     *Reply
	rnd   random
	owner Name   // the current name as the reply contains it
	name  string // the current name in canonical form
}

// answerName answers the current name. It returns the name to answer next, or "" at the end of the chain.
func (s *resolution) answerName(zone *directory.Zone) (target string) {
	ns := zone.Namespace()
	if s.name == directory.CanonicalName(ns.Name) && (s.q.Type == typeSOA || s.q.Type == typeNS) {
		s.answerApex(ns)
		return ""
	}
	switch m := zone.Find(s.name); m.Kind {
	case directory.ServiceName:
		return s.answerService(m.View)
	case directory.HostName:
		s.answerHost(m)
	case directory.EmptyName:
		s.answerNegative(NoError, ns)
	case directory.NoName:
		s.answerNegative(NXDomain, ns)
	}
	return ""
}

// answerService adds the records of the question's type at a service's name. It returns the target of a CNAME to
// follow.
func (s *resolution) answerService(v *directory.View) (target string) {
	if s.r.View == nil {
		s.r.View = v
	}
	if ttl, ok := v.Service.TTL(directory.CNAME); ok {
		return s.answerCNAME(v, ttl)
	}
	switch t := directory.RecordType(s.q.Type); t {
	case directory.A, directory.AAAA:
		if ttl, ok := v.Service.TTL(t); ok {
			for _, i := range s.choose(v, t) {
				s.r.addAddress(&s.r.Answer, s.owner, t, ttl, i)
			}
		}
	case directory.SRV:
		if ttl, ok := v.Service.TTL(t); ok {
			s.answerSRV(v, ttl)
		}
	case typeANY:
		if v.Answerable().Len() > 0 {
			s.answerANY()
		}
	}
	if !s.answered() {
		s.answerNegative(NoError, v.Namespace)
	}
	return ""
}

// answerCNAME adds the CNAME of a service. A CNAME answers a query of any type (RFC 1034, section 3.6.2). answerCNAME
// returns the target to follow, unless the query is of type CNAME or ANY.
func (s *resolution) answerCNAME(v *directory.View, ttl uint32) (target string) {
	chosen := s.choose(v, directory.CNAME)
	if len(chosen) == 0 {
		s.answerNegative(NoError, v.Namespace)
		return ""
	}
	i := chosen[0] // CNAME services are weighted, because a name can have only one CNAME
	target = strings.TrimSuffix(i.CNAME, ".")
	s.r.Answer = append(s.r.Answer, Record{Owner: s.owner, Type: uint16(directory.CNAME), TTL: ttl,
		Target: Name{From: Literal, Text: target}, Instance: i})
	if s.q.Type == uint16(directory.CNAME) || s.q.Type == typeANY {
		return ""
	}
	return target
}

// answerSRV adds SRV records to the answer, and the addresses of their targets to the additional section, so that a
// client need not query them (RFC 2782). The addresses have the TTL of the SRV records.
func (s *resolution) answerSRV(v *directory.View, ttl uint32) {
	for _, i := range s.choose(v, directory.SRV) {
		target := Name{From: Below, Text: directory.CanonicalName(i.ID)}
		if s.owner.From != Question {
			target = Name{From: Literal, Text: v.HostName(i)}
		}
		s.r.Answer = append(s.r.Answer, Record{Owner: s.owner, Type: uint16(directory.SRV), TTL: ttl,
			Target: target, Port: i.Port, Instance: i})
		s.r.addAddress(&s.r.Additional, target, directory.A, ttl, i)
		s.r.addAddress(&s.r.Additional, target, directory.AAAA, ttl, i)
	}
}

// answerHost answers the host name of one instance, the target of an SRV record, as long as the instance is registered.
// A draining instance is answered too, because a client with a cached SRV record must still be able to reach it. Its
// TTL is the time that is left until every cached record has expired, so that the answer does not extend the drain. An
// unready instance is answered as well: no SRV record names it yet, so the client learned the name elsewhere. An
// operator may test exactly this instance, for example.
func (s *resolution) answerHost(m directory.Match) {
	if s.r.View == nil {
		s.r.View = m.View
	}
	ttl, _ := m.View.Service.TTL(directory.SRV)
	if m.Instance.State == directory.Draining {
		ttl = min(ttl, m.Instance.RemainingTTL(s.q.Now))
	}
	switch t := directory.RecordType(s.q.Type); t {
	case directory.A, directory.AAAA:
		s.r.addAddress(&s.r.Answer, s.owner, t, ttl, m.Instance)
	case typeANY:
		s.answerANY()
	}
	if !s.answered() {
		s.answerNegative(NoError, m.View.Namespace)
	}
}

// answerApex answers the SOA or the NS records at a zone's apex.
func (s *resolution) answerApex(ns *directory.Namespace) {
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

// answerANY answers ANY with one small HINFO record in place of all records (RFC 8482, section 4.2).
func (s *resolution) answerANY() {
	s.r.Answer = append(s.r.Answer, Record{Owner: s.owner, Type: typeHINFO, TTL: hinfoTTL})
}

// answerNegative answers that the name does not exist, or that it has no records of the type. The TTL and the minimum
// of the SOA determine how long a resolver caches this; both are the namespace's negative TTL (RFC 2308, section 3).
// After a CNAME, the response code describes the last name of the chain (RFC 6604, section 3).
func (s *resolution) answerNegative(rcode Rcode, ns *directory.Namespace) {
	s.r.Rcode = rcode
	s.r.Authority = append(s.r.Authority, s.soa(ns))
}

func (s *resolution) soa(ns *directory.Namespace) Record {
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

// answered reports whether the answer contains a record of the current name. It would be the last one.
func (s *resolution) answered() bool {
	n := len(s.r.Answer)
	return n > 0 && s.r.Answer[n-1].Owner == s.owner
}

// isLoop reports whether a CNAME's target has already been answered.
func (s *resolution) isLoop(target string) bool {
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
