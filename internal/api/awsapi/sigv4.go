package awsapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const (
	signingAlgorithm = "AWS4-HMAC-SHA256"
	amzDateFormat    = "20060102T150405Z"
	maxSkew          = 5 * time.Minute // between the client's clock and ours, either way
	maxRegion        = 32              // characters of a region's name
	// maxSigners bounds the memory for derived keys. Few clients use more than one key in one region.
	maxSigners = 1024
)

// claim is what a request says about its signature. Nothing in it may be believed before verify.
type claim struct {
	accessKeyID, date, region, service string
	signedHeaders                      string // as sent: host;x-amz-date
	signature                          string // hex
}

// verifier checks signatures by making them again with the SDK's own signer, so that what the SDK signs
// is by construction what is accepted here. See "Signature Version 4 signing process" in the AWS General
// Reference.
type verifier struct {
	keys *Keys
	now  func() time.Time

	mu sync.RWMutex
	// signers holds a signer for each scope in which a signature has been good. A signer keeps one derived
	// key for each region and service for good, which a stranger must not be able to fill with names he
	// made up, and which two access keys in turn would push out.
	signers map[signerKey]*v4.Signer
}

type signerKey struct{ accessKeyID, region, service string }

// identify reads who signed a request and when, and finds the credential that the signature must be made
// with. It needs no body.
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

// parseAuthorization takes the Authorization header apart:
//
//	AWS4-HMAC-SHA256 Credential=ID/DATE/REGION/SERVICE/aws4_request, SignedHeaders=a;b, Signature=HEX
func parseAuthorization(r *http.Request) (claim, error) {
	values := r.Header["Authorization"]
	if len(values) == 0 {
		if strings.Contains(r.URL.RawQuery, "X-Amz-Signature=") {
			return claim{}, incomplete("presigned URLs are not accepted here; sign with the Authorization header")
		}
		return claim{}, &Error{Code: "MissingAuthenticationTokenException", Message: "Missing Authentication Token"}
	}
	if len(values) > 1 {
		return claim{}, incomplete("there is more than one Authorization header")
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
	scope := strings.Split(credential, "/")
	if len(scope) != 5 || scope[0] == "" || scope[4] != "aws4_request" {
		return claim{}, incomplete("'Credential' must have the form KEY/DATE/REGION/SERVICE/aws4_request")
	}
	c.accessKeyID, c.date, c.region, c.service = scope[0], scope[1], scope[2], scope[3]
	return c, nil
}

// check holds a claim against the request around it and the clock.
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
	if err != nil {
		return incomplete("X-Amz-Date must have the form YYYYMMDDTHHMMSSZ")
	}
	if c.date != date[:8] {
		return invalid("Date in Credential scope does not match YYYYMMDD from X-Amz-Date: '%.16s' != '%s'.", c.date, date[:8])
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

// isRegion reports whether name may be a region: it becomes part of keys and ARNs.
func isRegion(name string) bool {
	return name != "" && len(name) <= maxRegion && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// verify checks the signature over the request and the body that has been received.
func (v *verifier) verify(r *http.Request, body []byte, c claim, credential Credential) error {
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	if sent := r.Header.Get("X-Amz-Content-Sha256"); sent != "" && sent != hash {
		return invalid("X-Amz-Content-Sha256 is not the hash of the body. Payloads that are unsigned or signed in chunks are not accepted here.")
	}
	again, err := signedPart(r, c)
	if err != nil {
		return err
	}
	at, err := time.Parse(amzDateFormat, r.Header.Get("X-Amz-Date"))
	if err != nil {
		return err // not reached: check has parsed it
	}
	signer, known := v.signer(c)
	pair := aws.Credentials{AccessKeyID: c.accessKeyID, SecretAccessKey: credential.Secret}
	if err := signer.SignHTTP(r.Context(), pair, again, hash, c.service, c.region, at); err != nil {
		return fmt.Errorf("sign the request again: %w", err)
	}
	_, signature, _ := strings.Cut(again.Header.Get("Authorization"), "Signature=")
	if subtle.ConstantTimeCompare([]byte(signature), []byte(c.signature)) != 1 {
		return invalid("The request signature we calculated does not match the signature you provided. " +
			"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	if !known {
		v.keep(c, signer)
	}
	return nil
}

// signedPart returns a request that holds what r's signature covers and nothing else.
func signedPart(r *http.Request, c claim) (*http.Request, error) {
	u := *r.URL // the signer writes to the query
	part := &http.Request{Method: r.Method, URL: &u, Host: r.Host, Header: make(http.Header, 8)}
	for name := range strings.SplitSeq(c.signedHeaders, ";") {
		switch name {
		case "host", "x-amz-date": // the signer sets these itself, from Host and the time
		case "content-length":
			part.ContentLength = r.ContentLength
		default:
			values, ok := r.Header[http.CanonicalHeaderKey(name)]
			if !ok {
				return nil, invalid("'%.100s' is listed as a signed header, but the request has no such header.", name)
			}
			// Under its name in lower case: the signer would leave out User-Agent and a few more, which the SDK
			// does not sign but others may, and knows them by their canonical names.
			part.Header[name] = values
		}
	}
	return part, nil
}

// signer returns the signer kept for a claim's scope, or a new one.
func (v *verifier) signer(c claim) (s *v4.Signer, known bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if s, known = v.signers[signerKey{c.accessKeyID, c.region, c.service}]; !known {
		s = v4.NewSigner()
	}
	return s, known
}

// keep remembers a signer whose signature was good. When there are too many, all begin anew: most belong
// to temporary keys of the past.
func (v *verifier) keep(c claim, s *v4.Signer) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.signers == nil || len(v.signers) >= maxSigners {
		v.signers = map[signerKey]*v4.Signer{}
	}
	v.signers[signerKey{c.accessKeyID, c.region, c.service}] = s
}

func incomplete(what string) error {
	return &Error{Code: "IncompleteSignatureException", Message: "Request signature is incomplete: " + what + "."}
}

func invalid(format string, args ...any) error {
	return &Error{Code: "InvalidSignatureException", Message: fmt.Sprintf(format, args...)}
}
