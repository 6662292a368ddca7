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

// runResult is the result of a request to run tasks.
type runResult struct {
	tasks    []*task.Task
	failures []types.Failure
}

// maxTasks is the largest number of tasks that one request can run.
const maxTasks = 10

// runTask starts standalone tasks on the nodes that placement chooses.
func (a *api) runTask(ctx context.Context, in *sdk.RunTaskInput) (*sdk.RunTaskOutput, error) {
	count, token := 1, aws.ToString(in.ClientToken)
	if in.Count != nil {
		count = int(*in.Count)
	}
	if count < 1 || count > maxTasks {
		return nil, ecserr.Invalid("count must be between 1 and %d", maxTasks)
	}
	if len(token) > 64 {
		return nil, ecserr.Invalid("idempotency token longer than 64.")
	}
	request, err := readStandalone(awsapi.ScopeFrom(ctx), in)
	if err != nil {
		return nil, err
	}
	hashed := *in
	hashed.Cluster = &request.row.Cluster
	request.row.Request = codec.Digest(&hashed)
	request.row.Created = a.now()
	ids := newTaskIDs(count)
	if token != "" {
		ids = tokenIDs(request.row.ClusterRef(), token, count)
	}
	result, err := updatePlacement(ctx, a, func(tx *store.Tx) (runResult, error) {
		if token != "" {
			if started, err := startedTasks(tx, request, token); len(started.tasks) > 0 || err != nil {
				return started, err
			}
		}
		p, err := prepare(tx, request)
		if err != nil {
			return runResult{}, err
		}
		return placeTasks(tx, p, ids)
	})
	if err != nil {
		return nil, err
	}
	views, err := a.renderTasks(result.tasks)
	return &sdk.RunTaskOutput{Tasks: views, Failures: codec.OrEmpty(result.failures)}, err
}

// newTaskIDs returns n new ids. They are made before the transaction, which can run more than once.
func newTaskIDs(n int) []task.ID {
	ids := make([]task.ID, n)
	for i := range ids {
		ids[i] = task.NewID()
	}
	return ids
}

// tokenIDs returns the ids of the tasks that a request with this token starts. They depend only on the token, so two
// concurrent requests read and write the same rows, and only one of them starts tasks.
func tokenIDs(cluster task.ClusterRef, token string, n int) []task.ID {
	ids := make([]task.ID, n)
	for i := range ids {
		ids[i] = task.TokenID(cluster, token, i)
	}
	return ids
}

// startedTasks returns the tasks that an earlier request with this token has started. It fails if the two requests
// differ.
func startedTasks(tx *store.Tx, request *standalone, token string) (runResult, error) {
	var started runResult
	var arns []string
	same := true
	cluster := request.row.ClusterRef()
	for _, id := range tokenIDs(cluster, token, maxTasks) {
		t, err := task.GetTask(tx, task.Ref{Scope: cluster.Scope, Cluster: cluster.Name, ID: id})
		if err != nil {
			continue
		}
		started.tasks, arns = append(started.tasks, t), append(arns, t.ARN())
		same = same && t.Request == request.row.Request
	}
	if !same {
		return runResult{}, &types.ConflictException{
			Message: aws.String("The clientToken was used for another request."), ResourceIds: arns,
		}
	}
	return started, nil
}

// updatePlacement runs a transaction that places tasks. Such transactions run one after the other, because they would
// conflict with each other.
func updatePlacement[R any](ctx context.Context, a *api, fn func(tx *store.Tx) (R, error)) (R, error) {
	return awsapi.UpdateSerialized(ctx, a.db, task.PlacementQueue, fn)
}

// placeTasks creates tasks with these ids until no node has room for another one.
func placeTasks(tx *store.Tx, p *prepared, ids []task.ID) (runResult, error) {
	var result runResult
	inventory := placement.ReadInventory(tx.Snapshot())
	countByProvider := map[string]int{}
	for _, id := range ids {
		host, rejections := placement.Pick(inventory.Hosts(p.row.ClusterRef()), p.requirements, rand.IntN)
		if host == nil && len(rejections) == 0 {
			return withoutNodes(p.row.LaunchType)
		}
		if host == nil {
			result.failures = placementFailures(p.row.LaunchType, rejections)
			break
		}
		row := p.row
		row.ID = id
		row.CapacityProvider = task.NextProvider(p.strategy, countByProvider)
		countByProvider[row.CapacityProvider]++
		result.tasks = append(result.tasks, createTask(tx, inventory, row, host, p.requirements))
	}
	return result, nil
}

// createTask creates a task that runs on host.
func createTask(
	tx *store.Tx, inventory *placement.Inventory, row task.Task, host *placement.Host, req placement.Requirements,
) *task.Task {
	inventory.Assign(tx, &row, host, req.Resources)
	return task.CreateTask(tx, row)
}

// noCapacity is the reason of Fargate if it has no room for a task.
const noCapacity = "Capacity is unavailable at this time. Please try again later or in a different availability zone"

// placementFailures returns the reasons why no node can run a task. Fargate does not show its nodes.
func placementFailures(launchType string, rejections []placement.Rejection) []types.Failure {
	if launchType == task.Fargate {
		return []types.Failure{{Reason: aws.String(noCapacity)}}
	}
	var failures []types.Failure
	for _, r := range rejections {
		failures = append(failures, types.Failure{Arn: aws.String(r.Host.Instance.ARN()), Reason: &r.Reasons[0]})
	}
	return failures
}

// withoutNodes returns the result if there are no nodes: an error for a cluster without container instances, or a
// failure on Fargate, whose nodes belong to AWS.
func withoutNodes(launchType string) (runResult, error) {
	if launchType != task.Fargate {
		return runResult{}, ecserr.Invalid("No Container Instances were found in your cluster.")
	}
	return runResult{failures: placementFailures(launchType, nil)}, nil
}

// startTask starts one standalone task on each of the container instances that the request names.
func (a *api) startTask(ctx context.Context, in *sdk.StartTaskInput) (*sdk.StartTaskOutput, error) {
	switch {
	case len(in.ContainerInstances) == 0:
		return nil, ecserr.Client("Container Instances cannot be empty.")
	case len(in.ContainerInstances) > maxTasks:
		return nil, ecserr.Invalid("At most %d container instances can be named at once", maxTasks)
	case len(aws.ToString(in.StartedBy)) > 36:
		return nil, ecserr.Invalid("startedBy may have up to 36 letters, digits, hyphens, underscores and slashes")
	}
	request, err := readStandalone(awsapi.ScopeFrom(ctx), &sdk.RunTaskInput{
		Cluster: in.Cluster, TaskDefinition: in.TaskDefinition, Group: in.Group, StartedBy: in.StartedBy, Tags: in.Tags,
		NetworkConfiguration: in.NetworkConfiguration, Overrides: in.Overrides, PropagateTags: in.PropagateTags,
		VolumeConfigurations: in.VolumeConfigurations, EnableECSManagedTags: in.EnableECSManagedTags,
		EnableExecuteCommand: in.EnableExecuteCommand,
		LaunchType:           types.LaunchTypeEc2, // only EC2 has container instances that a client can name
	})
	if err != nil {
		return nil, err
	}
	request.row.Created = a.now()
	ids := newTaskIDs(len(in.ContainerInstances))
	result, err := updatePlacement(ctx, a, func(tx *store.Tx) (runResult, error) {
		p, err := prepare(tx, request)
		if err != nil {
			return runResult{}, err
		}
		return startOnInstances(tx, p, in.ContainerInstances, ids)
	})
	if err != nil {
		return nil, err
	}
	views, err := a.renderTasks(result.tasks)
	return &sdk.StartTaskOutput{Tasks: views, Failures: codec.OrEmpty(result.failures)}, err
}

// startOnInstances creates one task on each container instance that has room for it. ids has an id for each.
func startOnInstances(tx *store.Tx, p *prepared, instances []string, ids []task.ID) (runResult, error) {
	var result runResult
	inventory := placement.ReadInventory(tx.Snapshot())
	for i, s := range instances {
		id, err := identifier.ParseIn(p.row.ClusterRef(), identifier.ContainerInstance, s)
		if err != nil {
			return runResult{}, err
		}
		host, ok := inventory.Host(p.row.ClusterRef(), id.Name)
		if !ok {
			result.failures = append(result.failures, missingInstance(id))
			continue
		}
		if reason := placement.RejectionReason(host, p.requirements.Resources); reason != "" {
			result.failures = append(result.failures, types.Failure{
				Arn: aws.String(host.Instance.ARN()), Reason: &reason,
			})
			continue
		}
		row := p.row
		row.ID = ids[i]
		result.tasks = append(result.tasks, createTask(tx, inventory, row, host, p.requirements))
	}
	return result, nil
}

func (a *api) renderTasks(tasks []*task.Task) ([]types.Task, error) {
	renderer, views := render.NewTasks(a.db.Snapshot(), a.zone), []types.Task{}
	for _, t := range tasks {
		view, err := renderer.Task(t, true)
		if err != nil {
			return nil, err
		}
		views = append(views, *view)
	}
	return views, nil
}

// standalone is a request to run standalone tasks.
type standalone struct {
	spec           servicespec.Spec // the members that the rules of services apply to
	row            task.Task        // the members of the tasks' rows that come from the request
	definition     string
	propagatesTags bool // the tasks also get the tags of their definition
	managesTags    bool // the tasks also get the tags of ECS
	overrides      *types.TaskOverride
}

// startedByPattern matches the startedBy of standalone tasks.
var startedByPattern = regexp.MustCompile(`^[A-Za-z0-9_/-]{0,128}$`)

// readStandalone applies the rules of RunTask that depend on nothing but the request.
func readStandalone(scope arn.Scope, in *sdk.RunTaskInput) (*standalone, error) {
	cluster, err := identifier.ParseCluster(scope, in.Cluster)
	if err != nil {
		return nil, err
	}
	tags, err := tagsOf(in.Tags)
	if err != nil {
		return nil, err
	}
	if err := checkStandalone(in); err != nil {
		return nil, err
	}
	request := &standalone{
		spec: servicespec.Spec{
			LaunchType: in.LaunchType, CapacityProviderStrategy: in.CapacityProviderStrategy,
			PlatformVersion: in.PlatformVersion, NetworkConfiguration: in.NetworkConfiguration,
			PlacementConstraints: in.PlacementConstraints, PlacementStrategy: in.PlacementStrategy,
		},
		definition:     aws.ToString(in.TaskDefinition),
		propagatesTags: in.PropagateTags == types.PropagateTagsTaskDefinition,
		managesTags:    in.EnableECSManagedTags,
		overrides:      in.Overrides,
	}
	servicespec.FillDefaults(&request.spec)
	request.row = task.Task{
		Account: scope.Account, Region: scope.Region, Cluster: cluster.Name, ExecuteCommand: in.EnableExecuteCommand,
		Network: servicespec.NetworkRow(&request.spec), StartedBy: aws.ToString(in.StartedBy),
		GroupName: aws.ToString(in.Group), Tags: tags,
		Observed: task.Observed{State: task.Provisioning, Health: task.HealthUnknown},
	}
	return request, ecserr.First(
		ecserr.OneOf("launch type", in.LaunchType, in.LaunchType.Values()),
		servicespec.CheckNetwork(request.spec.NetworkConfiguration),
		taskdef.CheckOverrides(in.Overrides),
	)
}

func checkStandalone(in *sdk.RunTaskInput) error {
	group := aws.ToString(in.Group)
	switch {
	case len(group) > 255 || strings.HasPrefix(group, "service:"):
		return ecserr.Invalid("Invalid namespace for group.")
	case !startedByPattern.MatchString(aws.ToString(in.StartedBy)):
		return ecserr.Invalid("startedBy may have up to 128 letters, digits, hyphens, underscores and slashes")
	case in.PropagateTags != "" && in.PropagateTags != types.PropagateTagsTaskDefinition:
		return ecserr.Invalid("Invalid value for propagateTags")
	case in.LaunchType != "" && len(in.CapacityProviderStrategy) > 0:
		return ecserr.Invalid("Specifying both a launch type and capacity provider strategy is not supported. " +
			"Remove one and try again.")
	case in.LaunchType == types.LaunchTypeManagedInstances:
		return ecserr.Unsupported("Managed instances are not supported by this server; " +
			"use the launch type EC2, FARGATE or EXTERNAL.")
	case len(in.VolumeConfigurations) > 0:
		return ecserr.Unsupported("Volumes configured at launch are not supported by this server.")
	}
	return nil
}

// prepared holds the part that the standalone tasks of a request have in common.
type prepared struct {
	row          task.Task              // without id, node and capacity provider
	requirements placement.Requirements // of the nodes
	strategy     []task.StrategyItem    // which chooses the capacity providers
}

// prepare applies the rules of RunTask that depend on the cluster and the task definition.
func prepare(tx *store.Tx, request *standalone) (*prepared, error) {
	row, spec := request.row, request.spec
	cluster, err := task.UseCluster(tx, row.Scope(), row.Cluster, row.Created)
	if err != nil {
		return nil, err
	}
	servicespec.ChooseLaunchType(&spec, cluster)
	row.LaunchType = string(servicespec.LaunchType(&spec))
	if err := ecserr.First(
		servicespec.CheckStrategy(spec.CapacityProviderStrategy, cluster.Providers),
		servicespec.CheckPlatform(&spec),
		servicespec.CheckPlacement(&spec),
	); err != nil {
		return nil, err
	}
	def, err := activeDefinition(tx, row.Scope(), request.definition)
	if err != nil {
		return nil, err
	}
	if _, err := servicespec.CheckReferences(tx, def, &spec); err != nil {
		return nil, err
	}
	registered, err := taskdef.RequestOf(def)
	if err != nil {
		return nil, err
	}
	row.Overrides, err = taskdef.NewOverrides(registered, request.overrides, servicespec.LaunchType(&spec))
	if err != nil {
		return nil, err
	}
	row.Family, row.Revision, row.Checked = def.Family, def.Revision, def.Checked()
	if row.Tags, err = standaloneTags(request, row, def); err != nil {
		return nil, err
	}
	constraints, err := placement.ParseConstraints(
		def.Constraints, servicespec.ConstraintRows(spec.PlacementConstraints))
	if err != nil {
		// Only a definition that was registered before expressions were checked can have an invalid one.
		return nil, ecserr.Client("Invalid expression in placement constraint: %v", err)
	}
	return &prepared{
		row: row,
		requirements: placement.Requirements{
			Group: row.Group(), Resources: row.Overrides.Apply(def).Resources(),
			Constraints: constraints, Strategy: servicespec.PlacementRows(spec.PlacementStrategy),
		},
		strategy: servicespec.StrategyRow(spec.CapacityProviderStrategy),
	}, nil
}

// standaloneTags returns the tags of a standalone task: its own and, if the request enables them, those of its
// definition and of ECS.
func standaloneTags(request *standalone, row task.Task, def *task.Definition) (tags map[string]string, err error) {
	tags = row.Tags
	if request.propagatesTags {
		if tags, err = task.MergeTags(def.Tags, tags, nil); err != nil {
			return nil, err
		}
	}
	if request.managesTags {
		if tags, err = task.MergeTags(tags, task.ManagedTags(row.ServiceRef()), nil); err != nil {
			return nil, err
		}
	}
	return tags, nil
}
