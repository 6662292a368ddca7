package awsapi

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
)

// emptyHash is the SHA-256 of the empty body.
const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestSignature(t *testing.T) {
	const (
		target  = "Route53AutoNaming_v20170314.GetService"
		body    = `{"Id":"srv-1"}`
		noMatch = "InvalidSignatureException: The request signature we calculated does not match"
		unknown = "UnrecognizedClientException: The security token included in the request is invalid."
	)
	keys := newKeys(t)
	session := keys.Issue(Administrator, noon.Add(time.Hour))
	ended := keys.Issue(Administrator, noon)
	other := keys.Issue(Administrator, noon.Add(time.Hour))
	svc := newCloudMap()
	Handle(svc, func(context.Context, *sd.GetServiceInput) (*sd.GetServiceOutput, error) { return nil, nil })

	// Each row is one request, signed with a key for a service at a time. before changes it before, after changes it
	// after it is signed.
	for _, tc := range []struct {
		name    string
		key     aws.Credentials // default: root
		service string          // default: servicediscovery
		at      time.Duration   // relative to noon
		before  func(*http.Request)
		after   func(*http.Request)
		want    string // prefix of "CODE: message"; empty if the request is accepted
	}{
		{name: "valid"},
		{name: "valid, other key", key: guest.credentials()},
		{name: "valid, session", key: session.credentials()},
		{name: "valid, token sent but not signed", key: session.withoutToken(),
			after: header("X-Amz-Security-Token", session.SessionToken)},
		// The SDK's signer signs the user agent only under this name.
		{name: "valid, user agent signed", before: header("user-agent", "curl/8"),
			after: header("User-Agent", "curl/8")},
		{name: "valid, body hash signed", before: header("X-Amz-Content-Sha256", hashOf(body))},
		{name: "valid, many spaces", before: header("X-Note", "a    b"), after: header("X-Note", "  a b ")},
		{name: "valid, unsigned header added", after: header("X-Forwarded-For", "192.0.2.1")},
		{name: "valid, no spaces in Authorization", after: authorization(", ", ",")},
		{name: "valid, five minutes late", at: -5 * time.Minute},
		{name: "valid, five minutes early", at: 5 * time.Minute},

		{name: "unsigned", after: header("Authorization", ""),
			want: "MissingAuthenticationTokenException: Missing Authentication Token"},
		{name: "presigned", after: presign,
			want: "IncompleteSignatureException: Request signature is incomplete: presigned URLs are not accepted"},
		{name: "other algorithm", after: authorization("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
			want: "IncompleteSignatureException"},
		{name: "basic authentication", after: header("Authorization", "Basic YTpi"),
			want: "IncompleteSignatureException"},
		{name: "two headers", after: func(r *http.Request) { r.Header.Add("Authorization", "x") },
			want: "IncompleteSignatureException"},
		{name: "no signature", after: authorization("Signature=", "Sig="),
			want: "IncompleteSignatureException: Request signature is incomplete: " +
				"the Authorization header requires 'Signature'"},
		{name: "no signed headers", after: authorization("SignedHeaders=", "Headers="),
			want: "IncompleteSignatureException"},
		{name: "no credential", after: authorization("Credential=", "Cred="), want: "IncompleteSignatureException"},
		{name: "short scope", after: authorization("/servicediscovery/", "/"), want: "IncompleteSignatureException"},
		{name: "long scope", after: authorization("/servicediscovery/", "/a/servicediscovery/"),
			want: "IncompleteSignatureException"},
		{name: "other end of scope", after: authorization("aws4_request", "aws4_reply"),
			want: "IncompleteSignatureException"},
		{name: "malformed date", after: header("X-Amz-Date", "yesterday"), want: "IncompleteSignatureException"},
		{name: "no date", after: header("X-Amz-Date", ""), want: "IncompleteSignatureException"},

		{name: "unknown key", key: aws.Credentials{AccessKeyID: "AKIAUNKNOWN", SecretAccessKey: root.Secret},
			want: unknown},
		{name: "wrong secret", key: aws.Credentials{AccessKeyID: root.AccessKeyID, SecretAccessKey: guest.Secret},
			want: noMatch},
		{name: "permanent key with a token", key: aws.Credentials{AccessKeyID: root.AccessKeyID,
			SecretAccessKey: root.Secret, SessionToken: session.SessionToken}, want: unknown},
		{name: "session without its token", key: session.withoutToken(), want: unknown},
		{name: "token of another session", key: aws.Credentials{AccessKeyID: session.AccessKeyID,
			SecretAccessKey: session.Secret, SessionToken: other.SessionToken}, want: unknown},
		{name: "malformed token", key: aws.Credentials{AccessKeyID: session.AccessKeyID,
			SecretAccessKey: session.Secret,
			SessionToken:    "x"}, want: unknown},
		{name: "session with another secret", key: aws.Credentials{AccessKeyID: session.AccessKeyID,
			SecretAccessKey: other.Secret, SessionToken: session.SessionToken}, want: noMatch},
		{name: "expired session", key: ended.credentials(),
			want: "ExpiredTokenException: The security token included in the request is expired"},

		{name: "too late", at: -5*time.Minute - time.Second,
			want: "InvalidSignatureException: Signature expired: " +
				"20260301T115459Z is now earlier than 20260301T115500Z (20260301T120000Z - 5 min.)"},
		{name: "too early", at: 5*time.Minute + time.Second,
			want: "InvalidSignatureException: Signature not yet current: " +
				"20260301T120501Z is still later than 20260301T120500Z (20260301T120000Z + 5 min.)"},
		{name: "wrong service", service: "ecs",
			want: "InvalidSignatureException: Credential should be scoped to correct service: 'servicediscovery'."},
		{name: "date moved", after: header("X-Amz-Date", "20260301T120001Z"), want: noMatch},
		{name: "day of scope moved", after: authorization("20260301", "20260228"),
			want: "InvalidSignatureException: Date in Credential scope does not match"},
		{name: "region moved", after: authorization("us-east-1", "us-east-2"), want: noMatch},
		{name: "malformed region", after: authorization("us-east-1", "US.east"),
			want: "InvalidSignatureException: Credential should be scoped to a valid region."},
		{name: "empty region", after: authorization("/us-east-1/", "//"),
			want: "InvalidSignatureException: Credential should be scoped to a valid region."},
		{name: "body changed", after: setBody(`{"Id":"srv-2"}`), want: noMatch},
		{name: "body hash is of another body", before: header("X-Amz-Content-Sha256", emptyHash),
			want: "InvalidSignatureException: X-Amz-Content-Sha256 is not the hash of the body."},
		{name: "unsigned payload", before: header("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD"),
			want: "InvalidSignatureException: X-Amz-Content-Sha256"},
		{name: "target changed", after: header("X-Amz-Target", "Route53AutoNaming_v20170314.DeleteService"),
			want: noMatch},
		{name: "signed header changed", before: header("X-Note", "a"), after: header("X-Note", "b"), want: noMatch},
		{name: "signed header removed", before: header("X-Note", "a"), after: header("X-Note", ""),
			want: "InvalidSignatureException: " +
				"'x-note' is listed as a signed header, but the request has no such header."},
		{name: "host changed", after: func(r *http.Request) { r.Host = "elsewhere" }, want: noMatch},
		{name: "path changed", after: func(r *http.Request) { r.URL.Path = "/other" }, want: noMatch},
		{name: "query added", after: func(r *http.Request) { r.URL.RawQuery = "a=b" }, want: noMatch},
		{name: "method changed", after: func(r *http.Request) { r.Method = http.MethodPut }, want: noMatch},
		{name: "truncated signature", after: func(r *http.Request) {
			r.Header.Set("Authorization", r.Header.Get("Authorization")[:len(r.Header.Get("Authorization"))-1])
		}, want: noMatch},
		{name: "host not signed", after: authorization(";host;", ";"),
			want: "InvalidSignatureException: 'host' must be a signed header."},
		{name: "date not signed", after: authorization(";x-amz-date", ""),
			want: "InvalidSignatureException: 'x-amz-date' must be a signed header."},
		{name: "target not signed", after: authorization(";x-amz-target", ""),
			want: "InvalidSignatureException: 'x-amz-target' must be a signed header."},
		{name: "header listed twice", after: authorization("host;", "host;host;"), want: noMatch},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.key.AccessKeyID == "" {
				tc.key = root.credentials()
			}
			if tc.service == "" {
				tc.service = "servicediscovery"
			}
			r := signed(t, aws.Credentials{}, target, body, tc.before)
			sign(t, r, tc.key, body, tc.service, noon.Add(tc.at))
			if tc.after != nil {
				tc.after(r)
			}
			w := responseTo(t, r, svc)
			if tc.want == "" {
				if w.Code != http.StatusOK {
					t.Errorf("rejected: %s", w.Body)
				}
				return
			}
			if got := errorText(t, w.Body.Bytes()); w.Code != http.StatusBadRequest ||
				!strings.HasPrefix(got, tc.want) {
				t.Errorf("got  %d %s\nwant 400 %s", w.Code, got, tc.want)
			}
		})
	}
}

func (s Session) credentials() aws.Credentials {
	return aws.Credentials{AccessKeyID: s.AccessKeyID, SecretAccessKey: s.Secret, SessionToken: s.SessionToken}
}

func (s Session) withoutToken() aws.Credentials {
	return aws.Credentials{AccessKeyID: s.AccessKeyID, SecretAccessKey: s.Secret}
}

// header sets a header, or removes it if value is empty.
func header(name, value string) func(*http.Request) {
	return func(r *http.Request) {
		if value == "" {
			r.Header.Del(name)
			return
		}
		r.Header[name] = []string{value}
	}
}

// authorization replaces a part of the Authorization header.
func authorization(old, replacement string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, replacement, 1))
	}
}

func setBody(body string) func(*http.Request) {
	return func(r *http.Request) {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	}
}

func presign(r *http.Request) {
	r.Header.Del("Authorization")
	text, _, err := v4.NewSigner().PresignHTTP(context.Background(), root.credentials(), r, emptyHash,
		"servicediscovery",
		"us-east-1", noon)
	if err == nil {
		r.URL, err = url.Parse(text)
	}
	if err != nil {
		panic(err)
	}
}

// TestSigningKeysAreBounded checks that regions that an unknown sender makes up use no memory, and that many valid
// scopes use a bounded amount.
func TestSigningKeysAreBounded(t *testing.T) {
	v := verifier{keys: newKeys(t), now: func() time.Time { return noon }}
	try := func(region, secret string) error {
		r := signed(t, aws.Credentials{}, "x.y", "{}", nil)
		c := aws.Credentials{AccessKeyID: root.AccessKeyID, SecretAccessKey: secret}
		if err := v4.NewSigner().SignHTTP(t.Context(), c, r, hashOf("{}"), "ecs", region, noon); err != nil {
			t.Fatal(err)
		}
		claim, credential, err := v.identify(r, "ecs")
		if err != nil {
			return err
		}
		return v.verify(r, []byte("{}"), claim, credential)
	}
	if err := try("eu-north-1", "guessed"); err == nil || len(v.signingKeys) != 0 {
		t.Errorf("invalid signature: error %v, %d keys in memory; want an error and no key", err, len(v.signingKeys))
	}
	for i := range maxSigningKeys + 10 {
		if err := try("r-"+strings.Repeat("x", i%20)+string(rune('a'+i/20%26))+string(rune('a'+i/520)),
			root.Secret); err != nil {
			t.Fatal(err)
		}
	}
	if len(v.signingKeys) == 0 || len(v.signingKeys) > maxSigningKeys {
		t.Errorf("%d keys in memory, want 1 to %d", len(v.signingKeys), maxSigningKeys)
	}
}

// FuzzSignedBySDK checks that the signature of each request that the SDK's signer signs and net/http transfers is
// valid, and that it is invalid for another body.
func FuzzSignedBySDK(f *testing.F) {
	f.Add("/", "", "a", "b", "{}")
	f.Add("/a%20b//c/../%2F%2f/ü~+;:@", "b=2&a=1&a=%20+&a-b=&a", "  x   y ", "", "")
	f.Add("", "a=b/c&a=b-c&a%2Fb=&a%ff=\x80;c", "\t", ",", "\x00")
	f.Fuzz(func(t *testing.T, path, query, note, second, body string) {
		r, err := http.NewRequest(http.MethodPost, "http://rollcall.test:7070", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(note+second, "\r\n") {
			t.Skip("net/http replaces it by a space after the request is signed")
		}
		r.Header["X-Note"] = []string{note, second}
		if u, err := url.Parse("http://rollcall.test:7070" + path + "?" + query); err == nil && u.Host == r.Host {
			r.URL = u
		}
		sign(t, r, root.credentials(), body, "ecs", noon)
		var wire bytes.Buffer
		if r.Write(&wire) != nil {
			t.Skip("net/http does not send this")
		}
		received, err := http.ReadRequest(bufio.NewReader(&wire))
		if err != nil {
			t.Skip("net/http does not accept this")
		}
		v := verifier{keys: newKeys(t), now: func() time.Time { return noon }}
		c, credential, err := v.identify(received, "ecs")
		if err != nil {
			t.Fatal(err)
		}
		if err := v.verify(received, []byte(body), c, credential); err != nil {
			t.Errorf("%s %q: %v", received.URL, note, err)
		}
		if v.verify(received, []byte(body+" "), c, credential) == nil {
			t.Error("the signature is valid for another body")
		}
	})
}

// FuzzAuthorization checks that no Authorization header and no date makes the handler panic or accept the request.
func FuzzAuthorization(f *testing.F) {
	good := signed(f, root.credentials(), "a.b", "{}", nil).Header.Get("Authorization")
	f.Add(good, "20260301T120000Z", "")
	f.Add("AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, "+
		"SignedHeaders=host;x-amz-date;content-length;authorization, Signature=s", "20260301T120000.5Z", "x")
	f.Add("AWS4-HMAC-SHA256 Credential=////,,,,Signature==,SignedHeaders=;;;", "", strings.Repeat("A", 70))
	h := NewHandler(Config{Keys: newKeys(f), Now: func() time.Time { return noon }}, newCloudMap())
	f.Fuzz(func(t *testing.T, authorization, date, token string) {
		if authorization == good {
			return
		}
		r := signed(t, aws.Credentials{}, "Route53AutoNaming_v20170314.GetService", "{}", nil)
		r.Header["Authorization"] = []string{authorization}
		r.Header["X-Amz-Date"] = []string{date}
		r.Header["X-Amz-Security-Token"] = []string{token}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusBadRequest || strings.Contains(w.Body.String(), "UnknownOperation") {
			t.Errorf("%q: got %d %s", authorization, w.Code, w.Body)
		}
	})
}
