// Package paging divides ordered lists into pages and makes the tokens between them.
//
// A token contains the key of the last item of its page, so it stays valid while items are created and deleted: the
// next page begins after that key, whether or not the item still exists. The token names its operation and has a
// checksum, so After rejects a token of another operation, a truncated token, and a token that the server did not
// issue. A token is not secret and protects nothing.
//
// paging does not know AWS's limits or error codes. Start reading at [Page].
package paging

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"strings"
)

// Token returns the token of the page that follows the key last in an operation's list.
func Token(operation, last string) string {
	b := []byte(operation + "\x00" + last)
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b)))
}

// After returns the key in a token. The empty token contains the empty key, which precedes all keys. ok is false for a
// token that [Token] did not return for this operation.
func After(operation, token string) (last string, ok bool) {
	if token == "" {
		return "", true
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) < 4 || base64.RawURLEncoding.EncodeToString(b) != token { // each key has exactly one token
		return "", false
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if crc32.ChecksumIEEE(body) != sum {
		return "", false
	}
	return strings.CutPrefix(string(body), operation+"\x00")
}

// Page collects the items of one page. Call [Page.Add] from a scan over the matching items in order. It stops the scan
// at the first item of the next page.
type Page[T any] struct {
	Items []T // never nil
	max   int
	last  string
	more  bool
}

// New returns a page of at most max items, max > 0.
func New[T any](max int) *Page[T] { return &Page[T]{Items: []T{}, max: max} }

// Add adds an item and its key. It returns false if the page is full.
func (p *Page[T]) Add(key string, item T) bool {
	if len(p.Items) == p.max {
		p.more = true
		return false
	}
	p.Items, p.last = append(p.Items, item), key
	return true
}

// Next returns the token of the next page, or nil if this page is the last.
func (p *Page[T]) Next(operation string) *string {
	if !p.more {
		return nil
	}
	token := Token(operation, p.last)
	return &token
}
