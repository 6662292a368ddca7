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

// predefined are the capacity providers that are there without being made, and cannot be changed.
var predefined = []string{task.FargateProvider, task.FargateSpotProvider}

// associated reads the capacity providers that a cluster is to have: names or ARNs of ones that there are.
func associated(r store.Reader, sc arn.Scope, given []string) ([]string, error) {
	names := []string{}
	for _, s := range given {
		id, err := identifier.Parse(sc, "capacity-provider", s)
		if err != nil {
			return nil, err
		}
		if _, ok := task.FindProvider(r, sc, id.Name); !ok && !slices.Contains(predefined, id.Name) {
			return nil, noProvider(s)
		}
		if !slices.Contains(names, id.Name) {
			names = append(names, id.Name)
		}
	}
	return names, nil
}

func noProvider(s string) error {
	return ecserr.Invalid("The specified capacity provider %s was not found. Specify a valid name or ARN and try again.", s)
}

// putClusterCapacityProviders replaces both what a cluster's tasks may name and what those get that name
// nothing.
func (a *api) putClusterCapacityProviders(ctx context.Context, in *sdk.PutClusterCapacityProvidersInput) (*sdk.PutClusterCapacityProvidersOutput, error) {
	view, err := a.changeCluster(ctx, in.Cluster, func(tx *store.Tx, c *task.Cluster, _ *sdk.CreateClusterInput) error {
		names, err := associated(tx, c.Scope(), in.CapacityProviders)
		if err == nil {
			err = servicespec.CheckStrategy(in.DefaultCapacityProviderStrategy, names)
		}
		if err != nil {
			return err
		}
		c.Strategy, c.Associated = servicespec.StrategyRow(in.DefaultCapacityProviderStrategy), true
		return task.SetProviders(tx, c, names)
	})
	return &sdk.PutClusterCapacityProvidersOutput{Cluster: view}, err
}

func (a *api) createCapacityProvider(ctx context.Context, in *sdk.CreateCapacityProviderInput) (*sdk.CreateCapacityProviderOutput, error) {
	tags, err := tagsOf(in.Tags)
	if err != nil {
		return nil, err
	}
	name, sc := aws.ToString(in.Name), awsapi.ScopeFrom(ctx)
	switch {
	case !identifier.ValidName(name) || task.ReservedProvider(name):
		return nil, ecserr.Invalid(`The specified capacity provider name is invalid. Up to 255 characters are allowed, including letters (upper and lowercase), numbers, underscores, and hyphens. The name cannot be prefixed with "aws", "ecs", or "fargate". Specify a valid name and try again.`)
	case in.ManagedInstancesProvider != nil:
		return nil, ecserr.Unsupported("Managed instances are not supported by this server; use autoScalingGroupProvider.")
	case in.AutoScalingGroupProvider == nil || aws.ToString(in.AutoScalingGroupProvider.AutoScalingGroupArn) == "":
		return nil, ecserr.Invalid("The autoScalingGroupProvider of a capacity provider must have an autoScalingGroupArn.")
	}
	sent := *in
	sent.Tags = nil // the row has them, and they change
	fillProvider(sent.AutoScalingGroupProvider)
	if err := checkProvider(sent.AutoScalingGroupProvider); err != nil {
		return nil, err
	}
	now := a.now()
	p, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*task.CapacityProvider, error) {
		if _, ok := task.FindProvider(tx, sc, name); ok {
			return nil, ecserr.Invalid("The specified capacity provider %s already exists. Use UpdateCapacityProvider to change it.", name)
		}
		p := task.CapacityProvider{Account: sc.Account, Region: sc.Region, Name: name, Sent: codec.Encode(&sent), Created: now, Tags: tags}
		task.PutProvider(tx, p)
		return &p, nil
	})
	if err != nil {
		return nil, err
	}
	view, err := render.CapacityProvider(p, true)
	return &sdk.CreateCapacityProviderOutput{CapacityProvider: view}, err
}

// fillProvider makes explicit what AWS shows when it reads a capacity provider back.
func fillProvider(p *types.AutoScalingGroupProvider) {
	if p.ManagedScaling == nil {
		p.ManagedScaling = &types.ManagedScaling{Status: types.ManagedScalingStatusDisabled}
	}
	for _, d := range []struct {
		value     **int32
		otherwise int32
	}{
		{&p.ManagedScaling.TargetCapacity, 100}, {&p.ManagedScaling.MinimumScalingStepSize, 1},
		{&p.ManagedScaling.MaximumScalingStepSize, 10000}, {&p.ManagedScaling.InstanceWarmupPeriod, 300},
	} {
		if *d.value == nil {
			*d.value = aws.Int32(d.otherwise)
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
	for _, bound := range []struct {
		name     string
		value    *int32
		min, max int32
	}{
		{"targetCapacity", p.ManagedScaling.TargetCapacity, 1, 100},
		{"minimumScalingStepSize", p.ManagedScaling.MinimumScalingStepSize, 1, 10000},
		{"maximumScalingStepSize", p.ManagedScaling.MaximumScalingStepSize, 1, 10000},
		{"instanceWarmupPeriod", p.ManagedScaling.InstanceWarmupPeriod, 0, 10000},
	} {
		if *bound.value < bound.min || *bound.value > bound.max {
			return ecserr.Invalid("%s must be between %d and %d", bound.name, bound.min, bound.max)
		}
	}
	return ecserr.First(
		ecserr.OneOf("managedScaling status", p.ManagedScaling.Status, p.ManagedScaling.Status.Values()),
		ecserr.OneOf("managedTerminationProtection", p.ManagedTerminationProtection, p.ManagedTerminationProtection.Values()),
		ecserr.OneOf("managedDraining", p.ManagedDraining, p.ManagedDraining.Values()),
	)
}

// ownProvider finds a capacity provider that a client has made and may change.
func ownProvider(r store.Reader, sc arn.Scope, s *string) (*task.CapacityProvider, error) {
	id, err := identifier.Parse(sc, "capacity-provider", aws.ToString(s))
	if err != nil {
		return nil, err
	}
	if slices.Contains(predefined, id.Name) {
		return nil, ecserr.Invalid("The capacity provider %s is predefined and cannot be changed.", id.Name)
	}
	p, ok := task.FindProvider(r, sc, id.Name)
	if !ok {
		return nil, noProvider(aws.ToString(s))
	}
	return p, nil
}

func (a *api) updateCapacityProvider(ctx context.Context, in *sdk.UpdateCapacityProviderInput) (*sdk.UpdateCapacityProviderOutput, error) {
	sc := awsapi.ScopeFrom(ctx)
	if in.ManagedInstancesProvider != nil {
		return nil, ecserr.Unsupported("Managed instances are not supported by this server; use autoScalingGroupProvider.")
	}
	p, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*task.CapacityProvider, error) {
		old, err := ownProvider(tx, sc, in.Name)
		if err != nil {
			return nil, err
		}
		sent, err := codec.Decode[sdk.CreateCapacityProviderInput]("capacity provider "+old.Name, old.Sent)
		if err != nil {
			return nil, err
		}
		if g := in.AutoScalingGroupProvider; g != nil {
			to := sent.AutoScalingGroupProvider
			if g.ManagedDraining != "" {
				to.ManagedDraining = g.ManagedDraining
			}
			if g.ManagedTerminationProtection != "" {
				to.ManagedTerminationProtection = g.ManagedTerminationProtection
			}
			if g.ManagedScaling != nil {
				if g.ManagedScaling.Status != "" {
					to.ManagedScaling.Status = g.ManagedScaling.Status
				}
				overlay.Value(&to.ManagedScaling.TargetCapacity, g.ManagedScaling.TargetCapacity)
				overlay.Value(&to.ManagedScaling.MinimumScalingStepSize, g.ManagedScaling.MinimumScalingStepSize)
				overlay.Value(&to.ManagedScaling.MaximumScalingStepSize, g.ManagedScaling.MaximumScalingStepSize)
				overlay.Value(&to.ManagedScaling.InstanceWarmupPeriod, g.ManagedScaling.InstanceWarmupPeriod)
			}
		}
		if err := checkProvider(sent.AutoScalingGroupProvider); err != nil {
			return nil, err
		}
		p := *old
		p.UpdateStatus, p.Sent = string(types.CapacityProviderUpdateStatusUpdateComplete), codec.Encode(sent)
		task.PutProvider(tx, p)
		return &p, nil
	})
	if err != nil {
		return nil, err
	}
	view, err := render.CapacityProvider(p, true)
	return &sdk.UpdateCapacityProviderOutput{CapacityProvider: view}, err
}

// deleteCapacityProvider forgets a capacity provider at once; only the answer still shows it.
func (a *api) deleteCapacityProvider(ctx context.Context, in *sdk.DeleteCapacityProviderInput) (*sdk.DeleteCapacityProviderOutput, error) {
	sc := awsapi.ScopeFrom(ctx)
	p, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*task.CapacityProvider, error) {
		p, err := ownProvider(tx, sc, in.CapacityProvider)
		if err != nil {
			return nil, err
		}
		return p, task.DeleteProvider(tx, sc, p.Name)
	})
	if err != nil {
		return nil, err
	}
	view, err := render.CapacityProvider(p, true)
	if err != nil {
		return nil, err
	}
	view.Status, view.UpdateStatus = types.CapacityProviderStatusInactive, types.CapacityProviderUpdateStatusDeleteComplete
	return &sdk.DeleteCapacityProviderOutput{CapacityProvider: view}, nil
}

// describeCapacityProviders shows those that are named, or else page by page all there are, predefined ones
// among them; of a cluster only those that it has.
func (a *api) describeCapacityProviders(ctx context.Context, in *sdk.DescribeCapacityProvidersInput) (*sdk.DescribeCapacityProvidersOutput, error) {
	sc, r := awsapi.ScopeFrom(ctx), a.db.Snapshot()
	page, err := newList("DescribeCapacityProviders", in.MaxResults, in.NextToken, 10, 10)
	if err != nil {
		return nil, err
	}
	if len(in.CapacityProviders) > 100 {
		return nil, ecserr.Invalid("At most 100 capacity providers can be described at once")
	}
	all := map[string]*task.CapacityProvider{}
	for _, name := range predefined {
		all[name] = &task.CapacityProvider{Account: sc.Account, Region: sc.Region, Name: name}
	}
	task.ScanProviders(r, sc, "", func(p *task.CapacityProvider) bool { all[p.Name] = p; return true })
	if in.Cluster != nil {
		name, err := activeCluster(r, sc, in.Cluster)
		if err != nil {
			return nil, err
		}
		cluster, _ := task.FindCluster(r, sc, name)
		for name := range all {
			if !slices.Contains(cluster.Providers, name) {
				delete(all, name)
			}
		}
	}
	out := &sdk.DescribeCapacityProvidersOutput{CapacityProviders: []types.CapacityProvider{}, Failures: []types.Failure{}}
	tags := slices.Contains(in.Include, types.CapacityProviderFieldTags)
	show := func(p *task.CapacityProvider) error {
		view, err := render.CapacityProvider(p, tags)
		if err == nil {
			out.CapacityProviders = append(out.CapacityProviders, *view)
		}
		return err
	}
	for _, s := range in.CapacityProviders {
		id, err := identifier.Parse(sc, "capacity-provider", s)
		if err != nil {
			return nil, err
		}
		p, ok := all[id.Name]
		if !ok {
			out.Failures = append(out.Failures, missing(id, task.ProviderARN(sc, s)))
			continue
		}
		if err := show(p); err != nil {
			return nil, err
		}
	}
	if len(in.CapacityProviders) > 0 {
		return out, nil
	}
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if name <= page.after {
			continue
		}
		if !page.Add(name, name) {
			break
		}
		if err := show(all[name]); err != nil {
			return nil, err
		}
	}
	out.NextToken = page.next()
	return out, nil
}
