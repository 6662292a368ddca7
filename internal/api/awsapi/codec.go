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

// Naming converts the names of Go fields to the names of members on the wire. The shapes are aws-sdk-go-v2's, whose
// generator makes a Go field's name from the member's by raising the first letter, so only the first letter differs.
//
// Its methods [Naming.Append] and [Naming.Decode] are the codec. The codec supports the kinds of members that the SDK's
// clients use: strings and enumerations, booleans, numbers, timestamps, structures, lists and maps. It also supports
// [json.RawMessage] and types with a method AppendJSON, which encode themselves. Nil and empty stay distinct: a nil
// pointer, list or map and an empty enumeration are absent, an empty list or map is [] or {}, and a member whose Go
// type is a plain number or bool is always present.
type Naming int

// The two namings.
const (
	UpperCamel Naming = iota // ResourceARN: Cloud Map
	LowerCamel               // resourceArn, enableECSManagedTags: ECS
)

// memberName returns the name of a Go field on the wire.
func (n Naming) memberName(field string) string {
	if n == UpperCamel {
		return field
	}
	first, size := utf8.DecodeRuneInString(field)
	return string(unicode.ToLower(first)) + field[size:]
}

// codec reads and writes values of one Go type. It is built once and holds no state of a message.
type codec struct {
	append func(dst []byte, v reflect.Value) []byte
	decode func(d *decoder, v reflect.Value) error
	// absent reports whether a structure omits a member with this value. Nil means never.
	absent func(v reflect.Value) bool
}

// member is one field of a structure.
type member struct {
	index int
	name  string // on the wire
	key   string // "name": with quotes and colon, ready to append
	codec *codec
}

// structure is the codec of a Go struct.
type structure struct {
	members []member       // in the order of the Go struct
	byName  map[string]int // from a name on the wire to an index of members; case-sensitive, as the protocol is
}

var (
	timeType     = reflect.TypeFor[time.Time]()
	rawType      = reflect.TypeFor[json.RawMessage]()
	metadataType = reflect.TypeFor[middleware.Metadata]()
	apiErrorType = reflect.TypeFor[smithy.APIError]()
	appenderType = reflect.TypeFor[appender]()
)

// appender is a type that encodes itself. It is only for outputs; the codec cannot decode one.
type appender interface{ AppendJSON(dst []byte) []byte }

type codecKey struct {
	goType reflect.Type
	naming Naming
}

var (
	codecs   sync.Map   // from codecKey to *codec; only complete codecs
	building sync.Mutex // held while a codec and the codecs that it uses are built
)

// codecOf returns the codec of a type. It builds the codec at the first call. It panics for a type without a form on
// the wire (a channel, a function), because that is a programming error.
func codecOf(t reflect.Type, n Naming) *codec {
	if c, ok := codecs.Load(codecKey{t, n}); ok {
		return c.(*codec)
	}
	building.Lock()
	defer building.Unlock()
	b := builder{naming: n, built: map[reflect.Type]*codec{}}
	c := b.codec(t)
	// Other goroutines may see the codecs only now that all of them are complete.
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
	b.built[t] = c // stored before its parts are built, because a type can contain itself
	switch {
	case t == timeType:
		*c = codec{append: appendTime, decode: decodeTime}
	case isUnion(t):
		*c = codec{append: appendNull, decode: decodeUnsupported, absent: func(reflect.Value) bool { return true }}
	case t == rawType:
		*c = codec{append: appendRaw, decode: decodeRaw, absent: reflect.Value.IsNil}
	case t.Implements(appenderType):
		*c = codec{append: appendSelf, decode: decodeUnsupported}
	default:
		b.build(c, t)
	}
	return c
}

// isUnion reports whether t is a union or a document, or a list of them. Only a few members of ECS that Rollcall does
// not use have these types. The SDK declares them as interfaces.
func isUnion(t reflect.Type) bool {
	return t.Kind() == reflect.Interface || t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Interface
}

func (b *builder) build(c *codec, t reflect.Type) {
	switch t.Kind() {
	case reflect.String:
		*c = codec{append: appendStringValue, decode: decodeString,
			absent: func(v reflect.Value) bool { return v.Len() == 0 }}
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

// structure lists the members of a struct: its exported fields except those that the SDK adds to the shape
// (ResultMetadata of an output; Message and ErrorCodeOverride of an error, which appendError writes).
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
		name := b.naming.memberName(f.Name)
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
