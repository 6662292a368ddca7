// Package attributes keeps the attributes of instances small. A million instances have a handful of sets of keys, so
// the keys are stored once for all sets that have the same ([Set]), and the values of a set in one string. Both are kept
// as the text of JSON, since that is what they come from (a row) and what they are for (DiscoverInstances).
//
// A map of eight attributes takes some 400 bytes, and writing it as JSON a sort; a Set takes about 100 and is copied.
package attributes

import (
	"encoding/binary"
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"unique"

	"github.com/go-json-experiment/json/jsontext"
)

// Set is a map of strings that never changes. Equal sets are ==. The zero Set is empty.
type Set struct {
	// shape is what stands in the set's JSON between the values, in parts: {"a":" and ","b":" and so on.
	shape unique.Handle[string]
	// values are what stands between those, in parts.
	values string
}

// Of is the set of a map.
func Of(m map[string]string) Set {
	if len(m) == 0 {
		return Set{}
	}
	var shape, values []byte
	for _, key := range slices.Sorted(maps.Keys(m)) {
		shape = appendKey(shape, appendText(nil, key))
		values = appendPart(values, appendText(nil, m[key]))
	}
	return Set{interned(shape), string(values)}
}

// A part is a text behind its length: in one byte, or, when that is long, in four more.
const long = 0xff

func appendLength(dst []byte, n int) []byte {
	if n < long {
		return append(dst, byte(n))
	}
	return binary.BigEndian.AppendUint32(append(dst, long), uint32(n))
}

func appendPart(dst, text []byte) []byte { return append(appendLength(dst, len(text)), text...) }

// cut takes the first part off.
func cut(s string) (text, rest string) {
	if n := int(s[0]) + 1; n <= long {
		return s[1:n], s[n:]
	}
	return cutLong(s[1:])
}

func cutLong(s string) (text, rest string) {
	n := int(s[0])<<24 | int(s[1])<<16 | int(s[2])<<8 | int(s[3])
	return s[4 : 4+n], s[4+n:]
}

// What is in a part of a shape beside the key's text. The first part has one character less.
const before, behind = `","`, `":"`

func appendKey(shape, key []byte) []byte {
	opening := before
	if len(shape) == 0 {
		opening = `{"`
	}
	shape = appendLength(shape, len(opening)+len(key)+len(behind))
	return append(append(append(shape, opening...), key...), behind...)
}

// recent is the shape met last, most often the one that comes next.
var recent atomic.Pointer[unique.Handle[string]]

func interned(shape []byte) unique.Handle[string] {
	if r := recent.Load(); r != nil && r.Value() == string(shape) {
		return *r
	}
	h := unique.Make(string(shape))
	recent.Store(&h)
	return h
}

// AppendJSON appends the set as a JSON object, its keys in their order.
func (s Set) AppendJSON(dst []byte) []byte {
	if s == (Set{}) {
		return append(dst, "{}"...)
	}
	var part, value string
	for shape, values := s.shape.Value(), s.values; shape != ""; {
		part, shape = cut(shape)
		value, values = cut(values)
		dst = append(append(dst, part...), value...)
	}
	return append(dst, `"}`...)
}

// texts goes through the keys and values as they stand in JSON.
func (s Set) texts() iter.Seq2[string, string] {
	return func(yield func(key, value string) bool) {
		if s == (Set{}) {
			return
		}
		opening := len(before) - 1
		var part, value string
		for shape, values := s.shape.Value(), s.values; shape != ""; opening = len(before) {
			part, shape = cut(shape)
			value, values = cut(values)
			if !yield(part[opening:len(part)-len(behind)], value) {
				return
			}
		}
	}
}

// All goes through the attributes in the order of their keys.
func (s Set) All() iter.Seq2[string, string] {
	return func(yield func(key, value string) bool) {
		for k, v := range s.texts() {
			if !yield(meaning(k), meaning(v)) {
				return
			}
		}
	}
}

// Get returns an attribute, "" when there is none.
func (s Set) Get(key string) string {
	v, _ := s.Lookup(key)
	return v
}

// Lookup returns an attribute, and whether there is one.
func (s Set) Lookup(key string) (string, bool) {
	text := key
	if !plain(key) {
		text = string(appendText(nil, key))
	}
	for k, v := range s.texts() {
		if k == text {
			return meaning(v), true
		}
	}
	return "", false
}

// Map copies the set to a map.
func (s Set) Map() map[string]string { return maps.Collect(s.All()) }

// MarshalJSON writes an object.
func (s Set) MarshalJSON() ([]byte, error) { return s.AppendJSON(nil), nil }

// UnmarshalJSON reads an object of strings.
func (s *Set) UnmarshalJSON(b []byte) error {
	if set, ok := parse(b); ok {
		*s = set
		return nil
	}
	var m map[string]string
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	*s = Of(m)
	return nil
}

// parse reads what AppendJSON writes when nothing in it is escaped, which is nearly always; it leaves everything else
// to others. The set is the one that Of makes.
func parse(b []byte) (Set, bool) {
	var shapeOn, valuesOn [512]byte // on the stack
	shape, values := shapeOn[:0], valuesOn[:0]
	opening, last := `{"`, []byte(nil)
	for {
		if !eat(&b, opening) {
			return Set{}, false
		}
		key, ok := eatText(&b)
		if !ok || len(shape) > 0 && string(last) >= string(key) || !eat(&b, `:"`) {
			return Set{}, false
		}
		value, ok := eatText(&b)
		if !ok {
			return Set{}, false
		}
		shape, values = appendKey(shape, key), appendPart(values, value)
		if string(b) == "}" {
			return Set{interned(shape), string(values)}, true
		}
		opening, last = `,"`, key
	}
}

func eat(b *[]byte, text string) bool {
	if len(*b) < len(text) || string((*b)[:len(text)]) != text {
		return false
	}
	*b = (*b)[len(text):]
	return true
}

// eatText reads to the end of a string of characters that all stand for themselves.
func eatText(b *[]byte) ([]byte, bool) {
	i := 0
	for i < len(*b) && isPlain((*b)[i]) {
		i++
	}
	text := (*b)[:i]
	*b = (*b)[i:]
	return text, eat(b, `"`)
}

// isPlain reports whether a byte stands for itself in JSON text, whatever stands beside it.
func isPlain(c byte) bool { return table[c] }

var table = func() (t [256]bool) {
	for c := ' '; c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

func plain(s string) bool {
	for i := range len(s) {
		if !isPlain(s[i]) {
			return false
		}
	}
	return true
}

// appendText appends a string as it stands in JSON, without its quotes. What is not UTF-8 becomes U+FFFD.
func appendText(dst []byte, s string) []byte {
	if plain(s) {
		return append(dst, s...)
	}
	quoted, _ := jsontext.AppendQuote(nil, s) // the error tells of what became U+FFFD
	return append(dst, quoted[1:len(quoted)-1]...)
}

// meaning is the string that a text stands for.
func meaning(text string) string {
	if !strings.Contains(text, `\`) {
		return text
	}
	s, _ := jsontext.AppendUnquote(nil, `"`+text+`"`) // appendText's own
	return string(s)
}
