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

// Role determines what an access key may do.
type Role uint8

// The roles. The zero Role permits nothing.
const (
	Administrator Role = iota + 1 // all operations
	ReadOnly                      // operations that only read
	Workload                      // the reading operations that a task may call: none that shows logs
)

// String returns the role's name for logs and errors.
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

// permits reports whether the role may call an operation. Reading operations are recognized by their verb, so an
// operation with an unknown verb is forbidden for read-only keys.
func (r Role) permits(operation string) bool {
	switch r {
	case Administrator:
		return true
	case Workload: // all operations on logs, and no others, contain this word
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

// Session is a temporary access key. The client needs all three strings.
type Session struct {
	AccessKeyID  string // ASIA and 16 characters
	Secret       string
	SessionToken string
	Expires      time.Time
}

// Credential is the secret that verifies a request's signature, with the rights of its owner.
type Credential struct {
	Secret    string
	Role      Role
	Temporary bool
}

// Keys finds access keys: permanent ones in a list, temporary ones by their session tokens.
//
// A session token contains everything that the server needs: role, expiry and key id, authenticated with a key that is
// derived from the root pair's secret. The temporary secret is derived from the token. So the server stores nothing for
// a session, a session survives a restart and is valid on all servers with the same root pair, and a new root secret
// ends all sessions.
type Keys struct {
	permanent map[string]Pair
	sealKey   []byte // authenticates session tokens
	secretKey []byte // derives the secrets of sessions from their tokens
}

// A session token is these bytes and their HMAC-SHA256 under sealKey, in base64url.
const (
	tokenVersion = 1
	keyIDBytes   = 10                     // 16 characters of base32
	sealed       = 1 + 1 + 8 + keyIDBytes // version, role, expiry in Unix seconds, key id
	tokenBytes   = sealed + sha256.Size
)

// NewKeys returns Keys with the root pair and further permanent pairs. Temporary keys depend on the root pair's secret.
func NewKeys(root Pair, more ...Pair) (*Keys, error) {
	k := &Keys{permanent: map[string]Pair{}}
	for _, p := range append([]Pair{root}, more...) {
		if err := p.check(); err != nil {
			return nil, err
		}
		if _, twice := k.permanent[p.AccessKeyID]; twice {
			return nil, fmt.Errorf("access key %s is configured twice; remove one", p.AccessKeyID)
		}
		k.permanent[p.AccessKeyID] = p
	}
	var err error
	if k.sealKey, err = hkdf.Key(sha256.New, []byte(root.Secret), nil, "rollcall session token",
		sha256.Size); err != nil {
		return nil, fmt.Errorf("derive the key of session tokens: %w", err)
	}
	if k.secretKey, err = hkdf.Key(sha256.New, []byte(root.Secret), nil, "rollcall session secret",
		sha256.Size); err != nil {
		return nil, fmt.Errorf("derive the key of session secrets: %w", err)
	}
	return k, nil
}

// check rejects keys that cannot be written in an Authorization header or a credentials file.
func (p Pair) check() error {
	switch {
	case p.AccessKeyID == "" || p.Secret == "":
		return fmt.Errorf("access key %q: id and secret must not be empty", p.AccessKeyID)
	case strings.ContainsFunc(p.AccessKeyID, func(c rune) bool { return !isWordCharacter(c) }):
		return fmt.Errorf("access key %q: the id must consist of letters, digits and _", p.AccessKeyID)
	case strings.ContainsFunc(p.Secret, func(c rune) bool { return c <= ' ' || c > '~' }):
		return fmt.Errorf("access key %s: the secret must consist of printable ASCII without spaces", p.AccessKeyID)
	}
	return nil
}

func isWordCharacter(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

// Issue creates a temporary key with a role. It is valid until expires, truncated to the second.
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

// Lookup returns the credential of an access key. token is the request's session token, empty for a permanent key. The
// error is an [*Error]: UnrecognizedClientException for an unknown key or a token of another key, ExpiredTokenException
// for an expired session.
func (k *Keys) Lookup(accessKeyID, token string, now time.Time) (Credential, error) {
	if p, ok := k.permanent[accessKeyID]; ok && token == "" {
		return Credential{Secret: p.Secret, Role: p.Role}, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) != tokenBytes {
		return Credential{}, unrecognized
	}
	payload, seal := raw[:sealed], raw[sealed:]
	if !hmac.Equal(seal, mac(k.sealKey, payload)) || payload[0] != tokenVersion ||
		sessionKeyID(payload) != accessKeyID {
		return Credential{}, unrecognized
	}
	if expires := time.Unix(int64(binary.BigEndian.Uint64(payload[2:])), 0); !now.Before(expires) {
		return Credential{}, &Error{Code: "ExpiredTokenException",
			Message: "The security token included in the request is expired"}
	}
	return Credential{Secret: k.sessionSecret(payload), Role: Role(payload[1]), Temporary: true}, nil
}

var unrecognized = &Error{Code: "UnrecognizedClientException",
	Message: "The security token included in the request is invalid."}

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
