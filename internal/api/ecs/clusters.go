package ecs

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

func (a *api) createCluster(ctx context.Context, in *sdk.CreateClusterInput) (*sdk.CreateClusterOutput, error) {
	tags, err := tagsOf(in.Tags)
	if err != nil {
		return nil, err
	}
	if err := checkCluster(in); err != nil {
		return nil, err
	}
	name := aws.ToString(in.ClusterName)
	if name == "" {
		name = task.DefaultCluster
	}
	sent := *in
	sent.Tags = nil // the row has them, and they change
	sc := scope(ctx)
	c, err := update(ctx, a, func(tx *store.Tx) (*task.Cluster, error) {
		return task.CreateCluster(tx, sc, name, wire.Append(nil, &sent), tags, a.now()), nil
	})
	if err != nil {
		return nil, err
	}
	view, err := clusterView(a.db.Snapshot(), c, types.ClusterFieldConfigurations, types.ClusterFieldSettings, types.ClusterFieldTags)
	return &sdk.CreateClusterOutput{Cluster: view}, err
}

// checkCluster applies CreateCluster's rules.
func checkCluster(in *sdk.CreateClusterInput) error {
	if name := aws.ToString(in.ClusterName); name != "" && !namePattern.MatchString(name) {
		return invalid("Invalid cluster name %q: up to 255 letters, digits, hyphens and underscores are allowed", name)
	}
	for _, s := range in.Settings {
		if err := oneOf("setting name", s.Name, s.Name.Values()); err != nil {
			return err
		}
		if v := aws.ToString(s.Value); !slices.Contains([]string{"enabled", "disabled", "enhanced"}, v) {
			return invalid("containerInsights should be one of [enabled,disabled,enhanced]; it is %q", v)
		}
	}
	if len(in.CapacityProviders) > 0 || len(in.DefaultCapacityProviderStrategy) > 0 {
		return unsupported("Capacity providers are not supported by this server; name a launch type in the service instead.")
	}
	if in.ServiceConnectDefaults != nil && aws.ToString(in.ServiceConnectDefaults.Namespace) != "" {
		return unsupported("Service Connect is not supported by this server; use service discovery (serviceRegistries).")
	}
	return checkClusterConfiguration(in.Configuration)
}

// checkClusterConfiguration applies the rules of execute-command logging.
func checkClusterConfiguration(c *types.ClusterConfiguration) error {
	if c == nil || c.ExecuteCommandConfiguration == nil {
		return nil
	}
	e := c.ExecuteCommandConfiguration
	override, logs := e.Logging == types.ExecuteCommandLoggingOverride, e.LogConfiguration
	switch {
	case logs != nil && !override:
		return invalid("You must set logging to 'OVERRIDE' when you supply a log configuration")
	case override && (logs == nil || aws.ToString(logs.CloudWatchLogGroupName) == "" && aws.ToString(logs.S3BucketName) == ""):
		return invalid("A CloudWatch log group name or S3 bucket name must be specified when overriding the logging configuration")
	}
	return oneOf("logging", e.Logging, e.Logging.Values())
}

func (a *api) describeClusters(ctx context.Context, in *sdk.DescribeClustersInput) (*sdk.DescribeClustersOutput, error) {
	sc, r := scope(ctx), a.db.Snapshot()
	names := in.Clusters
	if len(names) == 0 {
		names = []string{task.DefaultCluster}
	}
	if len(names) > 100 {
		return nil, invalid("At most 100 clusters can be described at once")
	}
	for _, f := range in.Include {
		if err := oneOf("include", f, f.Values()); err != nil {
			return nil, err
		}
	}
	out := &sdk.DescribeClustersOutput{Clusters: []types.Cluster{}, Failures: []types.Failure{}}
	for _, s := range names {
		id, err := identify(sc, "cluster", s)
		if err != nil {
			return nil, err
		}
		c, ok := task.FindCluster(r, sc, id.name)
		if !ok {
			out.Failures = append(out.Failures, missing(id, (&task.Cluster{Account: sc.Account, Region: sc.Region, Name: s}).ARN()))
			continue
		}
		view, err := clusterView(r, c, in.Include...)
		if err != nil {
			return nil, err
		}
		out.Clusters = append(out.Clusters, *view)
	}
	return out, nil
}

// missing is the failure for something that is not there, by the ARN that was given or would be its.
func missing(id identifier, arn string) types.Failure {
	if id.arn != "" {
		arn = id.arn
	}
	return types.Failure{Arn: &arn, Reason: aws.String("MISSING")}
}

func (a *api) listClusters(ctx context.Context, in *sdk.ListClustersInput) (*sdk.ListClustersOutput, error) {
	page, err := newList("ListClusters", in.MaxResults, in.NextToken, 100, 100)
	if err != nil {
		return nil, err
	}
	task.ScanClusters(a.db.Snapshot(), scope(ctx), page.after, func(c *task.Cluster) bool {
		return c.Status == task.Inactive || page.Add(c.Name, c.ARN())
	})
	return &sdk.ListClustersOutput{ClusterArns: page.Items, NextToken: page.next()}, nil
}

func (a *api) deleteCluster(ctx context.Context, in *sdk.DeleteClusterInput) (*sdk.DeleteClusterOutput, error) {
	sc := scope(ctx)
	if aws.ToString(in.Cluster) == "" {
		return nil, invalid("Cluster can not be blank.")
	}
	name, err := clusterName(sc, in.Cluster)
	if err != nil {
		return nil, err
	}
	c, err := update(ctx, a, func(tx *store.Tx) (*task.Cluster, error) { return task.DeleteCluster(tx, sc, name) })
	if err != nil {
		return nil, err
	}
	view, err := clusterView(a.db.Snapshot(), c)
	return &sdk.DeleteClusterOutput{Cluster: view}, err
}
