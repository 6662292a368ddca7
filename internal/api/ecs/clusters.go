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
	scope := awsapi.ScopeFrom(ctx)
	row := task.Cluster{Account: scope.Account, Region: scope.Region, Name: aws.ToString(in.ClusterName), Tags: tags}
	if row.Name == "" {
		row.Name = task.DefaultCluster
	}
	request := *in
	// The row has these members, which later calls change.
	request.Tags, request.CapacityProviders, request.DefaultCapacityProviderStrategy = nil, nil, nil
	now := a.now()
	cluster, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*task.Cluster, error) {
		row, request := row, request
		providers, err := capacityProviderNames(tx, scope, in.CapacityProviders)
		if err == nil {
			err = servicespec.CheckStrategy(in.DefaultCapacityProviderStrategy, providers)
		}
		if err != nil {
			return nil, err
		}
		row.Providers, row.Associated = providers, len(providers) > 0
		row.Strategy = servicespec.StrategyRow(in.DefaultCapacityProviderStrategy)
		if len(request.Settings) == 0 {
			insights, _ := settingNamed(types.SettingNameContainerInsights)
			value := effectiveValue(tx, scope, insights, identifier.RootARN(scope))
			request.Settings = []types.ClusterSetting{
				{Name: types.ClusterSettingNameContainerInsights, Value: &value},
			}
		}
		row.Sent = codec.Encode(&request)
		return task.CreateCluster(tx, row, now), nil
	})
	if err != nil {
		return nil, err
	}
	view, err := renderCluster(a.db.Snapshot(), cluster, changedClusterFields...)
	return &sdk.CreateClusterOutput{Cluster: view}, err
}

// changedClusterFields are the fields in the answers to calls that change a cluster.
var changedClusterFields = []types.ClusterField{
	types.ClusterFieldConfigurations, types.ClusterFieldSettings, types.ClusterFieldTags,
}

// changeCluster changes the row of an active cluster and the stored request.
func (a *api) changeCluster(
	ctx context.Context, name *string, change func(*store.Tx, *task.Cluster, *sdk.CreateClusterInput) error,
) (*types.Cluster, error) {
	if aws.ToString(name) == "" {
		return nil, ecserr.Invalid("Cluster can not be blank.")
	}
	ref, err := identifier.ParseCluster(awsapi.ScopeFrom(ctx), name)
	if err != nil {
		return nil, err
	}
	now := a.now()
	cluster, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*task.Cluster, error) {
		stored, err := task.UseCluster(tx, ref.Scope, ref.Name, now)
		if err != nil {
			return nil, err
		}
		request, err := codec.Decode[sdk.CreateClusterInput]("cluster "+ref.Name, stored.Sent)
		if err != nil {
			return nil, err
		}
		changed := *stored
		if err := change(tx, &changed, request); err != nil {
			return nil, err
		}
		changed.Sent = codec.Encode(request)
		task.PutCluster(tx, changed)
		return &changed, nil
	})
	if err != nil {
		return nil, err
	}
	return renderCluster(a.db.Snapshot(), cluster, changedClusterFields...)
}

// updateCluster replaces the members that the request has, and keeps the others.
func (a *api) updateCluster(ctx context.Context, in *sdk.UpdateClusterInput) (*sdk.UpdateClusterOutput, error) {
	if err := ecserr.First(
		checkClusterSettings(in.Settings),
		checkServiceConnectDefaults(in.ServiceConnectDefaults),
		checkClusterConfiguration(in.Configuration),
	); err != nil {
		return nil, err
	}
	view, err := a.changeCluster(ctx, in.Cluster,
		func(_ *store.Tx, _ *task.Cluster, stored *sdk.CreateClusterInput) error {
			overlay.List(&stored.Settings, in.Settings)
			overlay.Value(&stored.Configuration, in.Configuration)
			return nil
		})
	return &sdk.UpdateClusterOutput{Cluster: view}, err
}

func (a *api) updateClusterSettings(ctx context.Context, in *sdk.UpdateClusterSettingsInput) (
	*sdk.UpdateClusterSettingsOutput, error,
) {
	if len(in.Settings) == 0 {
		return nil, ecserr.Invalid("Settings cannot be empty.")
	}
	if err := checkClusterSettings(in.Settings); err != nil {
		return nil, err
	}
	view, err := a.changeCluster(ctx, in.Cluster,
		func(_ *store.Tx, _ *task.Cluster, stored *sdk.CreateClusterInput) error {
			stored.Settings = in.Settings
			return nil
		})
	return &sdk.UpdateClusterSettingsOutput{Cluster: view}, err
}

// checkCluster applies the rules of CreateCluster that depend on nothing but the request.
func checkCluster(in *sdk.CreateClusterInput) error {
	if name := aws.ToString(in.ClusterName); name != "" && !identifier.ValidName(name) {
		return ecserr.Invalid("Invalid cluster name %q: up to 255 letters, digits, hyphens and underscores are allowed", name)
	}
	return ecserr.First(
		checkClusterSettings(in.Settings),
		checkServiceConnectDefaults(in.ServiceConnectDefaults),
		checkClusterConfiguration(in.Configuration),
	)
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

// checkServiceConnectDefaults accepts an empty namespace, with which clients clear the default.
func checkServiceConnectDefaults(d *types.ClusterServiceConnectDefaultsRequest) error {
	if d != nil && aws.ToString(d.Namespace) != "" {
		return ecserr.Unsupported("Service Connect is not supported by this server; " +
			"use service discovery (serviceRegistries).")
	}
	return nil
}

// checkClusterConfiguration applies the rules of the logs of execute-command sessions.
func checkClusterConfiguration(c *types.ClusterConfiguration) error {
	if c == nil || c.ExecuteCommandConfiguration == nil {
		return nil
	}
	execute := c.ExecuteCommandConfiguration
	overrides, logs := execute.Logging == types.ExecuteCommandLoggingOverride, execute.LogConfiguration
	hasTarget := logs != nil &&
		(aws.ToString(logs.CloudWatchLogGroupName) != "" || aws.ToString(logs.S3BucketName) != "")
	switch {
	case logs != nil && !overrides:
		return ecserr.Invalid("You must set logging to 'OVERRIDE' when you supply a log configuration")
	case overrides && !hasTarget:
		return ecserr.Invalid("A CloudWatch log group name or S3 bucket name must be specified " +
			"when overriding the logging configuration")
	}
	return ecserr.OneOf("logging", execute.Logging, execute.Logging.Values())
}

func (a *api) describeClusters(ctx context.Context, in *sdk.DescribeClustersInput) (
	*sdk.DescribeClustersOutput, error,
) {
	scope, r := awsapi.ScopeFrom(ctx), a.db.Snapshot()
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
		id, err := identifier.Parse(scope, identifier.Cluster, s)
		if err != nil {
			return nil, err
		}
		cluster, ok := task.FindCluster(r, scope, id.Name)
		if !ok {
			out.Failures = append(out.Failures, missing(id, task.ClusterRef{Scope: scope, Name: s}.ARN()))
			continue
		}
		view, err := renderCluster(r, cluster, in.Include...)
		if err != nil {
			return nil, err
		}
		out.Clusters = append(out.Clusters, *view)
	}
	return out, nil
}

// renderCluster returns a cluster with the fields that include names.
func renderCluster(r store.Reader, cluster *task.Cluster, include ...types.ClusterField) (*types.Cluster, error) {
	return render.Cluster(r, cluster, len(activeInstances(r, cluster.Ref())), include...)
}

// activeCluster returns the cluster that a read works in. The cluster must be active.
func activeCluster(r store.Reader, scope arn.Scope, s *string) (task.ClusterRef, error) {
	ref, err := identifier.ParseCluster(scope, s)
	if err != nil {
		return ref, err
	}
	_, err = task.GetCluster(r, ref.Scope, ref.Name)
	return ref, err
}

// missing returns the failure for a resource that does not exist: with the ARN that the client sent, or with the
// resource's ARN if the client sent a short name.
func missing(id identifier.ID, arn string) types.Failure {
	if id.ARN != "" {
		arn = id.ARN
	}
	return types.Failure{Arn: &arn, Reason: aws.String("MISSING")}
}

func (a *api) listClusters(ctx context.Context, in *sdk.ListClustersInput) (*sdk.ListClustersOutput, error) {
	page, err := newPage("ListClusters", in.MaxResults, in.NextToken, 100, 100)
	if err != nil {
		return nil, err
	}
	task.ScanClusters(a.db.Snapshot(), awsapi.ScopeFrom(ctx), page.after, func(c *task.Cluster) bool {
		return c.Status == task.Inactive || page.Add(c.Name, c.ARN())
	})
	return &sdk.ListClustersOutput{ClusterArns: page.Items, NextToken: page.next()}, nil
}

func (a *api) deleteCluster(ctx context.Context, in *sdk.DeleteClusterInput) (*sdk.DeleteClusterOutput, error) {
	if aws.ToString(in.Cluster) == "" {
		return nil, ecserr.Invalid("Cluster can not be blank.")
	}
	ref, err := identifier.ParseCluster(awsapi.ScopeFrom(ctx), in.Cluster)
	if err != nil {
		return nil, err
	}
	cluster, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*task.Cluster, error) {
		return task.DeleteCluster(tx, ref.Scope, ref.Name)
	})
	if err != nil {
		return nil, err
	}
	view, err := renderCluster(a.db.Snapshot(), cluster)
	return &sdk.DeleteClusterOutput{Cluster: view}, err
}
