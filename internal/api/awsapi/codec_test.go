package awsapi

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
	"github.com/google/go-cmp/cmp"
)

// shape has a member of each kind that the codec supports.
type shape struct {
	Text    *string
	Flag    *bool
	Small   *int32
	Large   *int64
	Real    *float64
	Instant *time.Time
	Enum    sdtypes.HealthStatus
	Plain   bool
	Number  int32
	One     *shape
	List    []string
	Shapes  []shape
	Map     map[string]string
	Health  map[string]sdtypes.HealthStatus
	Raw     json.RawMessage
	Raws    []json.RawMessage
	Union   ecstypes.GatewayConfiguration
	_       int // unexported, like noSmithyDocumentSerde
}

// always is the part that each shape has on the wire: its plain members.
const always = `"Plain":false,"Number":0`

func TestDecode(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{ // want: the JSON of the decoded value
		{"empty body", ``, `{` + always + `}`},
		{"only white space", " \r\n\t", `{` + always + `}`},
		{"null", `null`, `{` + always + `}`},
		{"null member", `{"Text":null,"One":null,"List":null,"Map":null,"Number":null}`, `{` + always + `}`},
		{"unknown members", `{"Nope":{"a":[1,{"b":"}"}],"c":{}},"Text":"x","More":[[]],"Word":true,"N":-1e9}`,
			`{"Text":"x",` + always + `}`},
		{"names in another case", `{"text":"x","TEXT":"y"}`, `{` + always + `}`},
		{"text", `{"Text":"a\"\\\/\b\f\n\r\té😀\ud83d\ude00é"}`,
			`{"Text":"a\"\\/\u0008\u000c\n\r\té😀😀é",` + always + `}`},
		{"half a surrogate pair", `{"Text":"\ud83d"}`, "{\"Text\":\"\ufffd\"," + always + `}`},
		{"escaped name", `{"\u0054ext":"x"}`, `{"Text":"x",` + always + `}`},
		{"empty text", `{"Text":"","Enum":""}`, `{"Text":"",` + always + `}`},
		{"integers", `{"Small":60.0,"Number":6e1,"Large":12345678901234567}`,
			`{"Small":60,"Large":12345678901234567,"Plain":false,"Number":60}`},
		{"ends of the ranges", `{"Small":-2147483648,"Large":9223372036854775807}`,
			`{"Small":-2147483648,"Large":9223372036854775807,` + always + `}`},
		{"reals", `{"Real":-0.25e1}`, `{"Real":-2.5,` + always + `}`},
		{"time", `{"Instant":1587055860.121}`, `{"Instant":1587055860.121,` + always + `}`},
		{"time, whole seconds", `{"Instant":1587055860}`, `{"Instant":1587055860,` + always + `}`},
		{"time, as a float", `{"Instant":1.5870558605E9}`, `{"Instant":1587055860.5,` + always + `}`},
		{"time, more than three decimals", `{"Instant":1587055860.1214}`, `{"Instant":1587055860.121,` + always + `}`},
		{"time before 1970", `{"Instant":-1.25}`, `{"Instant":-1.25,` + always + `}`},
		{"empty list and map", `{"List":[],"Map":{},"Shapes":[ ]}`, `{` + always + `,"List":[],"Shapes":[],"Map":{}}`},
		{"null elements", `{"List":["a",null,"b"],"Map":{"a":null,"b":"c"}}`,
			`{` + always + `,"List":["a","b"],"Map":{"b":"c"}}`},
		{"nested", `{"One":{"One":{"Flag":true}},"Shapes":[{"Number":1},{}]}`,
			`{` + always + `,"One":{` + always + `,"One":{"Flag":true,` + always +
				`}},"Shapes":[{"Plain":false,"Number":1},{` +
				always + `}]}`},
		{"white space", "{ \"List\" :\n[ \"a\" ,\t\"b\" ] , \"Plain\" : true }",
			`{"Plain":true,"Number":0,"List":["a","b"]}`},
		{"map of enumerations", `{"Health":{"i-2":"UNHEALTHY","i-1":"HEALTHY"}}`,
			`{` + always + `,"Health":{"i-1":"HEALTHY","i-2":"UNHEALTHY"}}`},
		{"raw", `{"Raw": {"a": [1, 2]} ,"Raws":[1,"x",{"y":"]"}]}`,
			`{` + always + `,"Raw":{"a": [1, 2]},"Raws":[1,"x",{"y":"]"}]}`},
		{"union, null", `{"Union":null}`, `{` + always + `}`},
		{"a name twice: the last value counts", `{"List":["a","b"],"List":["c"]}`, `{` + always + `,"List":["c"]}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var v shape
			if err := UpperCamel.Decode([]byte(tc.in), &v); err != nil {
				t.Fatal(err)
			}
			if got := string(UpperCamel.Append(nil, &v)); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestDecodeErrors(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"not JSON", `hello`, "the body is not JSON"},
		{"truncated", `{"Text":"x"`, "the body is not JSON"},
		{"more than one value", `{}{}`, "the body is not JSON"},
		{"not UTF-8", "{\"Text\":\"\xff\"}", "the body is not UTF-8"},
		{"a list", `[]`, "START_ARRAY can not be converted to a structure"},
		{"a string", `"x"`, "STRING_VALUE can not be converted to a structure"},
		{"number for text", `{"Text":1}`, "Text: NUMBER_VALUE can not be converted to a String"},
		{"object for text", `{"One":{"Text":{}}}`, "One.Text: START_OBJECT can not be converted to a String"},
		{"text for number", `{"Shapes":[{},{"Number":"1"}]}`,
			"Shapes[1].Number: STRING_VALUE can not be converted to an Integer"},
		{"text for time", `{"Instant":"2026-03-01T12:00:00Z"}`,
			"Instant: STRING_VALUE can not be converted to a Timestamp"},
		{"text for bool", `{"Plain":"true"}`, "Plain: STRING_VALUE can not be converted to a Boolean"},
		{"bool for number", `{"Real":true}`, "Real: TRUE_VALUE can not be converted to a Double"},
		{"bool for list", `{"List":false}`, "List: FALSE_VALUE can not be converted to a list"},
		{"list for map", `{"Map":[]}`, "Map: START_ARRAY can not be converted to a map"},
		{"in a map", `{"Map":{"k":1}}`, "Map.k: NUMBER_VALUE can not be converted to a String"},
		{"in a list", `{"List":["a",null,1]}`, "List[1]: NUMBER_VALUE can not be converted to a String"},
		{"too large for 32 bits", `{"Small":2147483648}`, "Small: 2147483648 is not an integer of 32 bits"},
		{"fraction", `{"Small":1.5}`, "Small: 1.5 is not an integer of 32 bits"},
		{"float too large for 64 bits", `{"Large":1e19}`, "Large: 1e19 is not an integer of 64 bits"},
		{"beyond the range of a double", `{"Real":1e999}`, "Real: 1e999 is too large for a number"},
		{"beyond the range of a time", `{"Instant":1e15}`, "Instant: 1e15 seconds is not a time before the year 10000"},
		{"union", `{"Union":{}}`, "Union: this member is not supported by this server; omit it"},
		{"nested too deeply", strings.Repeat(`{"One":`, 65) + `{}` + strings.Repeat(`}`, 65),
			"nested deeper than 64 levels"},
		{"too many elements", `{"Shapes":[` + strings.Repeat(`{},`, 200_000) + `{}]}`,
			"too many elements in one request"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var v shape
			err := UpperCamel.Decode([]byte(tc.in), &v)
			var wire *Error
			if !errors.As(err, &wire) || wire.Code != "SerializationException" {
				t.Fatalf("got %v, want a SerializationException", err)
			}
			if !strings.HasSuffix(wire.Message, tc.want) {
				t.Errorf("got  %s\nwant %s", wire.Message, tc.want)
			}
		})
	}
}

func TestAppendString(t *testing.T) {
	for _, s := range []string{"", "plain", `"quoted" \ /`, "\x00\x1f\x7f\n\r\t", "<&>\u2028\u2029é😀", "\ufffd",
		"a\xffb\xc3", "\xed\xa0\x80"} {
		got := AppendString(nil, s)
		var back string
		if err := json.Unmarshal(got, &back); err != nil {
			t.Errorf("%q becomes %s: %v", s, got, err)
		}
		if want := string([]rune(s)); back != want { // as Go does: U+FFFD for each byte that is not UTF-8
			t.Errorf("%q comes back as %q, want %q", s, back, want)
		}
	}
}

func TestLowerCamelNames(t *testing.T) {
	in := &ecs.CreateServiceInput{EnableECSManagedTags: true}
	const want = `{"enableECSManagedTags":true,"enableExecuteCommand":false}`
	if got := string(LowerCamel.Append(nil, in)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAppendNil(t *testing.T) {
	if got := string(UpperCamel.Append(nil, (*sd.DeleteServiceOutput)(nil))); got != "{}" {
		t.Errorf("got %s, want {}", got)
	}
}

// FuzzDecode checks that no body makes the codec panic, that it accepts only JSON, and that a decoded value stays the
// same when it is encoded and decoded again.
func FuzzDecode(f *testing.F) {
	inputs := []reflect.Type{
		reflect.TypeFor[shape](),
		reflect.TypeFor[ecs.RegisterTaskDefinitionInput](),
		reflect.TypeFor[ecs.CreateServiceInput](),
		reflect.TypeFor[sd.CreateServiceInput](),
		reflect.TypeFor[sd.DiscoverInstancesInput](),
	}
	f.Add([]byte(`{"Name":"x","DnsConfig":{"DnsRecords":[{"TTL":60,"Type":"A"}]},"Tags":[]}`))
	f.Add([]byte(
		`{"containerDefinitions":[{"name":"a","environment":[{"name":"A","value":"B"}],"cpu":1.0}],"volumes":[]}`))
	f.Add([]byte(
		`{"NamespaceName":"a","QueryParameters":{"a":"b"},"MaxResults":1e1,"Raw":[{}],"Instant":1.5,"Raws":[1]}`))
	f.Add([]byte(`{"\u0054ext":"\ud800","Map":{"":null},"One":{"One":{}},"Health":{"a":"b"},"Union":null,"Real":1E-7}`))
	for _, in := range inputs {
		v := reflect.New(in)
		(&filler{}).fill(v.Elem())
		f.Add(LowerCamel.Append(nil, v.Interface()))
		f.Add(UpperCamel.Append(nil, v.Interface()))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, n := range []Naming{UpperCamel, LowerCamel} {
			for _, in := range inputs {
				first := reflect.New(in)
				if n.Decode(data, first.Interface()) != nil {
					continue
				}
				if len(strings.TrimSpace(string(data))) > 0 && !json.Valid(data) {
					t.Fatalf("accepted %q, which is not JSON", data)
				}
				text := n.Append(nil, first.Interface())
				second := reflect.New(in)
				if err := n.Decode(text, second.Interface()); err != nil {
					t.Fatalf("decode %s, which was encoded before: %v", text, err)
				}
				if again := n.Append(nil, second.Interface()); string(again) != string(text) {
					t.Fatalf("%v: first %s\nthen %s", in, text, again)
				}
			}
		}
	})
}

// filler sets every member to a different value.
type filler struct{ n int }

func (f *filler) fill(v reflect.Value) {
	f.n++
	if v.Type() == timeType {
		v.Set(reflect.ValueOf(noon.Add(time.Duration(f.n) * 1001 * time.Millisecond)))
		return
	}
	if v.Type() == rawType {
		v.SetBytes([]byte(`{"raw":[1]}`))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("é\"<\n> " + time.Duration(f.n).String())
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int32, reflect.Int64:
		v.SetInt(int64(f.n))
		if v.Kind() == reflect.Int64 {
			v.SetInt(12345678901230000 + int64(f.n))
		}
	case reflect.Float64:
		v.SetFloat(float64(f.n) + 0.1)
	case reflect.Pointer:
		if v.Type().Elem() == reflect.TypeFor[shape]() {
			return // the type contains itself
		}
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem())
	case reflect.Slice:
		if v.Type().Elem() == reflect.TypeFor[shape]() {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		f.fill(v.Index(0))
		f.fill(v.Index(1))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 2 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			f.fill(key)
			f.fill(value)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if sf := v.Type().Field(i); sf.IsExported() && sf.Type != metadataType && !isUnion(sf.Type) {
				f.fill(v.Field(i))
			}
		}
	}
}

// sameMembers compares shapes of the SDK by their members on the wire.
var sameMembers = cmp.FilterPath(func(p cmp.Path) bool {
	field, ok := p.Last().(cmp.StructField)
	return ok && (field.Name() == "noSmithyDocumentSerde" || field.Name() == "ResultMetadata")
}, cmp.Ignore())

var (
	timeChannelType = reflect.TypeFor[struct{ C chan time.Time }]()
	intMapType      = reflect.TypeFor[map[int]string]()
)
