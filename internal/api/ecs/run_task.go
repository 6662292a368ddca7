package ecs

import (
	"context"
	"math/rand/v2"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/api/ecs/codec"
	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
	"github.com/bakingclouds/rollcall/internal/api/ecs/identifier"
	"github.com/bakingclouds/rollcall/internal/api/ecs/render"
	"github.com/bakingclouds/rollcall/internal/api/ecs/servicespec"
	"github.com/bakingclouds/rollcall/internal/api/ecs/taskdef"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/placement"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// started is what became of a request to run tasks.
type started struct {
	tasks    []*task.Task
	failures []types.Failure
}

// runTask starts tasks that belong to no service. They run on whatever node placement finds.
func (a *api) runTask(ctx context.Context, in *sdk.RunTaskInput) (*sdk.RunTaskOutput, error) {
	sc, count, token := awsapi.ScopeFrom(ctx), 1, aws.ToString(in.ClientToken)
	if in.Count != nil {
		count = int(*in.Count)
	}
	if count < 1 || count > 10 {
		return nil, ecserr.Invalid("count must be between 1 and 10")
	}
	if len(token) > 64 {
		return nil, ecserr.Invalid("idempotency token longer than 64.")
	}
	s, err := readStandalone(sc, in)
	if err != nil {
		return nil, err
	}
	s.row.Created = a.now()
	request := *in
	request.Cluster = &s.cluster
	s.row.Request = codec.Digest(codec.Encode(&request))
	ids := newTaskIDs(count)
	for n := range ids {
		if token != "" {
			ids[n] = task.TokenID(s.row.ClusterRef(), token, n)
		}
	}
	result, err := placing(ctx, a, func(tx *store.Tx) (started, error) {
		if old, err := repeated(tx, s, token); len(old.tasks) > 0 || err != nil {
			return old, err
		}
		row, requirements, strategy, err := prepare(tx, s)
		if err != nil {
			return started{}, err
		}
		var result started
		inventory, have := placement.ReadInventory(tx.Snapshot()), map[string]int{}
		for _, id := range ids {
			host, rejections := placement.Pick(inventory.Hosts(task.ClusterRef{Scope: sc, Name: s.cluster}), requirements, rand.IntN)
			if host == nil && len(rejections) == 0 {
				return nowhere(row.LaunchType)
			}
			if host == nil {
				result.failures = failures(row.LaunchType, rejections)
				break
			}
			row.CapacityProvider = task.NextProvider(strategy, have)
			have[row.CapacityProvider]++
			row.ID = id
			result.tasks = append(result.tasks, place(tx, inventory, row, host, requirements))
		}
		return result, nil
	})
	if err != nil {
		return nil, err
	}
	views, err := a.startedViews(result.tasks)
	return &sdk.RunTaskOutput{Tasks: views, Failures: codec.OrEmpty(result.failures)}, err
}

// newTaskIDs returns n new task ids. They are made before the transaction, which can run more than once.
func newTaskIDs(n int) []task.ID {
	ids := make([]task.ID, n)
	for i := range ids {
		ids[i] = task.NewID()
	}
	return ids
}

// placing runs a transaction that places tasks.
func placing[R any](ctx context.Context, a *api, fn func(tx *store.Tx) (R, error)) (R, error) {
	return awsapi.UpdateSerialized(ctx, a.db, task.PlacementQueue, fn)
}

// place makes a task that runs on this host.
func place(tx *store.Tx, inventory *placement.Inventory, row task.Task, host *placement.Host, requirements placement.Requirements) *task.Task {
	inventory.Assign(tx, &row, host, requirements.Resources)
	return task.CreateTask(tx, row)
}

// failures are the reasons why none of the container instances takes the task. Who asks for Fargate is told of none.
func failures(launch string, rejections []placement.Rejection) []types.Failure {
	if launch == task.Fargate {
		return []types.Failure{{Reason: aws.String(noCapacity)}}
	}
	var fs []types.Failure
	for _, r := range rejections {
		fs = append(fs, types.Failure{Arn: aws.String(r.Host.Instance.ARN()), Reason: &r.Reasons[0]})
	}
	return fs
}

// noCapacity is Fargate's answer when there is no room.
const noCapacity = "Capacity is unavailable at this time. Please try again later or in a different availability zone"

// nowhere is the answer when there is no node: an error for a cluster without instances, a failure where
// AWS has the capacity.
func nowhere(launch string) (started, error) {
	if launch != task.Fargate {
		return started{}, ecserr.Invalid("No Container Instances were found in your cluster.")
	}
	return started{failures: failures(launch, nil)}, nil
}

// repeated finds the tasks that a request with this token has started already. Their ids follow from the
// token, so that two requests at once read and write the same rows and never both win.
func repeated(tx *store.Tx, s *standalone, token string) (started, error) {
	var old started
	if token == "" {
		return old, nil
	}
	var ids []string
	same := true
	for n := range 10 { // the most that the first request can have asked for
		t, err := task.GetTask(tx, task.Ref{Scope: s.row.Scope(), Cluster: s.cluster, ID: task.TokenID(s.row.ClusterRef(), token, n)})
		if err != nil {
			continue
		}
		old.tasks, ids = append(old.tasks, t), append(ids, t.ARN())
		same = same && t.Request == s.row.Request
	}
	if !same {
		return started{}, &types.ConflictException{
			Message: aws.String("The clientToken was used for another request."), ResourceIds: ids,
		}
	}
	return old, nil
}

// startTask starts one standalone task on each of the named container instances.
func (a *api) startTask(ctx context.Context, in *sdk.StartTaskInput) (*sdk.StartTaskOutput, error) {
	sc := awsapi.ScopeFrom(ctx)
	switch {
	case len(in.ContainerInstances) == 0:
		return nil, ecserr.Client("Container Instances cannot be empty.")
	case len(in.ContainerInstances) > 10:
		return nil, ecserr.Invalid("At most 10 container instances can be named at once")
	case len(aws.ToString(in.StartedBy)) > 36:
		return nil, ecserr.Invalid("startedBy may have up to 36 letters, digits, hyphens, underscores and slashes")
	}
	s, err := readStandalone(sc, &sdk.RunTaskInput{
		Cluster: in.Cluster, TaskDefinition: in.TaskDefinition, Group: in.Group, StartedBy: in.StartedBy, Tags: in.Tags,
		NetworkConfiguration: in.NetworkConfiguration, Overrides: in.Overrides, PropagateTags: in.PropagateTags,
		VolumeConfigurations: in.VolumeConfigurations, EnableECSManagedTags: in.EnableECSManagedTags,
		EnableExecuteCommand: in.EnableExecuteCommand, LaunchType: types.LaunchTypeEc2, // a named instance is on EC2
	})
	if err != nil {
		return nil, err
	}
	s.row.Created = a.now()
	ids := newTaskIDs(len(in.ContainerInstances))
	result, err := placing(ctx, a, func(tx *store.Tx) (started, error) {
		row, requirements, _, err := prepare(tx, s)
		if err != nil {
			return started{}, err
		}
		var result started
		inventory := placement.ReadInventory(tx.Snapshot())
		for n, instance := range in.ContainerInstances {
			id, err := identifier.ParseIn(sc, s.cluster, "container-instance", instance)
			if err != nil {
				return started{}, err
			}
			host, ok := inventory.Host(task.ClusterRef{Scope: sc, Name: s.cluster}, id.Name)
			if !ok {
				result.failures = append(result.failures, missingInstance(sc, s.cluster, id))
				continue
			}
			if reason := placement.RejectionReason(host, requirements.Resources); reason != "" {
				result.failures = append(result.failures, types.Failure{Arn: aws.String(host.Instance.ARN()), Reason: &reason})
				continue
			}
			row.ID = ids[n]
			result.tasks = append(result.tasks, place(tx, inventory, row, host, requirements))
		}
		return result, nil
	})
	if err != nil {
		return nil, err
	}
	views, err := a.startedViews(result.tasks)
	return &sdk.StartTaskOutput{Tasks: views, Failures: codec.OrEmpty(result.failures)}, err
}

func (a *api) startedViews(tasks []*task.Task) ([]types.Task, error) {
	views, out := render.NewTasks(a.db.Snapshot(), a.zone), []types.Task{}
	for _, t := range tasks {
		view, err := views.Task(t, true)
		if err != nil {
			return nil, err
		}
		out = append(out, *view)
	}
	return out, nil
}

// standalone is a task that belongs to no service, as far as the request says.
type standalone struct {
	settings   servicespec.Spec // what the rules of services apply to as well
	cluster    string
	row        task.Task
	definition string
	inherit    bool // the definition's tags too
	managed    bool // and those of ECS
	overrides  *types.TaskOverride
}

// startedByPattern is what the startedBy of a standalone task consists of.
var startedByPattern = regexp.MustCompile(`^[A-Za-z0-9_/-]{0,128}$`)

// readStandalone applies the rules of RunTask that need no more than the request.
func readStandalone(sc arn.Scope, in *sdk.RunTaskInput) (*standalone, error) {
	cluster, err := identifier.ClusterName(sc, in.Cluster)
	if err != nil {
		return nil, err
	}
	tags, err := tagsOf(in.Tags)
	if err != nil {
		return nil, err
	}
	group := aws.ToString(in.Group)
	switch {
	case len(group) > 255 || strings.HasPrefix(group, "service:"):
		return nil, ecserr.Invalid("Invalid namespace for group.")
	case !startedByPattern.MatchString(aws.ToString(in.StartedBy)):
		return nil, ecserr.Invalid("startedBy may have up to 128 letters, digits, hyphens, underscores and slashes")
	case in.PropagateTags != "" && in.PropagateTags != types.PropagateTagsTaskDefinition:
		return nil, ecserr.Invalid("Invalid value for propagateTags")
	case in.LaunchType != "" && len(in.CapacityProviderStrategy) > 0:
		return nil, ecserr.Invalid("Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.")
	case in.LaunchType == types.LaunchTypeManagedInstances:
		return nil, ecserr.Unsupported("Managed instances are not supported by this server; use the launch type EC2, FARGATE or EXTERNAL.")
	case len(in.VolumeConfigurations) > 0:
		return nil, ecserr.Unsupported("Volumes configured at launch are not supported by this server.")
	}
	s := &standalone{
		settings: servicespec.Spec{
			LaunchType: in.LaunchType, CapacityProviderStrategy: in.CapacityProviderStrategy,
			PlatformVersion: in.PlatformVersion, NetworkConfiguration: in.NetworkConfiguration,
			PlacementConstraints: in.PlacementConstraints, PlacementStrategy: in.PlacementStrategy,
		},
		cluster:    cluster,
		definition: aws.ToString(in.TaskDefinition),
		inherit:    in.PropagateTags == types.PropagateTagsTaskDefinition,
		managed:    in.EnableECSManagedTags,
		overrides:  in.Overrides,
	}
	servicespec.FillDefaults(&s.settings)
	s.row = task.Task{
		Account: sc.Account, Region: sc.Region, Cluster: cluster, ExecuteCommand: in.EnableExecuteCommand,
		Network: servicespec.Network(&s.settings), StartedBy: aws.ToString(in.StartedBy), GroupName: group, Tags: tags,
		Observed: task.Observed{State: task.Provisioning, Health: task.HealthUnknown},
	}
	return s, ecserr.First(
		ecserr.OneOf("launch type", in.LaunchType, in.LaunchType.Values()),
		servicespec.CheckNetwork(s.settings.NetworkConfiguration),
		taskdef.CheckOverrides(in.Overrides),
	)
}

// prepare finds what a standalone task needs. It returns its row but for the id and the node, what it asks of a node,
// and the strategy that chooses its capacity provider.
func prepare(tx *store.Tx, s *standalone) (row task.Task, requirements placement.Requirements, strategy []task.StrategyItem, err error) {
	row, how := s.row, s.settings
	cluster, err := task.UseCluster(tx, row.Scope(), s.cluster, row.Created)
	if err != nil {
		return row, requirements, nil, err
	}
	servicespec.ChooseLaunch(&how, cluster)
	row.LaunchType = string(servicespec.LaunchType(&how))
	if err := ecserr.First(servicespec.CheckStrategy(how.CapacityProviderStrategy, cluster.Providers), servicespec.CheckPlatform(&how), servicespec.CheckPlacement(&how)); err != nil {
		return row, requirements, nil, err
	}
	def, err := activeDefinition(tx, row.Scope(), s.definition)
	if err != nil {
		return row, requirements, nil, err
	}
	if _, err := servicespec.CheckAgainst(tx, def, &how); err != nil {
		return row, requirements, nil, err
	}
	in, err := codec.Decode[taskdef.Request]("task definition "+def.Family, def.Sent)
	if err != nil {
		return row, requirements, nil, err
	}
	if row.Overrides, err = taskdef.NewOverrides(in, s.overrides, servicespec.LaunchType(&how)); err != nil {
		return row, requirements, nil, err
	}
	row.Family, row.Revision, row.Checked = def.Family, def.Revision, def.Checked()
	if s.inherit {
		if row.Tags, err = task.Retag(def.Tags, row.Tags, nil); err != nil {
			return row, requirements, nil, err
		}
	}
	if s.managed {
		if row.Tags, err = task.Retag(row.Tags, task.ManagedTags(row.ServiceRef()), nil); err != nil {
			return row, requirements, nil, err
		}
	}
	requirements = placement.Requirements{
		Group: row.Group(), Resources: row.Overrides.Apply(def).Resources(), Strategy: servicespec.StrategyRows(how.PlacementStrategy),
	}
	requirements.Constraints, err = placement.ParseConstraints(def.Constraints, servicespec.ConstraintRows(how.PlacementConstraints))
	if err != nil {
		return row, requirements, nil, ecserr.Client("Invalid expression in placement constraint: %v", err) // of a definition that is older than the rule
	}
	return row, requirements, servicespec.StrategyRow(how.CapacityProviderStrategy), nil
}
