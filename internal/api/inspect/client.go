package inspect

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
)

// Client calls the API of a server.
type Client struct {
	URL    string
	Region string
	Keys   awsapi.Pair
}

// Lookup explains a DNS answer.
func (c *Client) Lookup(ctx context.Context, in GetLookupInput) (*GetLookupOutput, error) {
	return call[GetLookupInput, GetLookupOutput](ctx, c, "GetLookup", &in)
}

// Status returns an overview of the state.
func (c *Client) Status(ctx context.Context, in GetStatusInput) (*GetStatusOutput, error) {
	return call[GetStatusInput, GetStatusOutput](ctx, c, "GetStatus", &in)
}

// Logs returns a part of the logs of tasks.
func (c *Client) Logs(ctx context.Context, in GetLogsInput) (*GetLogsOutput, error) {
	return call[GetLogsInput, GetLogsOutput](ctx, c, "GetLogs", &in)
}

// call signs and sends one request.
func call[I, O any](ctx context.Context, c *Client, operation string, in *I) (*O, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	body := awsapi.UpperCamel.Append(nil, in)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", targetPrefix+"."+operation)
	sum := sha256.Sum256(body)
	keys := aws.Credentials{AccessKeyID: c.Keys.AccessKeyID, SecretAccessKey: c.Keys.Secret}
	if err := v4.NewSigner().SignHTTP(ctx, keys, req, hex.EncodeToString(sum[:]), signingName, c.Region,
		time.Now()); err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("call the server: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("read the server's response: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var e struct{ Message string }
		if json.Unmarshal(answer, &e) != nil || e.Message == "" {
			e.Message = resp.Status
		}
		return nil, fmt.Errorf("the server rejected the request: %s", e.Message)
	}
	out := new(O)
	return out, awsapi.UpperCamel.Decode(answer, out)
}
