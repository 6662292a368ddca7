package codec

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

func TestRoundTrip(t *testing.T) {
	sent := Encode(&types.Secret{Name: aws.String("KEY"), ValueFrom: aws.String("")})
	if want := `{"name":"KEY","valueFrom":""}`; string(sent) != want {
		t.Errorf("Encode = %s, want %s", sent, want)
	}
	got, err := Decode[types.Secret]("task definition web:1", sent)
	if err != nil || *got.Name != "KEY" || got.ValueFrom == nil || *got.ValueFrom != "" {
		t.Errorf("Decode = %+v, %v; want the members that were encoded", got, err)
	}
}

func TestDecodeAbsent(t *testing.T) {
	got, err := Decode[types.Secret]("task definition web:1", nil)
	if err != nil || got == nil || got.Name != nil {
		t.Errorf("Decode of no request = %v, %v; want the zero value", got, err)
	}
}

func TestDecodeError(t *testing.T) {
	_, err := Decode[types.Secret]("task definition web:1", []byte(`{"name":`))
	if want := "decode the stored request of task definition web:1: "; err == nil ||
		!strings.HasPrefix(err.Error(), want) {
		t.Errorf("err = %v, want the prefix %q", err, want)
	}
}

// TestDigest checks that a digest depends on the members alone. Rows keep digests, so they must not change between
// versions of the server.
func TestDigest(t *testing.T) {
	a := Digest(&types.Secret{Name: aws.String("KEY")})
	if b := Digest(&types.Secret{Name: aws.String("KEY")}); b != a {
		t.Errorf("equal requests have the digests %s and %s", a, b)
	}
	if b := Digest(&types.Secret{Name: aws.String("KEY"), ValueFrom: aws.String("")}); b == a {
		t.Error("an empty member does not change the digest")
	}
	if want := "9c892002960eda3bde1003f92b9b02a5"; a != want {
		t.Errorf("digest %s, want %s", a, want)
	}
}
