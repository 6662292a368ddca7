package awsapi

import (
	"encoding/json"
	"fmt"
	"reflect"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
)

// Naming is how an API spells its members on the wire. The shapes are aws-sdk-go-v2's, whose generator
// makes a Go field's name from the member's by raising the first letter, so only that can differ.
//
// Its methods [Naming.Append] and [Naming.Decode] are the codec. It knows the kinds of members that the
// SDK's clients use: strings and enumerations, booleans, numbers, timestamps, structures, lists and maps,
// plus [json.RawMessage] and types that have a method AppendJSON for JSON that is at hand already. What Go keeps apart, the wire does too: a nil
// pointer, list or map and an empty enumeration are absent, an empty list or map is [] or {}, and a
// member whose Go type is a plain number or bool is always there.
type Naming int

// The two spellings.
const (
	UpperCamel Naming = iota // ResourceARN: Cloud Map
	LowerCamel               // resourceArn, enableECSManagedTags: ECS
)

// wire gives the member name of a Go field.
func (n Naming) wire(field string) string {
	if n == UpperCamel {
		return field
	}
	first, size := utf8.DecodeRuneInString(field)
	return string(unicode.ToLower(first)) + field[size:]
}

// codec reads and writes the values of one Go type. It is built once and holds no state of a message.
type codec struct {
	append func(dst []byte, v reflect.Value) []byte
	decode func(d *decoder, v reflect.Value) error
	// absent reports that a structure leaves out a member of this value; nil means never.
	absent func(v reflect.Value) bool
}

// member is one field of a structure.
type member struct {
	index int
	name  string // on the wire
	key   string // "name": with quotes and colon, ready to be appended
	codec *codec
}

// structure is what the codec of a Go struct works from.
type structure struct {
	members []member       // in the order of the Go struct
	byName  map[string]int // wire name to index in members; case-sensitive, as the protocol is
}

var (
	timeType     = reflect.TypeFor[time.Time]()
	rawType      = reflect.TypeFor[json.RawMessage]()
	metadataType = reflect.TypeFor[middleware.Metadata]()
	apiErrorType = reflect.TypeFor[smithy.APIError]()
	appenderType = reflect.TypeFor[appender]()
)

// appender is what can write itself. It is for answers only: nothing reads one.
type appender interface{ AppendJSON(dst []byte) []byte }

type codecKey struct {
	goType reflect.Type
	naming Naming
}

var (
	codecs   sync.Map   // codecKey to *codec, complete ones only
	building sync.Mutex // held while a codec and those below it are built
)

// codecOf returns the codec of a type and builds it at first use. A type that has no form on the wire (a
// channel, a function) is a mistake in our own code and panics.
func codecOf(t reflect.Type, n Naming) *codec {
	if c, ok := codecs.Load(codecKey{t, n}); ok {
		return c.(*codec)
	}
	building.Lock()
	defer building.Unlock()
	b := builder{naming: n, built: map[reflect.Type]*codec{}}
	c := b.codec(t)
	// Only now, when no codec among them is half built any more, may other goroutines see them.
	for t, c := range b.built {
		codecs.Store(codecKey{t, n}, c)
	}
	return c
}

type builder struct {
	naming Naming
	built  map[reflect.Type]*codec
}

func (b *builder) codec(t reflect.Type) *codec {
	if c, ok := b.built[t]; ok {
		return c
	}
	c := &codec{}
	b.built[t] = c // before its parts are built, so that a type may contain itself
	switch {
	case t == timeType:
		*c = codec{append: appendTime, decode: decodeTime}
	case isUnion(t):
		*c = codec{append: appendNull, decode: decodeUnsupported, absent: func(reflect.Value) bool { return true }}
	case t == rawType:
		*c = codec{append: appendRaw, decode: decodeRaw, absent: reflect.Value.IsNil}
	case t.Implements(appenderType):
		*c = codec{append: appendOwn, decode: decodeUnsupported}
	default:
		b.build(c, t)
	}
	return c
}

// isUnion reports whether t is a union or a document, or a list of such: a few members in corners of ECS
// that Rollcall has no use for. Go has an interface for them.
func isUnion(t reflect.Type) bool {
	return t.Kind() == reflect.Interface || t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Interface
}

func (b *builder) build(c *codec, t reflect.Type) {
	switch t.Kind() {
	case reflect.String:
		*c = codec{append: appendStringValue, decode: decodeString, absent: func(v reflect.Value) bool { return v.Len() == 0 }}
	case reflect.Bool:
		*c = codec{append: appendBool, decode: decodeBool}
	case reflect.Int, reflect.Int32, reflect.Int64:
		*c = codec{append: appendInt, decode: decodeInt}
	case reflect.Float32, reflect.Float64:
		*c = codec{append: appendFloat, decode: decodeFloat}
	case reflect.Pointer:
		elem := b.codec(t.Elem())
		*c = codec{append: appendPointer(elem), decode: decodePointer(t.Elem(), elem), absent: reflect.Value.IsNil}
	case reflect.Slice:
		elem := b.codec(t.Elem())
		*c = codec{append: appendList(elem), decode: decodeList(t.Elem(), elem), absent: reflect.Value.IsNil}
	case reflect.Map:
		if t.Key().Kind() != reflect.String {
			panic(fmt.Sprintf("awsapi: %v: the keys of a JSON object are strings", t))
		}
		elem := b.codec(t.Elem())
		*c = codec{append: appendMap(t, elem), decode: decodeMap(t, elem), absent: reflect.Value.IsNil}
	case reflect.Struct:
		s := b.structure(t)
		*c = codec{append: s.append, decode: s.decode}
	default:
		panic(fmt.Sprintf("awsapi: %v has no form in AWS JSON", t))
	}
}

// structure lists the members of a struct: its exported fields, without what the SDK adds to the shape
// for itself (ResultMetadata of an output; Message and ErrorCodeOverride of an error, which the error
// renderer writes in its own way).
func (b *builder) structure(t reflect.Type) *structure {
	isError := reflect.PointerTo(t).Implements(apiErrorType)
	s := &structure{byName: map[string]int{}}
	for i := range t.NumField() {
		f := t.Field(i)
		switch {
		case !f.IsExported(), f.Type == metadataType:
			continue
		case isError && (f.Name == "Message" || f.Name == "ErrorCodeOverride"):
			continue
		}
		name := b.naming.wire(f.Name)
		s.byName[name] = len(s.members)
		s.members = append(s.members, member{
			index: i,
			name:  name,
			key:   string(append(AppendString(nil, name), ':')),
			codec: b.codec(f.Type),
		})
	}
	return s
}
