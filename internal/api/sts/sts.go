// Package sts is the one operation of the AWS Security Token Service that clients call before anything
// else: GetCallerIdentity tells them whose access key they hold. Terraform asks it for the account id, and
// people do with "aws sts get-caller-identity".
//
// STS speaks the AWS Query protocol: the request is a form (or a URL query), the answer XML. The package
// stands as an [awsapi.API] behind the verification that all APIs share, and knows nothing but the caller.
package sts

import (
	"context"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"

	"github.com/aws/smithy-go"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
)

const (
	version   = "2011-06-15"
	namespace = "https://sts.amazonaws.com/doc/2011-06-15/"
)

// API is the service. It has no state.
type API struct{}

var _ awsapi.API = API{}

// Scope is "sts".
func (API) Scope() string { return "sts" }

// ContentType is XML.
func (API) ContentType() string { return "text/xml" }

// Operation reads Action from the form or, in a GET, from the URL.
func (API) Operation(r *http.Request, body []byte) (string, error) {
	text := r.URL.RawQuery
	if r.Method == http.MethodPost && len(body) > 0 {
		text = string(body)
	}
	form, err := url.ParseQuery(text)
	if err != nil {
		return "", &awsapi.Error{Code: "MalformedQueryString", Message: "The request is not a form."}
	}
	if form.Get("Action") != "GetCallerIdentity" || form.Get("Version") != version {
		return "", &awsapi.Error{Code: "InvalidAction", Message: fmt.Sprintf(
			"Could not find operation %.100q for version %.20q; GetCallerIdentity of %s is served here.",
			form.Get("Action"), form.Get("Version"), version)}
	}
	return "GetCallerIdentity", nil
}

// callerIdentity is the answer ("GetCallerIdentity" in the AWS STS API Reference).
type callerIdentity struct {
	XMLName   xml.Name `xml:"GetCallerIdentityResponse"`
	XMLNS     string   `xml:"xmlns,attr"`
	ARN       string   `xml:"GetCallerIdentityResult>Arn"`
	UserID    string   `xml:"GetCallerIdentityResult>UserId"`
	Account   string   `xml:"GetCallerIdentityResult>Account"`
	RequestID string   `xml:"ResponseMetadata>RequestId"`
}

// Call answers GetCallerIdentity. A permanent key is the root of the account; a temporary one is a session
// of the role "rollcall" that has the key's id for its name.
func (API) Call(ctx context.Context, _ string, _, dst []byte) ([]byte, error) {
	c := awsapi.CallerFrom(ctx)
	answer := callerIdentity{
		XMLNS:     namespace,
		ARN:       fmt.Sprintf("arn:aws:iam::%s:root", c.Account),
		UserID:    c.Account,
		Account:   c.Account,
		RequestID: c.RequestID,
	}
	if c.Temporary {
		answer.ARN = fmt.Sprintf("arn:aws:sts::%s:assumed-role/rollcall/%s", c.Account, c.AccessKeyID)
		answer.UserID = "AROAROLLCALL:" + c.AccessKeyID
	}
	return appendXML(dst, answer)
}

// Translate has nothing to translate: no call reaches the domain.
func (API) Translate(error) error { return nil }

// queryCodes are the codes that the Query protocol has for what JSON 1.1 calls otherwise, with the status
// that goes with them ("Common Errors" in the AWS STS API Reference).
var queryCodes = map[string]struct {
	code   string
	status int
}{
	"MissingAuthenticationTokenException": {"MissingAuthenticationToken", http.StatusForbidden},
	"IncompleteSignatureException":        {"IncompleteSignature", http.StatusBadRequest},
	"InvalidSignatureException":           {"SignatureDoesNotMatch", http.StatusForbidden},
	"UnrecognizedClientException":         {"InvalidClientTokenId", http.StatusForbidden},
	"ExpiredTokenException":               {"ExpiredToken", http.StatusForbidden},
	"AccessDeniedException":               {"AccessDenied", http.StatusForbidden},
	"RequestEntityTooLargeException":      {"RequestEntityTooLarge", http.StatusRequestEntityTooLarge},
}

type errorResponse struct {
	XMLName   xml.Name `xml:"ErrorResponse"`
	XMLNS     string   `xml:"xmlns,attr"`
	Type      string   `xml:"Error>Type"` // Sender or Receiver: whose fault it is
	Code      string   `xml:"Error>Code"`
	Message   string   `xml:"Error>Message"`
	RequestID string   `xml:"RequestId"`
}

// AppendError renders an error as an ErrorResponse.
func (API) AppendError(dst []byte, err smithy.APIError, requestID string) ([]byte, int) {
	answer := errorResponse{
		XMLNS:     namespace,
		Type:      "Sender",
		Code:      err.ErrorCode(),
		Message:   err.ErrorMessage(),
		RequestID: requestID,
	}
	status := awsapi.HTTPStatus(err)
	if q, ok := queryCodes[answer.Code]; ok {
		answer.Code, status = q.code, q.status
	}
	if status >= http.StatusInternalServerError {
		answer.Type = "Receiver"
	}
	body, xmlErr := appendXML(dst, answer)
	if xmlErr != nil {
		return dst, http.StatusInternalServerError // not reached: a struct of strings always has an XML form
	}
	return body, status
}

func appendXML(dst []byte, answer any) ([]byte, error) {
	text, err := xml.Marshal(answer)
	if err != nil {
		return dst, fmt.Errorf("render the answer: %w", err)
	}
	return append(dst, text...), nil
}
