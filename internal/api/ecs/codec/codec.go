// Package codec encodes the requests that rows keep.
//
// The row of a task definition, service, cluster, capacity provider or task has a field Sent with the request that the
// resource was created from, in the JSON that ECS's clients send. Answers are rendered from it, so they contain every
// member that the client sent, including members that no other package interprets.
package codec

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
)

// Naming spells the members of ECS's requests and answers.
const Naming = awsapi.LowerCamel

// Encode returns a request in the form in which rows keep it.
func Encode(request any) []byte { return Naming.Append(nil, request) }

// Decode returns the request that a row keeps. resource names the row in errors. An absent request decodes to the zero
// value.
func Decode[I any](resource string, sent []byte) (*I, error) {
	in := new(I)
	if len(sent) == 0 {
		return in, nil
	}
	if err := Naming.Decode(sent, in); err != nil {
		return nil, fmt.Errorf("decode the stored request of %s: %w", resource, err)
	}
	return in, nil
}

// Digest returns a short hash of a request. Two requests are the same if their digests are.
func Digest(request any) string {
	sum := sha256.Sum256(Encode(request))
	return hex.EncodeToString(sum[:16])
}

// OrEmpty returns an empty list for nil: ECS answers with [] where a list has no items.
func OrEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
