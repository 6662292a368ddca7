package awsapi

import (
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Append appends the JSON of *v to dst. v is a pointer to a struct, usually an Input or Output of an SDK client. A nil
// pointer is encoded as {}. The members of a map are sorted by key, so equal values have equal encodings. Members of
// interface types (unions, documents) are omitted.
func (n Naming) Append(dst []byte, v any) []byte {
	p := reflect.ValueOf(v)
	if p.IsNil() {
		return append(dst, "{}"...)
	}
	return codecOf(p.Type().Elem(), n).append(dst, p.Elem())
}

func (s *structure) append(dst []byte, v reflect.Value) []byte {
	dst = append(dst, '{')
	start := len(dst)
	dst = s.appendMembers(dst, v)
	if len(dst) > start {
		dst = dst[:len(dst)-1] // without the last comma
	}
	return append(dst, '}')
}

// appendMembers writes the members that are present, each followed by a comma.
func (s *structure) appendMembers(dst []byte, v reflect.Value) []byte {
	for i := range s.members {
		m := &s.members[i]
		f := v.Field(m.index)
		if m.codec.absent != nil && m.codec.absent(f) {
			continue
		}
		dst = append(dst, m.key...)
		dst = m.codec.append(dst, f)
		dst = append(dst, ',')
	}
	return dst
}

func appendPointer(elem *codec) func([]byte, reflect.Value) []byte {
	return func(dst []byte, v reflect.Value) []byte {
		if v.IsNil() {
			return appendNull(dst, v)
		}
		return elem.append(dst, v.Elem())
	}
}

func appendList(elem *codec) func([]byte, reflect.Value) []byte {
	return func(dst []byte, v reflect.Value) []byte {
		dst = append(dst, '[')
		for i := range v.Len() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = elem.append(dst, v.Index(i))
		}
		return append(dst, ']')
	}
}

func appendMap(t reflect.Type, elem *codec) func([]byte, reflect.Value) []byte {
	if t == reflect.TypeFor[map[string]string]() {
		return appendStringMap
	}
	return func(dst []byte, v reflect.Value) []byte {
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		dst = append(dst, '{')
		for i, key := range keys {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(AppendString(dst, key.String()), ':')
			dst = elem.append(dst, v.MapIndex(key))
		}
		return append(dst, '}')
	}
}

// appendStringMap is appendMap without its allocations, for the attributes of instances: ListInstances writes hundreds
// of them.
func appendStringMap(dst []byte, v reflect.Value) []byte {
	var m map[string]string
	if v.CanAddr() {
		m = *v.Addr().Interface().(*map[string]string)
	} else {
		m = v.Interface().(map[string]string)
	}
	type pair struct{ key, value string }
	var few [32]pair // an instance has at most 30 attributes
	pairs := few[:0]
	for key, value := range m {
		pairs = append(pairs, pair{key, value})
	}
	slices.SortFunc(pairs, func(a, b pair) int { return strings.Compare(a.key, b.key) })
	dst = append(dst, '{')
	for i, p := range pairs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendString(dst, p.key), ':')
		dst = AppendString(dst, p.value)
	}
	return append(dst, '}')
}

func appendStringValue(dst []byte, v reflect.Value) []byte { return AppendString(dst, v.String()) }

func appendBool(dst []byte, v reflect.Value) []byte { return strconv.AppendBool(dst, v.Bool()) }

func appendInt(dst []byte, v reflect.Value) []byte { return strconv.AppendInt(dst, v.Int(), 10) }

// appendFloat writes the shortest digits that parse to the same number. JSON has neither infinities nor NaN, and no
// member uses them, so they become 0.
func appendFloat(dst []byte, v reflect.Value) []byte {
	f := v.Float()
	if math.IsNaN(f) || math.IsInf(f, 0) {
		f = 0
	}
	return strconv.AppendFloat(dst, f, 'g', -1, v.Type().Bits())
}

func appendRaw(dst []byte, v reflect.Value) []byte {
	if v.Len() == 0 {
		return appendNull(dst, v)
	}
	return append(dst, v.Bytes()...)
}

func appendSelf(dst []byte, v reflect.Value) []byte {
	if v.CanAddr() {
		v = v.Addr() // avoids a copy on the heap
	}
	return v.Interface().(appender).AppendJSON(dst)
}

func appendNull(dst []byte, _ reflect.Value) []byte { return append(dst, "null"...) }

// appendTime writes seconds since the epoch with up to three decimals: 1587055860.121.
func appendTime(dst []byte, v reflect.Value) []byte {
	var t time.Time
	if v.CanAddr() {
		t = *v.Addr().Interface().(*time.Time)
	} else {
		t = v.Interface().(time.Time)
	}
	ms := t.UnixMilli()
	if ms < 0 {
		dst = append(dst, '-')
		ms = -ms
	}
	dst = strconv.AppendInt(dst, ms/1000, 10)
	if frac := ms % 1000; frac != 0 {
		dst = append(dst, '.', byte('0'+frac/100), byte('0'+frac/10%10), byte('0'+frac%10))
		for dst[len(dst)-1] == '0' {
			dst = dst[:len(dst)-1]
		}
	}
	return dst
}

// unescaped contains the bytes that a JSON string may contain without an escape, in any context.
var unescaped = func() (table [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		table[c] = c != '"' && c != '\\'
	}
	return table
}()

// AppendString appends s as a JSON string (RFC 8259, section 7). Bytes that are not UTF-8 become U+FFFD, because JSON
// cannot contain them.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	done := 0 // s[done:i] needs no escape
	for i := 0; i < len(s); {
		if unescaped[s[i]] {
			i++
			continue
		}
		if s[i] >= utf8.RuneSelf {
			if _, size := utf8.DecodeRuneInString(s[i:]); size > 1 {
				i += size
				continue
			}
		}
		dst = append(dst, s[done:i]...)
		dst = appendEscaped(dst, s[i])
		i++
		done = i
	}
	dst = append(dst, s[done:]...)
	return append(dst, '"')
}

// appendEscaped writes a byte that a JSON string must not contain as it is.
func appendEscaped(dst []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch {
	case c == '"' || c == '\\':
		return append(dst, '\\', c)
	case c == '\n':
		return append(dst, `\n`...)
	case c == '\r':
		return append(dst, `\r`...)
	case c == '\t':
		return append(dst, `\t`...)
	case c < ' ':
		return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
	default:
		return append(dst, "\ufffd"...)
	}
}

// StringOrNil returns nil for the empty string, because AWS omits members without a value.
func StringOrNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
