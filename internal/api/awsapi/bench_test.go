package awsapi

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
)

// discovered returns the response of DiscoverInstances for a service with n instances of an ECS service.
func discovered(n int) *sd.DiscoverInstancesOutput {
	out := &sd.DiscoverInstancesOutput{InstancesRevision: aws.Int64(1234567)}
	for i := range n {
		out.Instances = append(out.Instances, sdtypes.HttpInstanceSummary{
			InstanceId:    aws.String(fmt.Sprintf("%032x", i)),
			NamespaceName: aws.String("example.internal"),
			ServiceName:   aws.String("backend"),
			HealthStatus:  sdtypes.HealthStatusHealthy,
			Attributes: map[string]string{
				"AWS_INSTANCE_IPV4":          fmt.Sprintf("10.0.%d.%d", i/256, i%256),
				"AWS_INSTANCE_PORT":          "8080",
				"AWS_INIT_HEALTH_STATUS":     "HEALTHY",
				"AVAILABILITY_ZONE":          "us-east-1a",
				"ECS_CLUSTER_NAME":           "default",
				"ECS_SERVICE_NAME":           "backend",
				"ECS_TASK_DEFINITION_FAMILY": "backend",
				"REGION":                     "us-east-1",
			},
		})
	}
	return out
}

// BenchmarkEncodeDiscover encodes a response of DiscoverInstances with 100 instances.
func BenchmarkEncodeDiscover(b *testing.B) {
	out := discovered(100)
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = UpperCamel.Append(dst[:0], out)
	}
	b.SetBytes(int64(len(dst)))
}

// BenchmarkDecodeDiscover decodes a request of DiscoverInstances.
func BenchmarkDecodeDiscover(b *testing.B) {
	body := []byte(
		`{"NamespaceName":"example.internal","ServiceName":"backend","MaxResults":100,"HealthStatus":"HEALTHY"}`)
	b.ReportAllocs()
	for b.Loop() {
		var in sd.DiscoverInstancesInput
		if err := UpperCamel.Decode(body, &in); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVerify verifies one signature. BenchmarkSignBySDK shows how long the SDK takes to make one.
func BenchmarkVerify(b *testing.B) {
	const body = `{"NamespaceName":"example.internal","ServiceName":"backend"}`
	keys := newKeys(b)
	for name, credentials := range map[string]aws.Credentials{
		"permanent": root.credentials(),
		"session":   keys.Issue(Administrator, noon.Add(time.Hour)).credentials(),
	} {
		b.Run(name, func(b *testing.B) {
			v := verifier{keys: keys, now: func() time.Time { return noon }}
			r := signed(b, credentials, "Route53AutoNaming_v20170314.DiscoverInstances", body, nil)
			b.ReportAllocs()
			for b.Loop() {
				c, credential, err := v.identify(r, "servicediscovery")
				if err == nil {
					err = v.verify(r, []byte(body), c, credential)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSignBySDK(b *testing.B) {
	const body = `{"NamespaceName":"example.internal","ServiceName":"backend"}`
	r := signed(b, root.credentials(), "Route53AutoNaming_v20170314.DiscoverInstances", body, nil)
	signer := v4.NewSigner()
	b.ReportAllocs()
	for b.Loop() {
		err := signer.SignHTTP(b.Context(), root.credentials(), r, hashOf(body), "servicediscovery", "us-east-1", noon)
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHandler measures a whole DiscoverInstances without the network, and for comparison a bare handler that
// writes the same bytes.
func BenchmarkHandler(b *testing.B) {
	svc := newCloudMap()
	out := discovered(10)
	Handle(svc, func(context.Context, *sd.DiscoverInstancesInput) (*sd.DiscoverInstancesOutput, error) {
		return out, nil
	})
	answer := UpperCamel.Append(nil, out)
	for name, h := range map[string]http.Handler{
		"signed": NewHandler(Config{Keys: newKeys(b), Now: func() time.Time { return noon }}, svc),
		"bare":   http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(answer) }),
	} {
		b.Run(name, func(b *testing.B) {
			const body = `{"NamespaceName":"example.internal","ServiceName":"backend"}`
			r := signed(b, root.credentials(), "Route53AutoNaming_v20170314.DiscoverInstances", body, nil)
			b.ReportAllocs()
			for b.Loop() {
				setBody(body)(r)
				w := httptest.NewRecorder()
				if h.ServeHTTP(w, r); w.Code != http.StatusOK {
					b.Fatal(w.Body)
				}
			}
		})
	}
}
