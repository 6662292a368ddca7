package answer

import (
	"net/netip"

	"github.com/bakingclouds/rollcall/internal/directory"
)

// Reply is the decided answer: a response code, and the records of each section. It is authoritative unless
// OutsideZones is set or Rcode is Refused.
type Reply struct {
	Rcode Rcode
	// OutsideZones means that no zone which the client may query encloses the name. The server forwards or refuses the
	// query.
	OutsideZones bool
	// ExternalTarget is the target of the answer's last CNAME if it lies outside our zones, and "" otherwise. If the
	// server resolves on behalf of the client, it resolves this name too, because stub resolvers do not.
	ExternalTarget string

	Answer     []Record
	Authority  []Record // the zone's SOA in a negative answer
	Additional []Record

	// View is the service that the question names, for statistics. It is nil if the question names none.
	View *directory.View

	chosen [maxAnswers]*directory.Instance
}

// Record is one resource record of a reply. Type determines which fields are used: Addr for A and AAAA; Target for
// CNAME, NS, SRV (with Port) and SOA, where it is the primary server; neither for HINFO.
type Record struct {
	Owner  Name
	Type   uint16
	Port   uint16
	TTL    uint32
	Addr   netip.Addr
	Target Name
	// Instance is the instance that the record points to. It is nil for NS, SOA and HINFO.
	Instance *directory.Instance
}

// Constant fields, which an encoder adds to the records.
const (
	// SRVPriority and SRVWeight are fixed, because Cloud Map has no setting for them.
	SRVPriority, SRVWeight = 1, 1
	// SOASerial and the following fields of a zone's SOA are those of Route 53. The minimum field is the record's TTL.
	// The serial never changes, because no secondary server compares it.
	SOASerial, SOARefresh, SOARetry, SOAExpire = 1, 7200, 900, 1209600
	// HINFOCPU is the CPU field of the HINFO record in the answer to ANY. The OS field is empty (RFC 8482, section
	// 4.2).
	HINFOCPU = "RFC8482"
)

// From determines how a name in a reply is composed.
type From uint8

// The ways to compose a name. All except Literal keep the upper and lower case of the question, which clients that
// randomize the case of their questions rely on, and an encoder can compress them to a pointer to the question.
const (
	Literal  From = iota // Text
	Question             // the question's name
	Below                // Text, a dot, and the question's name
	Above                // as many labels from the end of the question's name as Text has
)

// Name is a name in a reply. Text has no trailing dot. It is in lower case, except for the target of a CNAME, which
// keeps its registered form.
type Name struct {
	From From
	Text string
}

// Expand returns the full name without a trailing dot. question is the question's name in canonical form.
func (n Name) Expand(question string) string {
	switch n.From {
	case Question:
		return question
	case Below:
		return n.Text + "." + question
	default:
		return n.Text // for Above, Text is equal to the end of the question, because both are in canonical form
	}
}

func (r *Reply) reset() {
	*r = Reply{Answer: r.Answer[:0], Authority: r.Authority[:0], Additional: r.Additional[:0]}
}

// addAddress adds a record with an instance's IPv4 or IPv6 address to a section, if the instance has one.
func (r *Reply) addAddress(section *[]Record, owner Name, t directory.RecordType, ttl uint32, i *directory.Instance) {
	addr := i.IPv4
	if t == directory.AAAA {
		addr = i.IPv6
	}
	if addr.IsValid() {
		*section = append(*section, Record{Owner: owner, Type: uint16(t), TTL: ttl, Addr: addr, Instance: i})
	}
}

// HasTrackedAddresses reports whether the reply contains an address whose expiry is tracked. If so, the server must
// send it while it holds a [directory.Guard], and call MarkSent before and after.
func (r *Reply) HasTrackedAddresses() bool {
	for _, section := range [...][]Record{r.Answer, r.Additional} {
		for k := range section {
			if i := section[k].Instance; i != nil && i.TrackExpiry {
				return true
			}
		}
	}
	return false
}

// MarkSent records for each instance in the reply that the reply is sent now.
func (r *Reply) MarkSent(now directory.Tick) {
	for _, section := range [...][]Record{r.Answer, r.Additional} {
		for k := range section {
			if i := section[k].Instance; i != nil {
				i.MarkSent(now, section[k].TTL)
			}
		}
	}
}

// limitTTL reduces the TTL of every record to at most ttl seconds.
func (r *Reply) limitTTL(ttl uint32) {
	for _, section := range [...][]Record{r.Answer, r.Authority, r.Additional} {
		for k := range section {
			section[k].TTL = min(section[k].TTL, ttl)
		}
	}
}
