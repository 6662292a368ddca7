package awsapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of one message, in addition to the length of its body.
const (
	// maxDepth is the deepest nesting of values. The deepest shape of ECS and Cloud Map has 10 levels.
	maxDepth = 64
	// maxElements is the largest number of bytes of Go values that the list and map elements of one message may need.
	// Without it, 1 MiB of "{},{},{}" would become several hundred MiB of structs.
	maxElements = 32 << 20
)

// Decode reads a JSON object into *v, a pointer to a zero struct. An empty body is {}. Member names are case-sensitive,
// unknown members are ignored, and null means absent, also in lists and maps. An integer may be written as 60 or 60.0.
//
// All errors are [*Error] with the code SerializationException and name the member: the data is not UTF-8 or not JSON,
// a member has another JSON type than its shape, a number is out of range, or the member is a union or document, which
// this codec does not decode.
func (n Naming) Decode(data []byte, v any) error {
	data = bytes.TrimSpace(data)
	switch {
	case len(data) == 0:
		return nil
	case !utf8.Valid(data):
		return serialization("the body is not UTF-8")
	case !json.Valid(data):
		return serialization("the body is not JSON")
	}
	// The text is valid JSON from here on, so the decoder checks only what it needs.
	d := decoder{data: data, budget: maxElements}
	p := reflect.ValueOf(v).Elem()
	if d.null() {
		return nil
	}
	if err := codecOf(p.Type(), n).decode(&d, p); err != nil {
		if bad := (*mismatch)(nil); errors.As(err, &bad) {
			return serialization("%s", bad.Error())
		}
		return err
	}
	return nil
}

func serialization(format string, args ...any) *Error {
	return &Error{Code: "SerializationException", Message: fmt.Sprintf(format, args...)}
}

// mismatch is the error for a value that does not fit its member. It collects its path while the decoder returns.
type mismatch struct {
	path string // containerDefinitions[0].cpu
	msg  string
}

func (m *mismatch) Error() string {
	if m.path == "" {
		return m.msg
	}
	return strings.TrimPrefix(m.path, ".") + ": " + m.msg
}

// under prepends a step to the path of err.
func under(err error, step string) error {
	if bad := (*mismatch)(nil); errors.As(err, &bad) {
		bad.path = step + bad.path
	}
	return err
}

// decoder walks over valid JSON.
type decoder struct {
	data   []byte
	pos    int
	depth  int
	budget int // bytes that further elements may need
}

// peek returns the first byte of the next token.
func (d *decoder) peek() byte {
	for {
		switch c := d.data[d.pos]; c {
		case ' ', '\t', '\n', '\r':
			d.pos++
		default:
			return c
		}
	}
}

// null consumes a null if it is the next value.
func (d *decoder) null() bool {
	if d.peek() != 'n' {
		return false
	}
	d.pos += len("null")
	return true
}

// want checks the type of the next value by its first byte.
func (d *decoder) want(first byte, name string) error {
	if d.peek() != first {
		return d.mismatch(name)
	}
	return nil
}

// mismatch returns an error for the next value, which is not of the type name, in the words of AWS.
func (d *decoder) mismatch(name string) error {
	found := "NUMBER_VALUE"
	switch d.peek() {
	case '{':
		found = "START_OBJECT"
	case '[':
		found = "START_ARRAY"
	case '"':
		found = "STRING_VALUE"
	case 't':
		found = "TRUE_VALUE"
	case 'f':
		found = "FALSE_VALUE"
	}
	return &mismatch{msg: found + " can not be converted to " + name}
}

// enter opens an object or array and reports whether it has elements. If it has none, enter consumes its end.
func (d *decoder) enter(end byte) (bool, error) {
	if d.depth++; d.depth > maxDepth {
		return false, &mismatch{msg: fmt.Sprintf("nested deeper than %d levels", maxDepth)}
	}
	d.pos++
	return !d.leave(end), nil
}

// leave consumes the end of an object or array if it is next.
func (d *decoder) leave(end byte) bool {
	if d.peek() != end {
		return false
	}
	d.pos++
	d.depth--
	return true
}

// more reports whether another element follows. It consumes the comma before the element, or the end.
func (d *decoder) more(end byte) bool {
	if d.leave(end) {
		return false
	}
	d.pos++ // the comma
	return true
}

// spend deducts an element's memory from the budget.
func (d *decoder) spend(size uintptr) error {
	if d.budget -= int(size); d.budget < 0 {
		return &mismatch{msg: "too many elements in one request"}
	}
	return nil
}

// token consumes a string with its quotes, a number or a word and returns its text.
func (d *decoder) token() []byte {
	first := d.peek()
	start := d.pos
	d.pos++
	if first == '"' {
		for d.data[d.pos] != '"' {
			if d.data[d.pos] == '\\' {
				d.pos++
			}
			d.pos++
		}
		d.pos++
		return d.data[start:d.pos]
	}
	for d.pos < len(d.data) {
		switch d.data[d.pos] {
		case ',', ']', '}', ' ', '\t', '\n', '\r':
			return d.data[start:d.pos]
		}
		d.pos++
	}
	return d.data[start:]
}

// skip consumes a value of any type and depth, without recursion.
func (d *decoder) skip() {
	open := 0
	for {
		switch d.peek() {
		case '{', '[':
			open++
			d.pos++
		case '}', ']':
			open--
			d.pos++
		case ',', ':':
			d.pos++
			continue
		default:
			d.token()
		}
		if open == 0 {
			return
		}
	}
}

// text consumes a string and returns its value.
func (d *decoder) text() string {
	quoted := d.token()
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1])
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		// impossible; the handler would answer 500
		panic(fmt.Sprintf("awsapi: decode a string that json.Valid accepted: %v", err))
	}
	return s
}

// key consumes a member's name and its colon.
func (d *decoder) key() string {
	name := d.text()
	d.peek()
	d.pos++ // the colon
	return name
}

func (s *structure) decode(d *decoder, v reflect.Value) error {
	if err := d.want('{', "a structure"); err != nil {
		return err
	}
	more, err := d.enter('}')
	for ; more && err == nil; more = d.more('}') {
		name := d.key()
		i, known := s.byName[name]
		switch {
		case d.null():
		case !known:
			d.skip()
		default:
			m := &s.members[i]
			if err := m.codec.decode(d, v.Field(m.index)); err != nil {
				return under(err, "."+name)
			}
		}
	}
	return err
}

func decodePointer(t reflect.Type, elem *codec) func(*decoder, reflect.Value) error {
	return func(d *decoder, v reflect.Value) error {
		p := reflect.New(t)
		if err := elem.decode(d, p.Elem()); err != nil {
			return err
		}
		v.Set(p)
		return nil
	}
}

func decodeList(t reflect.Type, elem *codec) func(*decoder, reflect.Value) error {
	return func(d *decoder, v reflect.Value) error {
		if err := d.want('[', "a list"); err != nil {
			return err
		}
		v.Set(reflect.MakeSlice(v.Type(), 0, 0)) // not nil, because an empty list differs from an absent one
		more, err := d.enter(']')
		for n := 0; more && err == nil; more = d.more(']') {
			if d.null() {
				continue
			}
			if err := d.spend(t.Size()); err != nil {
				return err
			}
			v.Grow(1)
			v.SetLen(n + 1)
			if err := elem.decode(d, v.Index(n)); err != nil {
				return under(err, "["+strconv.Itoa(n)+"]")
			}
			n++
		}
		return err
	}
}

func decodeMap(t reflect.Type, elem *codec) func(*decoder, reflect.Value) error {
	size := t.Key().Size() + t.Elem().Size()
	return func(d *decoder, v reflect.Value) error {
		if err := d.want('{', "a map"); err != nil {
			return err
		}
		v.Set(reflect.MakeMap(t))
		more, err := d.enter('}')
		for ; more && err == nil; more = d.more('}') {
			key := d.key()
			if d.null() {
				continue
			}
			if err := d.spend(size); err != nil {
				return err
			}
			value := reflect.New(t.Elem()).Elem()
			if err := elem.decode(d, value); err != nil {
				return under(err, "."+key)
			}
			v.SetMapIndex(reflect.ValueOf(key).Convert(t.Key()), value)
		}
		return err
	}
}

func decodeString(d *decoder, v reflect.Value) error {
	if err := d.want('"', "a String"); err != nil {
		return err
	}
	v.SetString(d.text())
	return nil
}

func decodeBool(d *decoder, v reflect.Value) error {
	switch d.peek() {
	case 't', 'f':
		v.SetBool(d.token()[0] == 't')
		return nil
	}
	return d.mismatch("a Boolean")
}

// number consumes a number and returns its text.
func (d *decoder) number(name string) (string, error) {
	if c := d.peek(); c != '-' && (c < '0' || c > '9') {
		return "", d.mismatch(name)
	}
	return string(d.token()), nil
}

func decodeInt(d *decoder, v reflect.Value) error {
	text, err := d.number("an Integer")
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(text, 10, v.Type().Bits())
	if err != nil { // 60.0 and 6e1 are integers too
		f, ferr := strconv.ParseFloat(text, 64)
		if ferr != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 || v.OverflowInt(int64(f)) {
			return &mismatch{msg: fmt.Sprintf("%.40s is not an integer of %d bits", text, v.Type().Bits())}
		}
		n = int64(f)
	}
	v.SetInt(n)
	return nil
}

func decodeFloat(d *decoder, v reflect.Value) error {
	text, err := d.number("a Double")
	if err != nil {
		return err
	}
	f, err := strconv.ParseFloat(text, v.Type().Bits())
	if err != nil {
		return &mismatch{msg: fmt.Sprintf("%.40s is too large for a number", text)}
	}
	v.SetFloat(f)
	return nil
}

// maxSeconds is the end of the year 9999, the last year of the time formats of other protocols.
const maxSeconds = 253402300799

// decodeTime reads seconds since the epoch. The protocol has milliseconds, which a float64 represents exactly enough
// for all years of four digits.
func decodeTime(d *decoder, v reflect.Value) error {
	text, err := d.number("a Timestamp")
	if err != nil {
		return err
	}
	s, err := strconv.ParseFloat(text, 64)
	if err != nil || math.Abs(s) > maxSeconds {
		return &mismatch{msg: fmt.Sprintf("%.40s seconds is not a time before the year 10000", text)}
	}
	v.Set(reflect.ValueOf(time.UnixMilli(int64(math.Round(s * 1000))).UTC()))
	return nil
}

func decodeRaw(d *decoder, v reflect.Value) error {
	d.peek()
	start := d.pos
	d.skip()
	v.SetBytes(bytes.Clone(d.data[start:d.pos]))
	return nil
}

// decodeUnsupported rejects a union or document. Ignoring it would hide from the caller that it has no effect.
func decodeUnsupported(*decoder, reflect.Value) error {
	return &mismatch{msg: "this member is not supported by this server; omit it"}
}
