package render

import (
	"cmp"
	"net/netip"
	"runtime"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/api/ecs/identifier"
	"github.com/bakingclouds/rollcall/internal/api/ecs/taskdef"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// Tasks renders many tasks of one snapshot. It reads the definitions and services that they share only once.
type Tasks struct {
	r           store.Reader
	zone        string
	launchTypes LaunchTypes
	definitions map[identifier.Definition]*taskdef.Request
}

// NewTasks returns a Tasks for a snapshot. zone is the letter of the availability zone that the nodes are in.
func NewTasks(r store.Reader, zone string) *Tasks {
	return &Tasks{
		r: r, zone: zone, launchTypes: NewLaunchTypes(r), definitions: map[identifier.Definition]*taskdef.Request{},
	}
}

// LaunchTypes finds the launch types of tasks.
type LaunchTypes struct {
	r        store.Reader
	services map[string]types.LaunchType
}

// NewLaunchTypes returns a LaunchTypes that reads services from r.
func NewLaunchTypes(r store.Reader) LaunchTypes {
	return LaunchTypes{r: r, services: map[string]types.LaunchType{}}
}

// Of returns the launch type that ECS reports for a task: the task's own, or its service's. It is EC2 for tasks whose
// service no longer exists.
func (l LaunchTypes) Of(t *task.Task) types.LaunchType {
	if t.LaunchType != "" || t.Service == "" {
		return cmp.Or(types.LaunchType(t.LaunchType), types.LaunchTypeEc2)
	}
	key := t.ServiceKey()
	if _, known := l.services[key]; !known {
		l.services[key] = types.LaunchTypeEc2
		if svc, ok := task.FindServiceByKey(l.r, key); ok && svc.LaunchType != "" {
			l.services[key] = types.LaunchType(svc.LaunchType)
		}
	}
	return l.services[key]
}

// definition returns the request that a task's definition was registered with.
func (v *Tasks) definition(t *task.Task) (*taskdef.Request, error) {
	name := identifier.Definition{Family: t.Family, Revision: t.Revision}
	if def, ok := v.definitions[name]; ok {
		return def, nil
	}
	row, err := task.GetDefinition(v.r, t.Scope(), t.Family, t.Revision)
	if err != nil {
		return nil, err
	}
	def, err := taskdef.RequestOf(row)
	v.definitions[name] = def
	return def, err
}

// DesiredStatus returns the desired status that ECS reports for a task. It is STOPPED as soon as the task is going to
// stop, including a task whose containers have stopped without a request.
func DesiredStatus(t *task.Task) string {
	if t.Observed.State >= task.Deactivating {
		return task.DesiredStopped
	}
	return t.Desired
}

// StartedBy returns the deployment of a service's task, or the startedBy of a standalone task.
func StartedBy(t *task.Task) string { return cmp.Or(t.Deployment, t.StartedBy) }

// withOverrides returns the definition that a task runs, and the overrides that were applied to it.
func (v *Tasks) withOverrides(t *task.Task) (*taskdef.Request, *types.TaskOverride, error) {
	def, err := v.definition(t)
	if err != nil {
		return nil, nil, err
	}
	overrides, err := taskdef.OverridesOf(t)
	if err != nil || t.Overrides == nil {
		return def, overrides, err
	}
	if def, err = taskdef.ApplyOverrides(def, overrides); err != nil {
		return nil, nil, err
	}
	return def, overrides, taskdef.NormalizeSize(def)
}

// Task returns a task in its current state.
func (v *Tasks) Task(t *task.Task, withTags bool) (*types.Task, error) {
	def, overrides, err := v.withOverrides(t)
	if err != nil {
		return nil, err
	}
	view := v.taskOf(t, def)
	view.Overrides = taskdef.RenderOverrides(def, overrides)
	if withTags {
		view.Tags = Tags(t.Tags)
	}
	if t.Node != "" {
		view.Connectivity = types.ConnectivityConnected
		if view.LaunchType != types.LaunchTypeFargate {
			id := task.ContainerInstanceID(t.Node)
			view.ContainerInstanceArn = aws.String(task.ContainerInstanceARN(t.ClusterRef(), id))
		}
	}
	if view.LaunchType == types.LaunchTypeFargate {
		view.PlatformVersion, view.PlatformFamily = aws.String(fargatePlatform), aws.String(platformFamily)
		view.EphemeralStorage = &types.EphemeralStorage{SizeInGiB: 20}
		if def.EphemeralStorage != nil {
			view.EphemeralStorage = def.EphemeralStorage
		}
	}
	addContainers(view, t, def)
	return view, nil
}

// taskOf returns the members of a task that do not depend on where it runs.
func (v *Tasks) taskOf(t *task.Task, def *taskdef.Request) *types.Task {
	observed := &t.Observed
	return &types.Task{
		TaskArn:              aws.String(t.ARN()),
		ClusterArn:           aws.String(t.ClusterRef().ARN()),
		TaskDefinitionArn:    aws.String(task.DefinitionARN(t.Scope(), t.Family, t.Revision)),
		AvailabilityZone:     aws.String(t.Region + v.zone),
		Group:                aws.String(t.Group()),
		LaunchType:           v.launchTypes.Of(t),
		CapacityProviderName: awsapi.StringOrNil(t.CapacityProvider),
		LastStatus:           aws.String(max(observed.State, task.Provisioning).String()),
		DesiredStatus:        aws.String(DesiredStatus(t)),
		HealthStatus:         health(observed.Health),
		Cpu:                  def.Cpu,
		Memory:               def.Memory,
		Version:              t.Version,
		StartedBy:            awsapi.StringOrNil(StartedBy(t)),
		CreatedAt:            &t.Created,
		StartedAt:            observed.StartedAt,
		StoppingAt:           t.StoppingAt,
		ExecutionStoppedAt:   observed.EndedAt,
		StoppedAt:            observed.StoppedAt,
		PullStartedAt:        observed.PullStartedAt,
		PullStoppedAt:        observed.PullStoppedAt,
		StopCode:             types.TaskStopCode(t.StopCode),
		StoppedReason:        awsapi.StringOrNil(t.StoppedReason),
		EnableExecuteCommand: t.ExecuteCommand,
		Attributes: []types.Attribute{
			{Name: aws.String("ecs.cpu-architecture"), Value: aws.String(architecture())},
		},
		Attachments: []types.Attachment{},
		//nolint:staticcheck // AWS still sends the deprecated member, and clients read it
		InferenceAccelerators: []types.InferenceAccelerator{},
		Tags:                  []types.Tag{},
	}
}

// addContainers adds the containers of a task, and the network interface that they share in awsvpc mode.
func addContainers(view *types.Task, t *task.Task, def *taskdef.Request) {
	interfaces := []types.NetworkInterface{}
	isAwsvpc := taskdef.NetworkMode(def) == types.NetworkModeAwsvpc
	if isAwsvpc {
		attachment := networkAttachment(t)
		view.Attachments = append(view.Attachments, attachment)
		interfaces = networkInterfaces(attachment.Id, t.Observed.Address, t.Observed.Address6)
	}
	for _, definition := range def.ContainerDefinitions {
		c := container(t, definition)
		c.NetworkInterfaces = interfaces
		if isAwsvpc {
			c.NetworkBindings = []types.NetworkBinding{} // clients reach the task's own address, not ports of the host
		}
		view.Containers = append(view.Containers, c)
	}
}

func health(h task.Health) types.HealthStatus {
	if h == "" {
		return types.HealthStatusUnknown
	}
	return types.HealthStatus(h)
}

// networkAttachment returns the network interface of an awsvpc task. It has no networkInterfaceId, because Prometheus's
// service discovery would look that id up in EC2, which Rollcall does not have.
func networkAttachment(t *task.Task) types.Attachment {
	var details []types.KeyValuePair
	addDetail := func(name, value string) {
		details = append(details, types.KeyValuePair{Name: &name, Value: &value})
	}
	if t.Network != nil && len(t.Network.Subnets) > 0 {
		addDetail("subnetId", t.Network.Subnets[0])
	}
	status := "PRECREATED"
	if t.Observed.State == task.Pending {
		status = "ATTACHING"
	}
	for _, a := range []netip.Addr{t.Observed.Address, t.Observed.Address6} {
		switch {
		case a.Is4():
			addDetail("privateIPv4Address", a.String())
		case a.Is6():
			addDetail("privateIPv6Address", a.String())
		default:
			continue
		}
		status = "ATTACHED"
	}
	switch t.Observed.State {
	case task.Deprovisioning:
		status = "DETACHING"
	case task.Stopped:
		status = "DELETED"
	}
	return types.Attachment{
		Id:      aws.String(task.ContainerID(t.ID, "network interface")),
		Type:    aws.String("ElasticNetworkInterface"),
		Status:  &status,
		Details: details,
	}
}

// networkInterfaces returns the network interface that a task's containers share, or an empty list if it has no address
// yet.
func networkInterfaces(attachment *string, addresses ...netip.Addr) []types.NetworkInterface {
	shared := types.NetworkInterface{AttachmentId: attachment}
	for _, a := range addresses {
		switch {
		case a.Is4():
			shared.PrivateIpv4Address = aws.String(a.String())
		case a.Is6():
			shared.Ipv6Address = aws.String(a.String())
		}
	}
	if shared.PrivateIpv4Address == nil && shared.Ipv6Address == nil {
		return []types.NetworkInterface{}
	}
	return []types.NetworkInterface{shared}
}

// container returns a container of a task: as its node has reported it, or as PENDING until the node reports it.
func container(t *task.Task, definition types.ContainerDefinition) types.Container {
	name := aws.ToString(definition.Name)
	observed := task.Container{Name: name, Status: "PENDING"}
	for _, c := range t.Observed.Containers {
		if c.Name == name {
			observed = c
		}
	}
	if t.Observed.State == task.Stopped {
		observed.Status = "STOPPED" // even if the container never started
	}
	view := types.Container{
		ContainerArn:      aws.String(t.ContainerARN(name)),
		TaskArn:           aws.String(t.ARN()),
		Name:              definition.Name,
		Image:             definition.Image,
		LastStatus:        &observed.Status,
		RuntimeId:         awsapi.StringOrNil(observed.RuntimeID),
		ImageDigest:       awsapi.StringOrNil(observed.Image),
		Reason:            awsapi.StringOrNil(observed.Reason),
		HealthStatus:      health(observed.Health),
		NetworkBindings:   []types.NetworkBinding{},
		Cpu:               aws.String(strconv.Itoa(int(definition.Cpu))),
		Memory:            numberText(definition.Memory),
		MemoryReservation: numberText(definition.MemoryReservation),
	}
	if observed.ExitCode != nil {
		view.ExitCode = aws.Int32(int32(*observed.ExitCode))
	}
	for _, b := range observed.Bindings {
		view.NetworkBindings = append(view.NetworkBindings, types.NetworkBinding{
			BindIP: aws.String(b.HostIP), ContainerPort: aws.Int32(int32(b.ContainerPort)),
			HostPort: aws.Int32(int32(b.HostPort)), Protocol: types.TransportProtocol(b.Protocol),
		})
	}
	return view
}

func numberText(n *int32) *string {
	if n == nil {
		return nil
	}
	return aws.String(strconv.Itoa(int(*n)))
}

// architecture returns the processor architecture of the nodes in ECS's spelling.
func architecture() string {
	if runtime.GOARCH == "amd64" {
		return "x86_64"
	}
	return runtime.GOARCH
}

// ProtectedTask returns a task's protection from scale-in at the time now.
func ProtectedTask(t *task.Task, now time.Time) types.ProtectedTask {
	view := types.ProtectedTask{TaskArn: aws.String(t.ARN()), ProtectionEnabled: t.Protected(now)}
	if view.ProtectionEnabled {
		view.ExpirationDate = t.ProtectedUntil
	}
	return view
}
