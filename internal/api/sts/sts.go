// Package sts serves GetCallerIdentity, the operation of the AWS Security Token Service with which clients find out
// whose access key they use. Terraform calls it for the account id, and users call it with "aws sts
// get-caller-identity".
//
// STS speaks the AWS Query protocol: the request is a form (or a URL query), the response is XML. The package
// implements [awsapi.API], so all requests are verified as those of the other APIs. It reads nothing but the caller.
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

// Scope returns "sts".
func (API) Scope() string { return "sts" }

// ContentType returns the media type of XML.
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
			"Could not find operation %.100q for version %.20q; this server has only GetCallerIdentity of %s.",
			form.Get("Action"), form.Get("Version"), version)}
	}
	return "GetCallerIdentity", nil
}

// callerIdentity is the response ("GetCallerIdentity" in the AWS STS API Reference).
type callerIdentity struct {
	ARN       string `xml:"GetCallerIdentityResult>Arn"`
	UserID    string `xml:"GetCallerIdentityResult>UserId"`
	Account   string `xml:"GetCallerIdentityResult>Account"`
	RequestID string `xml:"ResponseMetadata>RequestId"`
}

// Call answers GetCallerIdentity. A permanent key belongs to the root of the account. A temporary key is a session of
// the role "rollcall" whose name is the key's id.
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

// Translate returns nil: no call reaches the domain.
func (API) Translate(error) error { return nil }

// AppendError appends an ErrorResponse.
func (API) AppendError(dst []byte, err smithy.APIError, requestID string) ([]byte, int) {
	return awsapi.AppendXMLError(dst, namespace, err, requestID)
}
