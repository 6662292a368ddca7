// Package codec encodes the requests that rows keep.
//
// A row of a task definition, service, cluster, capacity provider or task has a field Sent with the request that the
// resource was created from, in the JSON that ECS's clients send. An answer is rendered from it, so it has every
// member that the client sent, including members that no other package interprets.
package codec

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
)

// OrEmpty is a list that is sent as [] when it is absent.
func OrEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// Spelling is how ECS spells its members. Requests that are kept are kept in it.
const Spelling = awsapi.LowerCamel

// Encode returns a request in the form in which rows keep it.
func Encode(request any) []byte { return Spelling.Append(nil, request) }

// Decode decodes a request that was kept in a row.
func Decode[I any](noun string, sent []byte) (*I, error) {
	in := new(I)
	if len(sent) == 0 {
		return in, nil
	}
	if err := Spelling.Decode(sent, in); err != nil {
		return nil, fmt.Errorf("decode the request that %s was made with: %w", noun, err)
	}
	return in, nil
}

// Digest returns a short hash of an encoded request. Equal digests mean that two requests are the same.
func Digest(request []byte) string {
	sum := sha256.Sum256(request)
	return hex.EncodeToString(sum[:16])
}
