package answer

import (
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/bakingclouds/rollcall/internal/directory"
)

// choose draws the instances of an answer of type t: at most eight, or one for a weighted service, without
// replacement, every subset and every order equally likely. Those that have nothing to answer with are
// passed over. When no healthy instance can be answered the unhealthy ones are, as Route 53 does, which
// counts health per record set, that is per name and type.
//
// The result is valid until the next call.
func (s *step) choose(v *directory.View, t directory.RecordType) []*directory.Instance {
	want := maxAnswers
	if v.Service.Policy == directory.Weighted || t == directory.CNAME {
		want = 1
	}
	fit := fitness{t, v.FullName}
	chosen := s.draw(v.In(directory.Healthy), want, fit)
	if len(chosen) == 0 {
		chosen = s.draw(v.In(directory.Unhealthy), want, fit)
	}
	return chosen
}

// draw picks up to want instances that fit. Where each that is drawn fits, which is nearly always, the cost
// is that of want draws, however large the set.
func (s *step) draw(set directory.Set, want int, fit fitness) []*directory.Instance {
	chosen := s.r.chosen[:0]
	if set.Len() <= want {
		for k := range set.Len() {
			if i := set.At(k); fit.ok(i) {
				chosen = append(chosen, i)
			}
		}
		s.shuffle(chosen)
		return chosen
	}
	var taken [maxAnswers]int
	for len(chosen) < want {
		k := s.rnd.below(set.Len())
		if slices.Contains(taken[:len(chosen)], k) {
			continue
		}
		i := set.At(k)
		if !fit.ok(i) {
			return s.drawFrom(set, want, fit)
		}
		taken[len(chosen)] = k
		chosen = append(chosen, i)
	}
	return chosen
}

// drawFrom is draw for a set in which some do not fit: it looks at each one (reservoir sampling, algorithm
// R), since how many fit is not known. Starting over keeps the draw uniform: nothing here tells one fitting
// instance from another.
func (s *step) drawFrom(set directory.Set, want int, fit fitness) []*directory.Instance {
	chosen, seen := s.r.chosen[:0], 0
	for k := range set.Len() {
		i := set.At(k)
		if !fit.ok(i) {
			continue
		}
		seen++
		if len(chosen) < want {
			chosen = append(chosen, i)
		} else if at := s.rnd.below(seen); at < want {
			chosen[at] = i
		}
	}
	s.shuffle(chosen)
	return chosen
}

func (s *step) shuffle(chosen []*directory.Instance) {
	for k := len(chosen) - 1; k > 0; k-- {
		at := s.rnd.below(k + 1)
		chosen[k], chosen[at] = chosen[at], chosen[k]
	}
}

// fitness says which instances can be answered with a type at a service's name.
type fitness struct {
	t       directory.RecordType
	service string
}

func (f fitness) ok(i *directory.Instance) bool {
	switch f.t {
	case directory.A:
		return i.IPv4.IsValid()
	case directory.AAAA:
		return i.IPv6.IsValid()
	case directory.CNAME:
		return validName(strings.TrimSuffix(i.CNAME, "."), maxName)
	default: // SRV: a name that no message can carry must not spoil the whole answer
		return validName(i.ID, maxName-len(f.service)-1)
	}
}

// maxName is the length of the longest name in text without its last dot: 255 octets on the wire are each
// label with its length octet, and the root's (RFC 1035, section 3.1).
const maxName = 253

// validName reports whether text can be sent as a name of at most limit octets: labels of 1 to 63 octets.
// A backslash would be read as the begin of an escape and occurs in no name that is registered.
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

// source is a stream of random numbers from one word.
type source struct{ pcg rand.PCG }

func newSource(word uint64) source {
	var s source
	s.pcg.Seed(word, 0x9e3779b97f4a7c15)
	return s
}

// below returns a number from 0 to n-1: the high half of a product instead of a remainder, which spares a
// division, and whose bias of n/2^64 nobody can measure.
func (s *source) below(n int) int {
	hi, _ := bits.Mul64(s.pcg.Uint64(), uint64(n))
	return int(hi)
}
