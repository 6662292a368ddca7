package ecs

import (
	"context"
	"maps"
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

// predefinedProviders exist in every account and cannot be changed.
var predefinedProviders = []string{task.FargateProvider, task.FargateSpotProvider}

// capacityProviderNames returns the names of the capacity providers that a request names by their names or ARNs. All of
// them must exist.
func capacityProviderNames(r store.Reader, scope arn.Scope, requested []string) ([]string, error) {
	names := []string{}
	for _, s := range requested {
		id, err := identifier.Parse(scope, identifier.CapacityProvider, s)
		if err != nil {
			return nil, err
		}
		if _, ok := task.FindProvider(r, scope, id.Name); !ok && !slices.Contains(predefinedProviders, id.Name) {
			return nil, providerNotFound(s)
		}
		if !slices.Contains(names, id.Name) {
			names = append(names, id.Name)
		}
	}
	return names, nil
}

func providerNotFound(s string) error {
	return ecserr.Invalid("The specified capacity provider %s was not found. "+
		"Specify a valid name or ARN and try again.", s)
}

// putClusterCapacityProviders replaces the capacity providers of a cluster, and the strategy of tasks that name neither
// a capacity provider nor a launch type.
func (a *api) putClusterCapacityProviders(ctx context.Context, in *sdk.PutClusterCapacityProvidersInput) (
	*sdk.PutClusterCapacityProvidersOutput, error,
) {
	view, err := a.changeCluster(ctx, in.Cluster,
		func(tx *store.Tx, cluster *task.Cluster, _ *sdk.CreateClusterInput) error {
			names, err := capacityProviderNames(tx, cluster.Scope(), in.CapacityProviders)
			if err == nil {
				err = servicespec.CheckStrategy(in.DefaultCapacityProviderStrategy, names)
			}
			if err != nil {
				return err
			}
			cluster.Strategy = servicespec.StrategyRow(in.DefaultCapacityProviderStrategy)
			cluster.Associated = true
			return task.SetClusterProviders(tx, cluster, names)
		})
	return &sdk.PutClusterCapacityProvidersOutput{Cluster: view}, err
}

func (a *api) createCapacityProvider(ctx context.Context, in *sdk.CreateCapacityProviderInput) (
	*sdk.CreateCapacityProviderOutput, error,
) {
	tags, err := tagsOf(in.Tags)
	if err != nil {
		return nil, err
	}
	name, scope := aws.ToString(in.Name), awsapi.ScopeFrom(ctx)
	group := in.AutoScalingGroupProvider
	switch {
	case !identifier.ValidName(name) || task.ReservedProvider(name):
		return nil, ecserr.Invalid("The specified capacity provider name is invalid. " +
			"Up to 255 characters are allowed, including letters (upper and lowercase), numbers, underscores, " +
			`and hyphens. The name cannot be prefixed with "aws", "ecs", or "fargate". ` +
			"Specify a valid name and try again.")
	case in.ManagedInstancesProvider != nil:
		return nil, managedInstancesUnsupported()
	case group == nil || aws.ToString(group.AutoScalingGroupArn) == "":
		return nil, ecserr.Invalid("The autoScalingGroupProvider of a capacity provider must have an autoScalingGroupArn.")
	}
	request := *in
	request.Tags = nil // TagResource changes the tags of the row
	fillProviderDefaults(group)
	if err := checkProvider(group); err != nil {
		return nil, err
	}
	row := task.CapacityProvider{
		Account: scope.Account, Region: scope.Region, Name: name, Sent: codec.Encode(&request), Tags: tags,
		Created: a.now(),
	}
	provider, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*task.CapacityProvider, error) {
		if _, ok := task.FindProvider(tx, scope, name); ok {
			return nil, ecserr.Invalid("The specified capacity provider %s already exists. "+
				"Use UpdateCapacityProvider to change it.", name)
		}
		task.PutProvider(tx, row)
		return &row, nil
	})
	if err != nil {
		return nil, err
	}
	view, err := render.CapacityProvider(provider, true)
	return &sdk.CreateCapacityProviderOutput{CapacityProvider: view}, err
}

func managedInstancesUnsupported() error {
	return ecserr.Unsupported("Managed instances are not supported by this server; use autoScalingGroupProvider.")
}

// fillProviderDefaults sets the absent members to the defaults that AWS returns when it describes a capacity provider.
func fillProviderDefaults(p *types.AutoScalingGroupProvider) {
	if p.ManagedScaling == nil {
		p.ManagedScaling = &types.ManagedScaling{Status: types.ManagedScalingStatusDisabled}
	}
	for _, member := range []struct {
		value    **int32
		absentAs int32
	}{
		{&p.ManagedScaling.TargetCapacity, 100},
		{&p.ManagedScaling.MinimumScalingStepSize, 1},
		{&p.ManagedScaling.MaximumScalingStepSize, 10000},
		{&p.ManagedScaling.InstanceWarmupPeriod, 300},
	} {
		if *member.value == nil {
			*member.value = aws.Int32(member.absentAs)
		}
	}
	if p.ManagedScaling.Status == "" {
		p.ManagedScaling.Status = types.ManagedScalingStatusDisabled
	}
	if p.ManagedTerminationProtection == "" {
		p.ManagedTerminationProtection = types.ManagedTerminationProtectionDisabled
	}
	if p.ManagedDraining == "" {
		p.ManagedDraining = types.ManagedDrainingEnabled
	}
}

func checkProvider(p *types.AutoScalingGroupProvider) error {
	for _, member := range []struct {
		name     string
		value    *int32
		min, max int32
	}{
		{"targetCapacity", p.ManagedScaling.TargetCapacity, 1, 100},
		{"minimumScalingStepSize", p.ManagedScaling.MinimumScalingStepSize, 1, 10000},
		{"maximumScalingStepSize", p.ManagedScaling.MaximumScalingStepSize, 1, 10000},
		{"instanceWarmupPeriod", p.ManagedScaling.InstanceWarmupPeriod, 0, 10000},
	} {
		if *member.value < member.min || *member.value > member.max {
			return ecserr.Invalid("%s must be between %d and %d", member.name, member.min, member.max)
		}
	}
	protection := p.ManagedTerminationProtection
	return ecserr.First(
		ecserr.OneOf("managedScaling status", p.ManagedScaling.Status, p.ManagedScaling.Status.Values()),
		ecserr.OneOf("managedTerminationProtection", protection, protection.Values()),
		ecserr.OneOf("managedDraining", p.ManagedDraining, p.ManagedDraining.Values()),
	)
}

// changeableProvider returns a capacity provider that is not predefined.
func changeableProvider(r store.Reader, scope arn.Scope, s *string) (*task.CapacityProvider, error) {
	id, err := identifier.Parse(scope, identifier.CapacityProvider, aws.ToString(s))
	if err != nil {
		return nil, err
	}
	if slices.Contains(predefinedProviders, id.Name) {
		return nil, ecserr.Invalid("The capacity provider %s is predefined and cannot be changed.", id.Name)
	}
	provider, ok := task.FindProvider(r, scope, id.Name)
	if !ok {
		return nil, providerNotFound(aws.ToString(s))
	}
	return provider, nil
}

func (a *api) updateCapacityProvider(ctx context.Context, in *sdk.UpdateCapacityProviderInput) (
	*sdk.UpdateCapacityProviderOutput, error,
) {
	scope := awsapi.ScopeFrom(ctx)
	if in.ManagedInstancesProvider != nil {
		return nil, managedInstancesUnsupported()
	}
	provider, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*task.CapacityProvider, error) {
		stored, err := changeableProvider(tx, scope, in.Name)
		if err != nil {
			return nil, err
		}
		request, err := codec.Decode[sdk.CreateCapacityProviderInput]("capacity provider "+stored.Name, stored.Sent)
		if err != nil {
			return nil, err
		}
		overlayProvider(request.AutoScalingGroupProvider, in.AutoScalingGroupProvider)
		if err := checkProvider(request.AutoScalingGroupProvider); err != nil {
			return nil, err
		}
		changed := *stored
		changed.UpdateStatus = string(types.CapacityProviderUpdateStatusUpdateComplete)
		changed.Sent = codec.Encode(request)
		task.PutProvider(tx, changed)
		return &changed, nil
	})
	if err != nil {
		return nil, err
	}
	view, err := render.CapacityProvider(provider, true)
	return &sdk.UpdateCapacityProviderOutput{CapacityProvider: view}, err
}

// overlayProvider replaces the stored members by those of an update, which may be nil.
func overlayProvider(stored *types.AutoScalingGroupProvider, update *types.AutoScalingGroupProviderUpdate) {
	if update == nil {
		return
	}
	overlay.Enum(&stored.ManagedDraining, update.ManagedDraining)
	overlay.Enum(&stored.ManagedTerminationProtection, update.ManagedTerminationProtection)
	if scaling := update.ManagedScaling; scaling != nil {
		overlay.Enum(&stored.ManagedScaling.Status, scaling.Status)
		overlay.Value(&stored.ManagedScaling.TargetCapacity, scaling.TargetCapacity)
		overlay.Value(&stored.ManagedScaling.MinimumScalingStepSize, scaling.MinimumScalingStepSize)
		overlay.Value(&stored.ManagedScaling.MaximumScalingStepSize, scaling.MaximumScalingStepSize)
		overlay.Value(&stored.ManagedScaling.InstanceWarmupPeriod, scaling.InstanceWarmupPeriod)
	}
}

// deleteCapacityProvider deletes a capacity provider immediately. Only its answer shows the deleted provider.
func (a *api) deleteCapacityProvider(ctx context.Context, in *sdk.DeleteCapacityProviderInput) (
	*sdk.DeleteCapacityProviderOutput, error,
) {
	scope := awsapi.ScopeFrom(ctx)
	provider, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*task.CapacityProvider, error) {
		stored, err := changeableProvider(tx, scope, in.CapacityProvider)
		if err != nil {
			return nil, err
		}
		return stored, task.DeleteProvider(tx, scope, stored.Name)
	})
	if err != nil {
		return nil, err
	}
	view, err := render.CapacityProvider(provider, true)
	if err != nil {
		return nil, err
	}
	view.Status = types.CapacityProviderStatusInactive
	view.UpdateStatus = types.CapacityProviderUpdateStatusDeleteComplete
	return &sdk.DeleteCapacityProviderOutput{CapacityProvider: view}, nil
}

// describeCapacityProviders describes the capacity providers that the request names, or one page of all, including the
// predefined ones. If the request names a cluster, it describes only those of the cluster.
func (a *api) describeCapacityProviders(ctx context.Context, in *sdk.DescribeCapacityProvidersInput) (
	*sdk.DescribeCapacityProvidersOutput, error,
) {
	scope, r := awsapi.ScopeFrom(ctx), a.db.Snapshot()
	page, err := newPage("DescribeCapacityProviders", in.MaxResults, in.NextToken, 10, 10)
	if err != nil {
		return nil, err
	}
	if len(in.CapacityProviders) > 100 {
		return nil, ecserr.Invalid("At most 100 capacity providers can be described at once")
	}
	providers, err := capacityProviders(r, scope, in.Cluster)
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeCapacityProvidersOutput{Failures: []types.Failure{}}
	var found []*task.CapacityProvider
	if len(in.CapacityProviders) > 0 {
		found, out.Failures, err = pickProviders(scope, providers, in.CapacityProviders)
		if err != nil {
			return nil, err
		}
	} else {
		for _, name := range slices.Sorted(maps.Keys(providers)) {
			if name <= page.after {
				continue
			}
			if !page.Add(name, name) {
				break
			}
			found = append(found, providers[name])
		}
		out.NextToken = page.next()
	}
	out.CapacityProviders, err = renderProviders(found, slices.Contains(in.Include, types.CapacityProviderFieldTags))
	return out, err
}

// capacityProviders returns all capacity providers by their names, or those of a cluster if the request names one.
func capacityProviders(r store.Reader, scope arn.Scope, cluster *string) (map[string]*task.CapacityProvider, error) {
	providers := map[string]*task.CapacityProvider{}
	for _, name := range predefinedProviders {
		providers[name] = &task.CapacityProvider{Account: scope.Account, Region: scope.Region, Name: name}
	}
	task.ScanProviders(r, scope, "", func(p *task.CapacityProvider) bool {
		providers[p.Name] = p
		return true
	})
	if cluster == nil {
		return providers, nil
	}
	ref, err := activeCluster(r, scope, cluster)
	if err != nil {
		return nil, err
	}
	row, _ := task.FindCluster(r, ref.Scope, ref.Name)
	maps.DeleteFunc(providers, func(name string, _ *task.CapacityProvider) bool {
		return !slices.Contains(row.Providers, name)
	})
	return providers, nil
}

// pickProviders returns the capacity providers with these names or ARNs, and a failure for each that does not exist.
func pickProviders(scope arn.Scope, providers map[string]*task.CapacityProvider, requested []string) (
	found []*task.CapacityProvider, failures []types.Failure, err error,
) {
	failures = []types.Failure{}
	for _, s := range requested {
		id, err := identifier.Parse(scope, identifier.CapacityProvider, s)
		if err != nil {
			return nil, nil, err
		}
		provider, ok := providers[id.Name]
		if !ok {
			failures = append(failures, missing(id, task.ProviderARN(scope, s)))
			continue
		}
		found = append(found, provider)
	}
	return found, failures, nil
}

func renderProviders(providers []*task.CapacityProvider, withTags bool) ([]types.CapacityProvider, error) {
	views := []types.CapacityProvider{}
	for _, p := range providers {
		view, err := render.CapacityProvider(p, withTags)
		if err != nil {
			return nil, err
		}
		views = append(views, *view)
	}
	return views, nil
}
