// Package paging cuts ordered lists into pages and makes the tokens between them.
//
// A token carries the key of the last item of its page, so it stays valid while items come and go: the next
// page begins behind that key, whether or not the item is still there. It names the operation it belongs to
// and carries a checksum; a token of another operation, a shortened one or one that was never given out is
// recognised. It is no secret and protects nothing.
//
// paging knows keys and operations. It does not know AWS's limits nor its error codes.
package paging

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"strings"
)

// Token returns the token of the page behind the key last in an operation's list.
func Token(operation, last string) string {
	b := []byte(operation + "\x00" + last)
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b)))
}

// After returns the key that a token carries. The empty token carries the empty key, which every list
// begins behind; ok is false for a token that [Token] has not made for this operation.
func After(operation, token string) (last string, ok bool) {
	if token == "" {
		return "", true
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) < 4 || base64.RawURLEncoding.EncodeToString(b) != token { // one token, one spelling
		return "", false
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if crc32.ChecksumIEEE(body) != sum {
		return "", false
	}
	return strings.CutPrefix(string(body), operation+"\x00")
}

// Page gathers the items of one page. Give [Page.Add] to a scan that passes the items which match the
// filters in their order: it stops the scan when it knows that another page follows.
type Page[T any] struct {
	Items []T // never nil
	max   int
	last  string
	more  bool
}

// New makes a page of at most max items, max > 0.
func New[T any](max int) *Page[T] { return &Page[T]{Items: []T{}, max: max} }

// Add takes in an item and its key; false means that the page was full without it.
func (p *Page[T]) Add(key string, item T) bool {
	if len(p.Items) == p.max {
		p.more = true
		return false
	}
	p.Items, p.last = append(p.Items, item), key
	return true
}

// Next is the token of the next page, nil when this page is the last.
func (p *Page[T]) Next(operation string) *string {
	if !p.more {
		return nil
	}
	token := Token(operation, p.last)
	return &token
}
