// Package sts is the one operation of the AWS Security Token Service that clients call before anything
// else: GetCallerIdentity tells them whose access key they hold. Terraform asks it for the account id, and
// people do with "aws sts get-caller-identity".
//
// STS speaks the AWS Query protocol: the request is a form (or a URL query), the answer XML. The package
// stands as an [awsapi.API] behind the verification that all APIs share, and knows nothing but the caller.
package sts

import (
	"context"
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
	ARN       string `xml:"GetCallerIdentityResult>Arn"`
	UserID    string `xml:"GetCallerIdentityResult>UserId"`
	Account   string `xml:"GetCallerIdentityResult>Account"`
	RequestID string `xml:"ResponseMetadata>RequestId"`
}

// Call answers GetCallerIdentity. A permanent key is the root of the account; a temporary one is a session
// of the role "rollcall" that has the key's id for its name.
func (API) Call(ctx context.Context, _ string, _, dst []byte) ([]byte, error) {
	c := awsapi.CallerFrom(ctx)
	answer := callerIdentity{
		ARN:       fmt.Sprintf("arn:aws:iam::%s:root", c.Account),
		UserID:    c.Account,
		Account:   c.Account,
		RequestID: c.RequestID,
	}
	if c.Temporary {
		answer.ARN = fmt.Sprintf("arn:aws:sts::%s:assumed-role/rollcall/%s", c.Account, c.AccessKeyID)
		answer.UserID = "AROAROLLCALL:" + c.AccessKeyID
	}
	return awsapi.AppendXML(dst, "GetCallerIdentityResponse", namespace, answer)
}

// Translate has nothing to translate: no call reaches the domain.
func (API) Translate(error) error { return nil }

// AppendError renders an error as an ErrorResponse.
func (API) AppendError(dst []byte, err smithy.APIError, requestID string) ([]byte, int) {
	return awsapi.AppendXMLError(dst, namespace, err, requestID)
}
