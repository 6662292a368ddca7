package answer

import (
	"net/netip"

	"github.com/bakingclouds/rollcall/internal/directory"
)

// Reply is a decision: which records, in which section. It is authoritative unless OutsideZones or Refused.
type Reply struct {
	Rcode Rcode
	// OutsideZones: no zone of this client's view encloses the name; the server forwards it or refuses.
	OutsideZones bool
	// ExternalTarget is the target of the answer's last CNAME when that lies in no zone of ours: a server that
	// resolves for the client goes on with it, since stub resolvers do not. "" otherwise.
	ExternalTarget string

	Answer     []Record
	Authority  []Record // the zone's SOA in a negative answer
	Additional []Record

	// View is the service that the question named, for counting; nil when it named none.
	View *directory.View

	chosen [maxAnswers]*directory.Instance
}

// Record is one resource record of a reply. Which fields count depends on Type: Addr for A and AAAA; Target
// for CNAME, NS, SRV (with Port) and SOA, whose primary server it is; none for HINFO.
type Record struct {
	Owner  Name
	Type   uint16
	Port   uint16
	TTL    uint32
	Addr   netip.Addr
	Target Name
	// Instance is the one that the record hands out; nil for records of a zone.
	Instance *directory.Instance
}

// What an encoder adds to the records, the same in every one.
const (
	// Priority and weight of SRV records cannot be set in Cloud Map.
	SRVPriority, SRVWeight = 1, 1
	// The numbers of a zone's SOA are those of Route 53, except the minimum, which is the record's TTL. The
	// serial does not move: there are no secondaries that would ask for it.
	SOASerial, SOARefresh, SOARetry, SOAExpire = 1, 7200, 900, 1209600
	// HINFO's CPU field in the answer to ANY; the OS field is empty (RFC 8482, section 4.2).
	HINFOCPU = "RFC8482"
)

// From says how a name in a reply is spelled.
type From uint8

// The ways to spell a name. All but Literal keep the spelling of the question (what clients that vary the
// case of their questions rely on), and are pointers to it on the wire.
const (
	Literal  From = iota // Text
	Question             // the question's name
	Below                // Text, a dot, the question's name
	Above                // the end of the question's name that has as many labels as Text
)

// Name is a name in a reply. Text has no dot at its end; it is lower case, but for the target of a CNAME,
// which is as it was registered.
type Name struct {
	From From
	Text string
}

// Expand returns the name in full, without a dot at its end. question is the question's name, folded.
func (n Name) Expand(question string) string {
	switch n.From {
	case Question:
		return question
	case Below:
		return n.Text + "." + question
	default:
		return n.Text // folded, so the end of the question's name is equal to it
	}
}

func (r *Reply) reset() {
	*r = Reply{Answer: r.Answer[:0], Authority: r.Authority[:0], Additional: r.Additional[:0]}
}

// address adds an instance's address of the family, if it has one.
func (r *Reply) address(section *[]Record, owner Name, t directory.RecordType, ttl uint32, i *directory.Instance) {
	addr := i.IPv4
	if t == directory.AAAA {
		addr = i.IPv6
	}
	if addr.IsValid() {
		*section = append(*section, Record{Owner: owner, Type: uint16(t), TTL: ttl, Addr: addr, Instance: i})
	}
}

// HasTrackedAddresses reports whether the reply gives away an address that drains: it is then to be sent within a
// [directory.Guard], with MarkSent before and after.
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

// MarkSent notes that the reply leaves now.
func (r *Reply) MarkSent(now directory.Tick) {
	for _, section := range [...][]Record{r.Answer, r.Additional} {
		for k := range section {
			if i := section[k].Instance; i != nil {
				i.MarkSent(now, section[k].TTL)
			}
		}
	}
}

// bound makes no record live longer than ttl seconds.
func (r *Reply) bound(ttl uint32) {
	for _, section := range [...][]Record{r.Answer, r.Authority, r.Additional} {
		for k := range section {
			section[k].TTL = min(section[k].TTL, ttl)
		}
	}
}
