package awsapi

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/smithy-go/encoding/httpbinding"
)

const (
	signingAlgorithm = "AWS4-HMAC-SHA256"
	amzDateFormat    = "20060102T150405Z"
	maxSkew          = 5 * time.Minute // between the clocks of client and server, in either direction
	maxRegion        = 32              // characters of a region's name
	maxSigningKeys   = 1024            // derived keys in memory, 150 bytes each
)

// claim is the signature of a request and its credential scope, as the client claims them. They must not be trusted
// before verify.
type claim struct {
	accessKeyID, date, region, service string
	scope                              string // DATE/REGION/SERVICE/aws4_request
	signedHeaders                      string // as sent: host;x-amz-date
	signature                          string // hex
}

// verifier checks a signature by computing it ("Create a signed AWS API request" in the IAM User Guide; the sections
// named below are sections of that page). Tests compare it with the SDK's signer. The server does not use the SDK's
// signer, because that is made for clients: it takes twice as long, keeps a derived key for every region that a sender
// makes up, and cannot check headers that it would not sign itself.
type verifier struct {
	keys *Keys
	now  func() time.Time

	mu sync.RWMutex
	// signingKeys holds the derived keys of scopes in which a signature has been valid. Only senders with a secret can
	// make it grow.
	signingKeys map[keyScope][]byte
}

type keyScope struct{ accessKeyID, date, region, service string }

// identify reads who signed a request and when, and finds the credential to verify the signature with. It does not read
// the body.
func (v *verifier) identify(r *http.Request, service string) (claim, Credential, error) {
	c, err := parseAuthorization(r)
	if err != nil {
		return claim{}, Credential{}, err
	}
	if err := c.check(r, service, v.now()); err != nil {
		return claim{}, Credential{}, err
	}
	credential, err := v.keys.Lookup(c.accessKeyID, r.Header.Get("X-Amz-Security-Token"), v.now())
	return c, credential, err
}

// parseAuthorization parses the Authorization header:
//
//	AWS4-HMAC-SHA256 Credential=ID/DATE/REGION/SERVICE/aws4_request, SignedHeaders=a;b, Signature=HEX
func parseAuthorization(r *http.Request) (claim, error) {
	values := r.Header["Authorization"]
	if len(values) == 0 {
		if strings.Contains(r.URL.RawQuery, "X-Amz-Signature=") {
			return claim{}, incomplete(
				"presigned URLs are not accepted by this server; sign with the Authorization header")
		}
		return claim{}, &Error{Code: "MissingAuthenticationTokenException", Message: "Missing Authentication Token"}
	}
	if len(values) > 1 {
		return claim{}, incomplete("the request has more than one Authorization header")
	}
	algorithm, rest, _ := strings.Cut(strings.TrimSpace(values[0]), " ")
	if algorithm != signingAlgorithm {
		return claim{}, incomplete("the Authorization header must begin with " + signingAlgorithm)
	}
	var c claim
	var credential string
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "Credential":
			credential = value
		case "SignedHeaders":
			c.signedHeaders = value
		case "Signature":
			c.signature = value
		}
	}
	switch "" {
	case credential:
		return claim{}, incomplete("the Authorization header requires 'Credential'")
	case c.signedHeaders:
		return claim{}, incomplete("the Authorization header requires 'SignedHeaders'")
	case c.signature:
		return claim{}, incomplete("the Authorization header requires 'Signature'")
	}
	parts := strings.Split(credential, "/")
	if len(parts) != 5 || parts[0] == "" || parts[4] != "aws4_request" {
		return claim{}, incomplete("'Credential' must have the form KEY/DATE/REGION/SERVICE/aws4_request")
	}
	c.accessKeyID, c.date, c.region, c.service = parts[0], parts[1], parts[2], parts[3]
	c.scope = credential[len(c.accessKeyID)+1:]
	return c, nil
}

// check compares a claim with the rest of the request and with the clock.
func (c claim) check(r *http.Request, service string, now time.Time) error {
	if service != "" && c.service != service {
		return invalid("Credential should be scoped to correct service: '%s'.", service)
	}
	if !isRegion(c.region) {
		return invalid("Credential should be scoped to a valid region.")
	}
	signed := strings.Split(c.signedHeaders, ";")
	for _, must := range []string{"host", "x-amz-date", "x-amz-target"} {
		if !slices.Contains(signed, must) && (must != "x-amz-target" || r.Header.Get(targetHeader) != "") {
			return invalid("'%s' must be a signed header.", must)
		}
	}
	date := r.Header.Get("X-Amz-Date")
	at, err := time.Parse(amzDateFormat, date)
	if err != nil || len(date) != len(amzDateFormat) { // Parse would accept fractions of a second
		return incomplete("X-Amz-Date must have the form YYYYMMDDTHHMMSSZ")
	}
	if c.date != date[:8] {
		return invalid("Date in Credential scope does not match YYYYMMDD from X-Amz-Date: '%.16s' != '%s'.", c.date,
			date[:8])
	}
	switch skew := now.Sub(at); {
	case skew > maxSkew:
		return invalid("Signature expired: %s is now earlier than %s (%s - 5 min.)", date,
			now.Add(-maxSkew).UTC().Format(amzDateFormat), now.UTC().Format(amzDateFormat))
	case skew < -maxSkew:
		return invalid("Signature not yet current: %s is still later than %s (%s + 5 min.)", date,
			now.Add(maxSkew).UTC().Format(amzDateFormat), now.UTC().Format(amzDateFormat))
	}
	return nil
}

// isRegion reports whether name can be a region. It becomes part of keys and ARNs.
func isRegion(name string) bool {
	return name != "" && len(name) <= maxRegion && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// verify checks the signature over the request and its body.
func (v *verifier) verify(r *http.Request, body []byte, c claim, credential Credential) error {
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	if sent := r.Header.Get("X-Amz-Content-Sha256"); sent != "" && sent != hash {
		return invalid(
			"X-Amz-Content-Sha256 is not the hash of the body. " +
				"Payloads that are unsigned or signed in chunks are not accepted by this server.")
	}
	request := make([]byte, 0, 1024)
	request, err := appendCanonicalRequest(request, r, c.signedHeaders, hash)
	if err != nil {
		return err
	}
	requestSum := sha256.Sum256(request)
	toSign := make([]byte, 0, 256) // "Create a string to sign"
	toSign = append(toSign, signingAlgorithm+"\n"...)
	toSign = append(append(toSign, r.Header.Get("X-Amz-Date")...), '\n')
	toSign = append(append(toSign, c.scope...), '\n')
	toSign = hex.AppendEncode(toSign, requestSum[:])

	key, known := v.signingKey(c, credential.Secret)
	signature := hex.AppendEncode(nil, mac(key, toSign))
	if subtle.ConstantTimeCompare(signature, []byte(c.signature)) != 1 {
		return invalid("The request signature we calculated does not match the signature you provided. " +
			"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	if !known {
		v.remember(c, key)
	}
	return nil
}

// appendCanonicalRequest writes the bytes that the signature covers ("Create a canonical request"). The host is the one
// of the request; the server accepts any. Headers are in the client's order: if they are not sorted, the signatures
// differ.
func appendCanonicalRequest(dst []byte, r *http.Request, signedHeaders, payloadHash string) ([]byte, error) {
	dst = append(append(dst, r.Method...), '\n')
	dst = append(appendCanonicalPath(dst, r.URL), '\n')
	dst = append(appendCanonicalQuery(dst, r.URL), '\n')
	for name := range strings.SplitSeq(signedHeaders, ";") {
		dst = append(append(dst, name...), ':')
		switch name {
		case "host":
			dst = append(dst, r.Host...)
		case "content-length": // net/http removes it from the headers
			dst = strconv.AppendInt(dst, r.ContentLength, 10)
		default:
			values, ok := r.Header[http.CanonicalHeaderKey(name)]
			if !ok {
				return dst, invalid("'%.100s' is listed as a signed header, but the request has no such header.", name)
			}
			for i, value := range values {
				if i > 0 {
					dst = append(dst, ',')
				}
				dst = appendCollapsed(dst, value)
			}
		}
		dst = append(dst, '\n')
	}
	dst = append(append(append(dst, '\n'), signedHeaders...), '\n')
	return append(dst, payloadHash...), nil
}

// appendCanonicalPath writes the path as it was received and escapes it once more, as all services except S3 require.
func appendCanonicalPath(dst []byte, u *url.URL) []byte {
	path := u.EscapedPath()
	if path == "" || path == "/" {
		return append(dst, '/')
	}
	return append(dst, httpbinding.EscapePath(path, false)...)
}

// appendCanonicalQuery writes the parameters, escaped and then sorted by name and value.
func appendCanonicalQuery(dst []byte, u *url.URL) []byte {
	if u.RawQuery == "" {
		return dst
	}
	type parameter struct{ name, value string }
	var parameters []parameter
	for name, values := range u.Query() {
		for _, value := range values {
			parameters = append(parameters, parameter{escapeQuery(name), escapeQuery(value)})
		}
	}
	slices.SortFunc(parameters, func(a, b parameter) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.value, b.value))
	})
	for i, p := range parameters {
		if i > 0 {
			dst = append(dst, '&')
		}
		dst = append(append(append(dst, p.name...), '='), p.value...)
	}
	return dst
}

// escapeQuery is url.QueryEscape, except that a space is %20.
func escapeQuery(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// appendCollapsed writes a header's value without leading and trailing spaces, and with one space for each run of
// spaces.
func appendCollapsed(dst []byte, value string) []byte {
	value = strings.TrimSpace(value)
	if !strings.Contains(value, "  ") {
		return append(dst, value...)
	}
	for i := range len(value) {
		if value[i] != ' ' || value[i-1] != ' ' { // the first byte is not a space
			dst = append(dst, value[i])
		}
	}
	return dst
}

// signingKey returns the key for a claim's scope ("Derive a signing key") and whether it was in memory.
func (v *verifier) signingKey(c claim, secret string) (key []byte, known bool) {
	v.mu.RLock()
	key, known = v.signingKeys[c.keyScope()]
	v.mu.RUnlock()
	if !known {
		key = []byte("AWS4" + secret)
		for _, part := range [...]string{c.date, c.region, c.service, "aws4_request"} {
			key = mac(key, []byte(part))
		}
	}
	return key, known
}

// remember stores the key of a valid signature. When there are too many, it drops all: most of them belong to past days
// or sessions.
func (v *verifier) remember(c claim, key []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.signingKeys == nil || len(v.signingKeys) >= maxSigningKeys {
		v.signingKeys = map[keyScope][]byte{}
	}
	v.signingKeys[c.keyScope()] = key
}

func (c claim) keyScope() keyScope { return keyScope{c.accessKeyID, c.date, c.region, c.service} }

func incomplete(what string) error {
	return &Error{Code: "IncompleteSignatureException", Message: "Request signature is incomplete: " + what + "."}
}

func invalid(format string, args ...any) error {
	return &Error{Code: "InvalidSignatureException", Message: fmt.Sprintf(format, args...)}
}
