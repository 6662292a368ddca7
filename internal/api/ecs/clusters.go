package ecs

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/api/ecs/codec"
	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
	"github.com/bakingclouds/rollcall/internal/api/ecs/identifier"
	"github.com/bakingclouds/rollcall/internal/api/ecs/overlay"
	"github.com/bakingclouds/rollcall/internal/api/ecs/render"
	"github.com/bakingclouds/rollcall/internal/api/ecs/servicespec"
	"github.com/bakingclouds/rollcall/internal/arn"
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
	sc := awsapi.ScopeFrom(ctx)
	row := task.Cluster{Account: sc.Account, Region: sc.Region, Name: aws.ToString(in.ClusterName), Tags: tags}
	if row.Name == "" {
		row.Name = task.DefaultCluster
	}
	sent := *in
	// The row has them, and they change.
	sent.Tags, sent.CapacityProviders, sent.DefaultCapacityProviderStrategy = nil, nil, nil
	now := a.now()
	c, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*task.Cluster, error) {
		row, sent := row, sent
		names, err := associated(tx, sc, in.CapacityProviders)
		if err == nil {
			err = servicespec.CheckStrategy(in.DefaultCapacityProviderStrategy, names)
		}
		if err != nil {
			return nil, err
		}
		row.Providers, row.Strategy, row.Associated = names, servicespec.StrategyRow(in.DefaultCapacityProviderStrategy), len(names) > 0
		if len(sent.Settings) == 0 {
			insights, _ := settingNamed(types.SettingNameContainerInsights)
			value := effective(tx, sc, insights, identifier.RootARN(sc))
			sent.Settings = []types.ClusterSetting{{Name: types.ClusterSettingNameContainerInsights, Value: &value}}
		}
		row.Sent = codec.Encode(&sent)
		return task.CreateCluster(tx, row, now), nil
	})
	if err != nil {
		return nil, err
	}
	view, err := viewOfCluster(a.db.Snapshot(), c, clusterAnswer...)
	return &sdk.CreateClusterOutput{Cluster: view}, err
}

// clusterAnswer is what the answers to changes of a cluster include.
var clusterAnswer = []types.ClusterField{types.ClusterFieldConfigurations, types.ClusterFieldSettings, types.ClusterFieldTags}

// changeCluster changes an active cluster's row and what was sent of it.
func (a *api) changeCluster(ctx context.Context, cluster *string, do func(*store.Tx, *task.Cluster, *sdk.CreateClusterInput) error) (*types.Cluster, error) {
	sc := awsapi.ScopeFrom(ctx)
	if aws.ToString(cluster) == "" {
		return nil, ecserr.Invalid("Cluster can not be blank.")
	}
	name, err := identifier.ClusterName(sc, cluster)
	if err != nil {
		return nil, err
	}
	now := a.now()
	c, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*task.Cluster, error) {
		old, err := task.UseCluster(tx, sc, name, now)
		if err != nil {
			return nil, err
		}
		sent, err := codec.Decode[sdk.CreateClusterInput]("cluster "+name, old.Sent)
		if err != nil {
			return nil, err
		}
		c := *old
		if err := do(tx, &c, sent); err != nil {
			return nil, err
		}
		c.Sent = codec.Encode(sent)
		task.PutCluster(tx, c)
		return &c, nil
	})
	if err != nil {
		return nil, err
	}
	return viewOfCluster(a.db.Snapshot(), c, clusterAnswer...)
}

// updateCluster replaces what it names and keeps the rest.
func (a *api) updateCluster(ctx context.Context, in *sdk.UpdateClusterInput) (*sdk.UpdateClusterOutput, error) {
	err := ecserr.First(checkClusterSettings(in.Settings), checkServiceConnectDefaults(in.ServiceConnectDefaults), checkClusterConfiguration(in.Configuration))
	if err != nil {
		return nil, err
	}
	view, err := a.changeCluster(ctx, in.Cluster, func(_ *store.Tx, _ *task.Cluster, sent *sdk.CreateClusterInput) error {
		overlay.List(&sent.Settings, in.Settings)
		overlay.Value(&sent.Configuration, in.Configuration)
		return nil
	})
	return &sdk.UpdateClusterOutput{Cluster: view}, err
}

func (a *api) updateClusterSettings(ctx context.Context, in *sdk.UpdateClusterSettingsInput) (*sdk.UpdateClusterSettingsOutput, error) {
	if len(in.Settings) == 0 {
		return nil, ecserr.Invalid("Settings cannot be empty.")
	}
	if err := checkClusterSettings(in.Settings); err != nil {
		return nil, err
	}
	view, err := a.changeCluster(ctx, in.Cluster, func(_ *store.Tx, _ *task.Cluster, sent *sdk.CreateClusterInput) error {
		sent.Settings = in.Settings
		return nil
	})
	return &sdk.UpdateClusterSettingsOutput{Cluster: view}, err
}

// checkCluster applies CreateCluster's rules that need no more than the request.
func checkCluster(in *sdk.CreateClusterInput) error {
	if name := aws.ToString(in.ClusterName); name != "" && !identifier.ValidName(name) {
		return ecserr.Invalid("Invalid cluster name %q: up to 255 letters, digits, hyphens and underscores are allowed", name)
	}
	return ecserr.First(checkClusterSettings(in.Settings), checkServiceConnectDefaults(in.ServiceConnectDefaults), checkClusterConfiguration(in.Configuration))
}

func checkClusterSettings(settings []types.ClusterSetting) error {
	for _, s := range settings {
		if err := ecserr.OneOf("setting name", s.Name, s.Name.Values()); err != nil {
			return err
		}
		if v := aws.ToString(s.Value); !slices.Contains([]string{"enabled", "disabled", "enhanced"}, v) {
			return ecserr.Invalid("containerInsights should be one of [enabled,disabled,enhanced]; it is %q", v)
		}
	}
	return nil
}

// checkServiceConnectDefaults takes an empty namespace, which clears the default.
func checkServiceConnectDefaults(d *types.ClusterServiceConnectDefaultsRequest) error {
	if d != nil && aws.ToString(d.Namespace) != "" {
		return ecserr.Unsupported("Service Connect is not supported by this server; use service discovery (serviceRegistries).")
	}
	return nil
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
		return ecserr.Invalid("You must set logging to 'OVERRIDE' when you supply a log configuration")
	case override && (logs == nil || aws.ToString(logs.CloudWatchLogGroupName) == "" && aws.ToString(logs.S3BucketName) == ""):
		return ecserr.Invalid("A CloudWatch log group name or S3 bucket name must be specified when overriding the logging configuration")
	}
	return ecserr.OneOf("logging", e.Logging, e.Logging.Values())
}

func (a *api) describeClusters(ctx context.Context, in *sdk.DescribeClustersInput) (*sdk.DescribeClustersOutput, error) {
	sc, r := awsapi.ScopeFrom(ctx), a.db.Snapshot()
	names := in.Clusters
	if len(names) == 0 {
		names = []string{task.DefaultCluster}
	}
	if len(names) > 100 {
		return nil, ecserr.Invalid("At most 100 clusters can be described at once")
	}
	for _, f := range in.Include {
		if err := ecserr.OneOf("include", f, f.Values()); err != nil {
			return nil, err
		}
	}
	out := &sdk.DescribeClustersOutput{Clusters: []types.Cluster{}, Failures: []types.Failure{}}
	for _, s := range names {
		id, err := identifier.Parse(sc, "cluster", s)
		if err != nil {
			return nil, err
		}
		c, ok := task.FindCluster(r, sc, id.Name)
		if !ok {
			out.Failures = append(out.Failures, missing(id, (&task.Cluster{Account: sc.Account, Region: sc.Region, Name: s}).ARN()))
			continue
		}
		view, err := viewOfCluster(r, c, in.Include...)
		if err != nil {
			return nil, err
		}
		out.Clusters = append(out.Clusters, *view)
	}
	return out, nil
}

// viewOfCluster renders a cluster with the number of its container instances.
func viewOfCluster(r store.Reader, c *task.Cluster, include ...types.ClusterField) (*types.Cluster, error) {
	return render.Cluster(r, c, len(activeInstances(r, c.Scope(), c.Name)), include...)
}

// missing is the failure for something that is not there, by the ARN that was given or would be its.
func missing(id identifier.ID, arn string) types.Failure {
	if id.ARN != "" {
		arn = id.ARN
	}
	return types.Failure{Arn: &arn, Reason: aws.String("MISSING")}
}

func (a *api) listClusters(ctx context.Context, in *sdk.ListClustersInput) (*sdk.ListClustersOutput, error) {
	page, err := newList("ListClusters", in.MaxResults, in.NextToken, 100, 100)
	if err != nil {
		return nil, err
	}
	task.ScanClusters(a.db.Snapshot(), awsapi.ScopeFrom(ctx), page.after, func(c *task.Cluster) bool {
		return c.Status == task.Inactive || page.Add(c.Name, c.ARN())
	})
	return &sdk.ListClustersOutput{ClusterArns: page.Items, NextToken: page.next()}, nil
}

func (a *api) deleteCluster(ctx context.Context, in *sdk.DeleteClusterInput) (*sdk.DeleteClusterOutput, error) {
	sc := awsapi.ScopeFrom(ctx)
	if aws.ToString(in.Cluster) == "" {
		return nil, ecserr.Invalid("Cluster can not be blank.")
	}
	name, err := identifier.ClusterName(sc, in.Cluster)
	if err != nil {
		return nil, err
	}
	c, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*task.Cluster, error) { return task.DeleteCluster(tx, sc, name) })
	if err != nil {
		return nil, err
	}
	view, err := viewOfCluster(a.db.Snapshot(), c)
	return &sdk.DeleteClusterOutput{Cluster: view}, err
}

// activeCluster is the cluster that a reading call works in.
func activeCluster(r store.Reader, sc arn.Scope, s *string) (string, error) {
	name, err := identifier.ClusterName(sc, s)
	if err != nil {
		return "", err
	}
	_, err = task.GetCluster(r, sc, name)
	return name, err
}
