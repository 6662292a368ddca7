// Package demo deploys the sample services on a running server in the same way as a user: through the API, with the AWS
// SDK. Start reading with [Deploy].
package demo

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"

	"github.com/bakingclouds/rollcall/examples"
	"github.com/bakingclouds/rollcall/internal/api/awsapi"
)

// Namespace is the namespace in which the samples find each other.
const Namespace = "corp"

// service is one sample: its name in the namespace, its task definition, and its number of tasks.
type service struct {
	name       string
	definition []byte
	tasks      int32
}

var services = []service{
	{"worker", examples.FlaskWorker, 2},
	{"backend", examples.FlaskBackend, 1},
}

// Result describes the deployed samples.
type Result struct {
	BackendURL string
	Response   string // the backend's response to a first request
}

// deployment is the state of one call of Deploy.
type deployment struct {
	sd  *servicediscovery.Client
	ecs *ecs.Client
	out io.Writer
}

// Deploy creates the namespace and the sample services, waits until their tasks are running, and sends one request to
// the backend. It prints its progress to out.
func Deploy(ctx context.Context, endpoint, region string, keys awsapi.Pair, out io.Writer) (Result, error) {
	cfg := aws.Config{
		Region: region, BaseEndpoint: &endpoint,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: keys.AccessKeyID, SecretAccessKey: keys.Secret}, nil
		}),
	}
	d := &deployment{sd: servicediscovery.NewFromConfig(cfg), ecs: ecs.NewFromConfig(cfg), out: out}
	ns, err := d.namespace(ctx)
	if err != nil {
		return Result{}, err
	}
	for _, s := range services {
		if err := d.deploy(ctx, ns, s); err != nil {
			return Result{}, fmt.Errorf("service %s: %w", s.name, err)
		}
	}
	for _, s := range services {
		if err := d.await(ctx, s); err != nil {
			return Result{}, fmt.Errorf("service %s: %w", s.name, err)
		}
	}
	return d.callBackend(ctx)
}

// namespace creates the namespace and waits for the operation, as every AWS client must.
func (d *deployment) namespace(ctx context.Context) (string, error) {
	d.printf("namespace %s", Namespace)
	created, err := d.sd.CreatePrivateDnsNamespace(ctx, &servicediscovery.CreatePrivateDnsNamespaceInput{
		Name: aws.String(Namespace), Vpc: aws.String("vpc-local"), Description: aws.String("the sample services"),
	})
	if err != nil {
		return "", err
	}
	for {
		got, err := d.sd.GetOperation(ctx, &servicediscovery.GetOperationInput{OperationId: created.OperationId})
		if err != nil {
			return "", err
		}
		switch got.Operation.Status {
		case sdtypes.OperationStatusSuccess:
			return got.Operation.Targets["NAMESPACE"], nil
		case sdtypes.OperationStatusFail:
			return "", fmt.Errorf("create namespace %s: %s", Namespace, aws.ToString(got.Operation.ErrorMessage))
		}
		if err := pause(ctx); err != nil {
			return "", err
		}
	}
}

// deploy creates the Cloud Map service and the ECS service of one sample.
func (d *deployment) deploy(ctx context.Context, namespace string, s service) error {
	var def ecs.RegisterTaskDefinitionInput
	if err := awsapi.LowerCamel.Decode(s.definition, &def); err != nil {
		return err
	}
	registry, err := d.sd.CreateService(ctx, &servicediscovery.CreateServiceInput{
		Name: aws.String(s.name), NamespaceId: &namespace,
		DnsConfig: &sdtypes.DnsConfig{
			RoutingPolicy: sdtypes.RoutingPolicyMultivalue,
			DnsRecords:    []sdtypes.DnsRecord{{Type: sdtypes.RecordTypeA, TTL: aws.Int64(10)}},
		},
		HealthCheckCustomConfig: &sdtypes.HealthCheckCustomConfig{},
	})
	if err != nil {
		return err
	}
	registered, err := d.ecs.RegisterTaskDefinition(ctx, &def)
	if err != nil {
		return err
	}
	d.printf("service %s.%s: %d tasks of %s", s.name, Namespace, s.tasks, *def.Family)
	_, err = d.ecs.CreateService(ctx, &ecs.CreateServiceInput{
		ServiceName: aws.String(s.name), TaskDefinition: registered.TaskDefinition.TaskDefinitionArn, DesiredCount: &s.tasks,
		NetworkConfiguration: &ecstypes.NetworkConfiguration{
			AwsvpcConfiguration: &ecstypes.AwsVpcConfiguration{Subnets: []string{"subnet-local"}}},
		ServiceRegistries: []ecstypes.ServiceRegistry{{RegistryArn: registry.Service.Arn}},
	})
	return err
}

// await prints the counts of a service's tasks until its rollout is complete.
func (d *deployment) await(ctx context.Context, s service) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	shown := ""
	for {
		got, err := d.ecs.DescribeServices(ctx, &ecs.DescribeServicesInput{Services: []string{s.name}})
		if err != nil {
			return err
		}
		svc := got.Services[0]
		now := fmt.Sprintf("  %s: %d pending, %d running of %d", s.name, svc.PendingCount, svc.RunningCount, svc.DesiredCount)
		if now != shown {
			fmt.Fprintln(d.out, now)
			shown = now
		}
		if len(svc.Deployments) == 1 && svc.Deployments[0].RolloutState == ecstypes.DeploymentRolloutStateCompleted {
			return nil
		}
		if err := pause(ctx); err != nil {
			var last string
			if len(svc.Events) > 0 {
				last = ": " + aws.ToString(svc.Events[0].Message)
			}
			return fmt.Errorf("tasks did not become healthy within a minute%s", last)
		}
	}
}

// callBackend sends one request to the backend.
func (d *deployment) callBackend(ctx context.Context) (Result, error) {
	tasks, err := d.ecs.ListTasks(ctx, &ecs.ListTasksInput{ServiceName: aws.String("backend")})
	if err != nil {
		return Result{}, err
	}
	got, err := d.ecs.DescribeTasks(ctx, &ecs.DescribeTasksInput{Tasks: tasks.TaskArns})
	if err != nil {
		return Result{}, err
	}
	address := ""
	for _, t := range got.Tasks {
		for _, i := range t.Containers[0].NetworkInterfaces {
			address = aws.ToString(i.PrivateIpv4Address)
		}
	}
	r := Result{BackendURL: "http://" + address + ":5000/"}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.BackendURL, nil)
	if err != nil {
		return r, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return r, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return r, err
	}
	r.Response = strings.TrimSpace(string(body))
	if resp.StatusCode != http.StatusOK {
		return r, fmt.Errorf("the backend returned %s: %s", resp.Status, r.Response)
	}
	return r, nil
}

func (d *deployment) printf(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// pause waits between two polls of the server's state.
func pause(ctx context.Context) error {
	select {
	case <-time.After(100 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
