package main

import (
	"bytes"
	"context"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"golang.org/x/sync/errgroup"
)

// signer converts calls into the bytes that AWS's own client sends, so that they can be created before a measurement
// and sent by a cheap client. A signature is valid for five minutes.
type signer struct {
	client *sd.Client
	sent   recorder
}

// recorder is an HTTP client that records requests instead of sending them.
type recorder struct{ raw bytes.Buffer }

func (r *recorder) Do(req *http.Request) (*http.Response, error) {
	r.raw.Reset()
	if err := req.Write(&r.raw); err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{},
		Body: io.NopCloser(bytes.NewReader([]byte("{}")))}, nil
}

func newSigner(api string) *signer {
	s := &signer{}
	s.client = sd.New(sd.Options{
		Region: region, BaseEndpoint: aws.String("http://" + api), HTTPClient: &s.sent, Retryer: aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: pair.AccessKeyID, SecretAccessKey: pair.Secret}, nil
		}),
	})
	return s
}

func (s *signer) register(ctx context.Context, service string, i int) ([]byte, error) {
	_, err := s.client.RegisterInstance(ctx, &sd.RegisterInstanceInput{
		ServiceId: &service, InstanceId: aws.String(instanceID(i)), Attributes: attributes(i),
	})
	return bytes.Clone(s.sent.raw.Bytes()), err
}

func (s *signer) discover(ctx context.Context, service string) ([]byte, error) {
	_, err := s.client.DiscoverInstances(ctx, &sd.DiscoverInstancesInput{
		NamespaceName: aws.String(namespaceName), ServiceName: &service,
	})
	return bytes.Clone(s.sent.raw.Bytes()), err
}

// registrations returns the signed registrations of n instances, starting with instance from.
func registrations(ctx context.Context, api, service string, from, n int) ([][]byte, error) {
	const workers = 2
	requests := make([][]byte, n)
	var g errgroup.Group
	for w := range workers {
		g.Go(func() (err error) {
			s := newSigner(api)
			for k := w; k < n && err == nil; k += workers {
				requests[k], err = s.register(ctx, service, from+k)
			}
			return err
		})
	}
	return requests, g.Wait()
}
