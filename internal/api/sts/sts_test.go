package sts_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	sdk "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/api/sts"
)

func client(srv *apitest.Server, c aws.Credentials) *sdk.Client {
	return sdk.NewFromConfig(srv.Config(apitest.WithCredentials(c)))
}

func TestGetCallerIdentity(t *testing.T) {
	srv := apitest.Serve(t, sts.API{})
	session := srv.Keys.Issue(awsapi.ReadOnly, time.Now().Add(time.Hour))
	for _, tc := range []struct {
		name        string
		credentials aws.Credentials
		arn         string
	}{
		{"permanent", apitest.Credentials(apitest.Administrator), "arn:aws:iam::123456789012:root"},
		{"temporary, read-only",
			aws.Credentials{AccessKeyID: session.AccessKeyID, SecretAccessKey: session.Secret,
				SessionToken: session.SessionToken},
			"arn:aws:sts::123456789012:assumed-role/rollcall/" + session.AccessKeyID},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, err := client(srv, tc.credentials).GetCallerIdentity(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if *out.Account != apitest.Account || *out.Arn != tc.arn || *out.UserId == "" {
				t.Errorf("got %s, %s, %s; want %s", *out.Account, *out.Arn, *out.UserId, tc.arn)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	srv := apitest.Serve(t, sts.API{})
	good := client(srv, apitest.Credentials(apitest.Administrator))
	for _, tc := range []struct {
		name   string
		call   func(context.Context) error
		code   string
		status int
	}{
		{"unknown action", func(ctx context.Context) error {
			_, err := good.GetSessionToken(ctx, nil)
			return err
		}, "InvalidAction", 400},
		{"unknown key", func(ctx context.Context) error {
			unknown := aws.Credentials{AccessKeyID: "AKIAUNKNOWN", SecretAccessKey: "x"}
			_, err := client(srv, unknown).GetCallerIdentity(ctx, nil)
			return err
		}, "InvalidClientTokenId", 403},
		{"wrong secret", func(ctx context.Context) error {
			wrong := aws.Credentials{AccessKeyID: apitest.Administrator.AccessKeyID, SecretAccessKey: "x"}
			_, err := client(srv, wrong).GetCallerIdentity(ctx, nil)
			return err
		}, "SignatureDoesNotMatch", 403},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.call(t.Context())
			var api smithy.APIError
			var response *awshttp.ResponseError
			if !errors.As(err, &api) || !errors.As(err, &response) {
				t.Fatalf("got %v", err)
			}
			if api.ErrorCode() != tc.code || response.HTTPStatusCode() != tc.status ||
				response.ServiceRequestID() == "" {
				t.Errorf("got %v, want %d %s and a request id", err, tc.status, tc.code)
			}
		})
	}
}

// TestGET sends the request of old tools, with all parameters in the URL.
func TestGET(t *testing.T) {
	for query, want := range map[string]string{
		"Action=GetCallerIdentity&Version=2011-06-15": "<Arn>arn:aws:iam::123456789012:root</Arn>",
		"Version=2011-06-15&Action=GetFederation%3C":  "<Code>InvalidAction</Code>",
		"Action=%zz": "<Code>MalformedQueryString</Code>",
		"":           "<Code>InvalidAction</Code>",
	} {
		keys := apitest.Must(awsapi.NewKeys(apitest.Administrator))(t)
		const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
		r := httptest.NewRequest("GET", "/?"+query, nil)
		err := v4.NewSigner().SignHTTP(t.Context(), apitest.Credentials(apitest.Administrator), r, emptyHash,
			"sts", "us-east-1", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		r.URL.RawQuery = query
		w := httptest.NewRecorder()
		awsapi.NewHandler(awsapi.Config{Account: apitest.Account, Keys: keys}, sts.API{}).ServeHTTP(w, r)
		if !strings.Contains(w.Body.String(), want) || w.Header().Get("Content-Type") != "text/xml" {
			t.Errorf("?%s: got %d %s, want %s", query, w.Code, w.Body, want)
		}
	}
}
