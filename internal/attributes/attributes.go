// Package attributes stores the attributes of instances compactly. A million instances have only a few different sets
// of keys, so a [Set] shares its keys with all sets that have the same ones, and stores its values in one string.
// Keys and values are stored as JSON text, because they are read from the JSON of a row and written to the JSON of a
// DiscoverInstances response.
//
// A Set of eight attributes takes about 100 bytes and is written by copying. A map takes about 400 bytes and has to be
// sorted first.
//
// attributes does not know which attributes Cloud Map defines. Start reading at [Of] and [Set.AppendJSON].
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

// Set is an immutable map from strings to strings. Sets with the same contents are ==. The zero Set is empty.
type Set struct {
	// shape contains the parts of the set's JSON before each value: {"a":" and ","b":" and so on.
	shape unique.Handle[string]
	// values contains the JSON text of each value, without quotes.
	values string
}

// Of returns the set with the contents of a map.
func Of(m map[string]string) Set {
	if len(m) == 0 {
		return Set{}
	}
	var shape, values []byte
	for _, key := range slices.Sorted(maps.Keys(m)) {
		shape = appendKey(shape, appendText(nil, key))
		values = appendPart(values, appendText(nil, m[key]))
	}
	return Set{intern(shape), string(values)}
}

// A shape and values are lists of parts. A part is a text after its length, which takes one byte, or five bytes of
// which the first is longPart.
const longPart = 0xff

func appendLength(dst []byte, n int) []byte {
	if n < longPart {
		return append(dst, byte(n))
	}
	return binary.BigEndian.AppendUint32(append(dst, longPart), uint32(n))
}

func appendPart(dst, text []byte) []byte { return append(appendLength(dst, len(text)), text...) }

// cutPart returns the text of the first part, and the other parts.
func cutPart(s string) (text, rest string) {
	if n := int(s[0]) + 1; n <= longPart {
		return s[1:n], s[n:]
	}
	return cutLongPart(s[1:])
}

func cutLongPart(s string) (text, rest string) {
	n := int(s[0])<<24 | int(s[1])<<16 | int(s[2])<<8 | int(s[3])
	return s[4 : 4+n], s[4+n:]
}

// A part of a shape is beforeKey, the key's text and afterKey. The first part begins with {" instead of beforeKey.
const beforeKey, afterKey = `","`, `":"`

func appendKey(shape, key []byte) []byte {
	opening := beforeKey
	if len(shape) == 0 {
		opening = `{"`
	}
	shape = appendLength(shape, len(opening)+len(key)+len(afterKey))
	return append(append(append(shape, opening...), key...), afterKey...)
}

// recent is the shape that was interned last. Most calls intern the same one again.
var recent atomic.Pointer[unique.Handle[string]]

// intern returns the handle of a shape.
func intern(shape []byte) unique.Handle[string] {
	if r := recent.Load(); r != nil && r.Value() == string(shape) {
		return *r
	}
	h := unique.Make(string(shape))
	recent.Store(&h)
	return h
}

// AppendJSON appends the set as a JSON object, ordered by key.
func (s Set) AppendJSON(dst []byte) []byte {
	if s == (Set{}) {
		return append(dst, "{}"...)
	}
	var part, value string
	for shape, values := s.shape.Value(), s.values; shape != ""; {
		part, shape = cutPart(shape)
		value, values = cutPart(values)
		dst = append(append(dst, part...), value...)
	}
	return append(dst, `"}`...)
}

// texts returns an iterator over the JSON texts of the keys and values, without quotes.
func (s Set) texts() iter.Seq2[string, string] {
	return func(yield func(key, value string) bool) {
		if s == (Set{}) {
			return
		}
		opening := len(beforeKey) - 1
		var part, value string
		for shape, values := s.shape.Value(), s.values; shape != ""; opening = len(beforeKey) {
			part, shape = cutPart(shape)
			value, values = cutPart(values)
			if !yield(part[opening:len(part)-len(afterKey)], value) {
				return
			}
		}
	}
}

// All returns an iterator over the attributes, ordered by key.
func (s Set) All() iter.Seq2[string, string] {
	return func(yield func(key, value string) bool) {
		for k, v := range s.texts() {
			if !yield(unquote(k), unquote(v)) {
				return
			}
		}
	}
}

// Get returns the value of an attribute, "" if the set does not have it.
func (s Set) Get(key string) string {
	v, _ := s.Lookup(key)
	return v
}

// Lookup returns the value of an attribute, and whether the set has it.
func (s Set) Lookup(key string) (string, bool) {
	text := key
	if !isPlainText(key) {
		text = string(appendText(nil, key))
	}
	for k, v := range s.texts() {
		if k == text {
			return unquote(v), true
		}
	}
	return "", false
}

// Map returns a copy of the set as a map.
func (s Set) Map() map[string]string { return maps.Collect(s.All()) }

// MarshalJSON returns the set as a JSON object.
func (s Set) MarshalJSON() ([]byte, error) { return s.AppendJSON(nil), nil }

// UnmarshalJSON parses a JSON object whose values are strings.
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

// parse parses the output of AppendJSON, provided that it contains no escape, as is almost always the case. It
// returns false for any other JSON, which UnmarshalJSON then parses in the general way. The set is == to the one that
// Of returns.
func parse(b []byte) (Set, bool) {
	var shapeBuf, valuesBuf [512]byte // on the stack
	shape, values := shapeBuf[:0], valuesBuf[:0]
	opening, last := `{"`, []byte(nil)
	for {
		if !cutPrefix(&b, opening) {
			return Set{}, false
		}
		key, ok := cutPlainText(&b)
		if !ok || len(shape) > 0 && string(last) >= string(key) || !cutPrefix(&b, `:"`) {
			return Set{}, false
		}
		value, ok := cutPlainText(&b)
		if !ok {
			return Set{}, false
		}
		shape, values = appendKey(shape, key), appendPart(values, value)
		if string(b) == "}" {
			return Set{intern(shape), string(values)}, true
		}
		opening, last = `,"`, key
	}
}

// cutPrefix removes a prefix from b and reports whether b had it.
func cutPrefix(b *[]byte, text string) bool {
	if len(*b) < len(text) || string((*b)[:len(text)]) != text {
		return false
	}
	*b = (*b)[len(text):]
	return true
}

// cutPlainText removes plain characters and the closing quote after them from b. It returns the characters.
func cutPlainText(b *[]byte) ([]byte, bool) {
	i := 0
	for i < len(*b) && isPlain((*b)[i]) {
		i++
	}
	text := (*b)[:i]
	*b = (*b)[i:]
	return text, cutPrefix(b, `"`)
}

// isPlain reports whether a byte is a character that JSON text contains without an escape.
func isPlain(c byte) bool { return plainBytes[c] }

var plainBytes = func() (t [256]bool) {
	for c := ' '; c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

func isPlainText(s string) bool {
	for i := range len(s) {
		if !isPlain(s[i]) {
			return false
		}
	}
	return true
}

// appendText appends the JSON text of a string, without quotes. Invalid UTF-8 becomes U+FFFD.
func appendText(dst []byte, s string) []byte {
	if isPlainText(s) {
		return append(dst, s...)
	}
	quoted, _ := jsontext.AppendQuote(nil, s) // an error reports invalid UTF-8
	return append(dst, quoted[1:len(quoted)-1]...)
}

// unquote returns the string of a JSON text without quotes.
func unquote(text string) string {
	if !strings.Contains(text, `\`) {
		return text
	}
	s, _ := jsontext.AppendUnquote(nil, `"`+text+`"`) // appendText wrote it
	return string(s)
}
