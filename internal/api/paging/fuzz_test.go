package paging

import (
	"encoding/base64"
	"testing"
)

// FuzzAfter checks that if After accepts a token, it is byte for byte the token that Token returns for its key, and
// that no other operation accepts it.
func FuzzAfter(f *testing.F) {
	token := Token("ListServices", "srv-1")
	for _, seed := range []string{"", token, token[1:], token + "A", token + "=", " " + token, token[:len(token)-1],
		token[:len(token)-1] + "X", token[:4] + "\n" + token[4:], Token("ListServices", ""),
		Token("ListServicesByNamespace", "srv-1"), Token("ListServices\x00srv-1", ""),
		Token("", "ListServices\x00srv-1"),
		base64.StdEncoding.EncodeToString([]byte(token)), "====", "AAAA", "\x00", "ä"} {
		f.Add("ListServices", seed, "srv-1")
	}
	f.Fuzz(func(t *testing.T, operation, token, key string) {
		if last, ok := After(operation, token); ok && token != "" && Token(operation, last) != token {
			t.Errorf("After(%q, %q) = %q, but its token is %q", operation, token, last, Token(operation, last))
		}
		own := Token(operation, key)
		if last, ok := After(operation, own); !ok || last != key {
			t.Errorf("After(%q, Token(%q)) = %q, %v", operation, key, last, ok)
		}
		if _, ok := After(operation+"s", own); ok {
			t.Errorf("a token of %q is accepted by %q", operation, operation+"s")
		}
		if len(own) == len(token) && own != token {
			if last, ok := After(operation, token); ok && last == key {
				t.Errorf("%q and %q both carry the key %q", own, token, key)
			}
		}
	})
}
