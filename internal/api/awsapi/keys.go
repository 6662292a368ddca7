package awsapi

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// Role is what an access key may do.
type Role uint8

// The roles. The zero Role may do nothing.
const (
	Administrator Role = iota + 1 // everything
	ReadOnly                      // operations that only look
	Workload                      // those of them that a task may call: it sees no logs
)

// String is the role's name in logs.
func (r Role) String() string {
	switch r {
	case Administrator:
		return "administrator"
	case ReadOnly:
		return "read-only"
	case Workload:
		return "workload"
	}
	return "none"
}

// permits reports whether the role may call an operation. That an operation only looks is known by its
// name; a new one with an unknown verb is refused to read-only keys.
func (r Role) permits(operation string) bool {
	switch r {
	case Administrator:
		return true
	case Workload: // every operation on logs has the word in its name, and no other has
		return ReadOnly.permits(operation) && !strings.Contains(operation, "Log")
	case ReadOnly:
		for _, verb := range [...]string{"Get", "List", "Describe", "Discover", "Filter", "Test"} {
			if strings.HasPrefix(operation, verb) {
				return true
			}
		}
	}
	return false
}

// Pair is a permanent access key.
type Pair struct {
	AccessKeyID string
	Secret      string
	Role        Role
}

// Session is a temporary access key. All three strings go to the client.
type Session struct {
	AccessKeyID  string // ASIA and 16 characters
	Secret       string
	SessionToken string
	Expires      time.Time
}

// Credential is what a request's signature is verified with.
type Credential struct {
	Secret    string
	Role      Role
	Temporary bool
}

// Keys knows the access keys: permanent ones from a list, temporary ones by their session tokens.
//
// A session token is its own record. It carries role, end and key id, sealed with a key that is derived
// from the root pair's secret, and the temporary secret is derived from the token. So nothing is kept for
// a session, it outlives a restart, it holds on every server that has the same root pair, and a new root
// secret ends all sessions at once.
type Keys struct {
	permanent map[string]Pair
	sealKey   []byte // authenticates session tokens
	secretKey []byte // makes their secrets
}

// A session token is, in base64url, these bytes and their HMAC-SHA256 under sealKey.
const (
	tokenVersion = 1
	keyIDBytes   = 10                     // 16 characters of base32
	sealed       = 1 + 1 + 8 + keyIDBytes // version, role, end in Unix seconds, key id
	tokenBytes   = sealed + sha256.Size
)

// NewKeys returns keys that know the root pair and further permanent ones. Temporary keys hang on the
// root's secret.
func NewKeys(root Pair, more ...Pair) (*Keys, error) {
	k := &Keys{permanent: map[string]Pair{}}
	for _, p := range append([]Pair{root}, more...) {
		if err := p.check(); err != nil {
			return nil, err
		}
		if _, twice := k.permanent[p.AccessKeyID]; twice {
			return nil, fmt.Errorf("access key %s is given twice; remove one", p.AccessKeyID)
		}
		k.permanent[p.AccessKeyID] = p
	}
	var err error
	if k.sealKey, err = hkdf.Key(sha256.New, []byte(root.Secret), nil, "rollcall session token", sha256.Size); err != nil {
		return nil, fmt.Errorf("derive the key of session tokens: %w", err)
	}
	if k.secretKey, err = hkdf.Key(sha256.New, []byte(root.Secret), nil, "rollcall session secret", sha256.Size); err != nil {
		return nil, fmt.Errorf("derive the key of session secrets: %w", err)
	}
	return k, nil
}

// check refuses what could not travel in an Authorization header or in a credentials file.
func (p Pair) check() error {
	switch {
	case p.AccessKeyID == "" || p.Secret == "":
		return fmt.Errorf("access key %q: neither the id nor the secret may be empty", p.AccessKeyID)
	case strings.ContainsFunc(p.AccessKeyID, func(c rune) bool { return !isWordCharacter(c) }):
		return fmt.Errorf("access key %q: an id consists of letters, digits and _", p.AccessKeyID)
	case strings.ContainsFunc(p.Secret, func(c rune) bool { return c <= ' ' || c > '~' }):
		return fmt.Errorf("access key %s: a secret consists of printable ASCII without spaces", p.AccessKeyID)
	}
	return nil
}

func isWordCharacter(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

// Issue makes a temporary key of this role that is good until expires, cut to the second.
func (k *Keys) Issue(role Role, expires time.Time) Session {
	payload := make([]byte, sealed, tokenBytes)
	payload[0], payload[1] = tokenVersion, byte(role)
	binary.BigEndian.PutUint64(payload[2:], uint64(expires.Unix()))
	rand.Read(payload[sealed-keyIDBytes:])
	return Session{
		AccessKeyID:  sessionKeyID(payload),
		Secret:       k.sessionSecret(payload),
		SessionToken: base64.RawURLEncoding.EncodeToString(append(payload, mac(k.sealKey, payload)...)),
		Expires:      time.Unix(expires.Unix(), 0).UTC(),
	}
}

// Lookup finds the credential of an access key; token is the request's session token, empty for a
// permanent key. The error is an [*Error]: UnrecognizedClientException for an unknown key or a token that
// does not belong to it, ExpiredTokenException for a session that has ended.
func (k *Keys) Lookup(accessKeyID, token string, now time.Time) (Credential, error) {
	if p, ok := k.permanent[accessKeyID]; ok && token == "" {
		return Credential{Secret: p.Secret, Role: p.Role}, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) != tokenBytes {
		return Credential{}, unrecognized
	}
	payload, seal := raw[:sealed], raw[sealed:]
	if !hmac.Equal(seal, mac(k.sealKey, payload)) || payload[0] != tokenVersion || sessionKeyID(payload) != accessKeyID {
		return Credential{}, unrecognized
	}
	if expires := time.Unix(int64(binary.BigEndian.Uint64(payload[2:])), 0); !now.Before(expires) {
		return Credential{}, &Error{Code: "ExpiredTokenException", Message: "The security token included in the request is expired"}
	}
	return Credential{Secret: k.sessionSecret(payload), Role: Role(payload[1]), Temporary: true}, nil
}

var unrecognized = &Error{Code: "UnrecognizedClientException", Message: "The security token included in the request is invalid."}

func sessionKeyID(payload []byte) string {
	return "ASIA" + base32.StdEncoding.EncodeToString(payload[sealed-keyIDBytes:sealed])
}

func (k *Keys) sessionSecret(payload []byte) string {
	return base64.StdEncoding.EncodeToString(mac(k.secretKey, payload)[:secretBytes])
}

func mac(key, message []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(message)
	return h.Sum(nil)
}
