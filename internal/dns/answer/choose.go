package answer

import (
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/bakingclouds/rollcall/internal/directory"
)

// choose chooses the instances of an answer of type t: at most eight, or one for a weighted service. Every subset and
// every order has the same probability. Instances without a record of the type are not eligible. If no healthy instance
// is eligible, choose chooses among the unhealthy ones. Route 53 does the same: it evaluates health per record set,
// that is, per name and type.
//
// The result is valid until the next call.
func (s *resolution) choose(v *directory.View, t directory.RecordType) []*directory.Instance {
	want := maxAnswers
	if v.Service.Policy == directory.Weighted || t == directory.CNAME {
		want = 1
	}
	e := eligibility{t, v.FullName}
	chosen := s.sample(v.In(directory.Healthy), want, e)
	if len(chosen) == 0 {
		chosen = s.sample(v.In(directory.Unhealthy), want, e)
	}
	return chosen
}

// sample returns up to want random eligible instances. In the common case, in which every instance that it draws is
// eligible, the cost is that of want draws, regardless of the size of the set.
func (s *resolution) sample(set directory.Set, want int, e eligibility) []*directory.Instance {
	chosen := s.r.chosen[:0]
	if set.Len() <= want {
		for k := range set.Len() {
			if i := set.At(k); e.includes(i) {
				chosen = append(chosen, i)
			}
		}
		s.shuffle(chosen)
		return chosen
	}
	var drawn [maxAnswers]int
	for len(chosen) < want {
		k := s.rnd.intN(set.Len())
		if slices.Contains(drawn[:len(chosen)], k) {
			continue
		}
		i := set.At(k)
		if !e.includes(i) {
			return s.sampleAll(set, want, e)
		}
		drawn[len(chosen)] = k
		chosen = append(chosen, i)
	}
	return chosen
}

// sampleAll is sample for a set in which some instances are not eligible. It inspects every instance (reservoir
// sampling, algorithm R), because the number of eligible instances is unknown. Starting over here does not bias the
// sample, because the decision to start over does not depend on which eligible instances were drawn before.
func (s *resolution) sampleAll(set directory.Set, want int, e eligibility) []*directory.Instance {
	chosen, seen := s.r.chosen[:0], 0
	for k := range set.Len() {
		i := set.At(k)
		if !e.includes(i) {
			continue
		}
		seen++
		if len(chosen) < want {
			chosen = append(chosen, i)
		} else if at := s.rnd.intN(seen); at < want {
			chosen[at] = i
		}
	}
	s.shuffle(chosen)
	return chosen
}

func (s *resolution) shuffle(chosen []*directory.Instance) {
	for k := len(chosen) - 1; k > 0; k-- {
		at := s.rnd.intN(k + 1)
		chosen[k], chosen[at] = chosen[at], chosen[k]
	}
}

// eligibility determines which instances have a record of a type at a service's name.
type eligibility struct {
	t       directory.RecordType
	service string
}

func (e eligibility) includes(i *directory.Instance) bool {
	switch e.t {
	case directory.A:
		return i.IPv4.IsValid()
	case directory.AAAA:
		return i.IPv6.IsValid()
	case directory.CNAME:
		return validName(strings.TrimSuffix(i.CNAME, "."), maxName)
	default: // SRV: one name that is too long for a message must not make the whole answer unencodable
		return validName(i.ID, maxName-len(e.service)-1)
	}
}

// maxName is the length of the longest name as text without a trailing dot. On the wire, a name has at most 255 octets,
// which include a length octet for each label and for the root (RFC 1035, section 3.1).
const maxName = 253

// validName reports whether text can be encoded as a name of at most limit octets with labels of 1 to 63 octets. A
// backslash would begin an escape sequence; no registered name contains one.
func validName(text string, limit int) bool {
	if text == "" || len(text) > limit {
		return false
	}
	label := 0
	for k := range len(text) {
		switch text[k] {
		case '\\':
			return false
		case '.':
			if label == 0 {
				return false
			}
			label = 0
		default:
			if label++; label > 63 {
				return false
			}
		}
	}
	return label > 0
}

// random is a sequence of random numbers that one seed determines.
type random struct{ pcg rand.PCG }

func newRandom(seed uint64) random {
	var r random
	r.pcg.Seed(seed, 0x9e3779b97f4a7c15)
	return r
}

// intN returns a number from 0 to n-1. It uses the high half of a product in place of a remainder, which saves a
// division. The bias of n/2^64 is not measurable.
func (r *random) intN(n int) int {
	hi, _ := bits.Mul64(r.pcg.Uint64(), uint64(n))
	return int(hi)
}
