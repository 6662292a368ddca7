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
	"github.com/bakingclouds/rollcall/internal/api/ecs/codec"
	"github.com/bakingclouds/rollcall/internal/api/ecs/identifier"
	"github.com/bakingclouds/rollcall/internal/api/ecs/taskdef"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// Tasks makes the views of many tasks of one snapshot; the definitions and services that they share are
// read once.
type Tasks struct {
	r           store.Reader
	zone        string
	launches    LaunchTypes
	definitions map[identifier.Definition]*taskdef.Request
}

func NewTasks(r store.Reader, zone string) *Tasks {
	return &Tasks{r: r, zone: zone, launches: NewLaunchTypes(r), definitions: map[identifier.Definition]*taskdef.Request{}}
}

// LaunchTypes finds the launch types that tasks are reported with: their own, or their service's.
type LaunchTypes struct {
	r        store.Reader
	services map[string]types.LaunchType
}

func NewLaunchTypes(r store.Reader) LaunchTypes {
	return LaunchTypes{r: r, services: map[string]types.LaunchType{}}
}

func (l LaunchTypes) Of(t *task.Task) types.LaunchType {
	if t.LaunchType != "" || t.Service == "" {
		return cmp.Or(types.LaunchType(t.LaunchType), types.LaunchTypeEc2)
	}
	key := t.ServiceKey()
	if _, known := l.services[key]; !known {
		l.services[key] = types.LaunchTypeEc2 // also for the last tasks of a service that is forgotten
		if svc, ok := task.FindServiceByKey(l.r, key); ok && svc.LaunchType != "" {
			l.services[key] = types.LaunchType(svc.LaunchType)
		}
	}
	return l.services[key]
}

// definition is the request that a task's definition was made from.
func (v *Tasks) definition(t *task.Task) (*taskdef.Request, error) {
	ref := identifier.Definition{Family: t.Family, Revision: t.Revision}
	if d, ok := v.definitions[ref]; ok {
		return d, nil
	}
	row, err := task.GetDefinition(v.r, t.Scope(), t.Family, t.Revision)
	if err != nil {
		return nil, err
	}
	d, err := codec.Decode[taskdef.Request]("task definition "+ref.String(), row.Sent)
	v.definitions[ref] = d
	return d, err
}

// DesiredStatus is STOPPED from the moment that the end is decided, by whomever: a task whose containers
// ended is not wanted either.
func DesiredStatus(t *task.Task) string {
	if t.Observed.State >= task.Deactivating {
		return task.DesiredStopped
	}
	return t.Desired
}

// StartedBy is the deployment of a service's task, and what RunTask was given for another.
func StartedBy(t *task.Task) string { return cmp.Or(t.Deployment, t.StartedBy) }

// overridden is what a task runs: its definition with what its overrides say, and these.
func (v *Tasks) overridden(t *task.Task) (*taskdef.Request, *types.TaskOverride, error) {
	def, err := v.definition(t)
	if err != nil {
		return nil, nil, err
	}
	sent, err := taskdef.SentOverrides(t)
	if err != nil || t.Overrides == nil {
		return def, sent, err
	}
	if def, err = taskdef.ApplyOverrides(def, sent); err != nil {
		return nil, nil, err
	}
	return def, sent, taskdef.NormalizeSize(def)
}

// Task is a task as it is now; its tags are shown if they are asked for.
func (v *Tasks) Task(t *task.Task, tags bool) (*types.Task, error) {
	def, sent, err := v.overridden(t)
	if err != nil {
		return nil, err
	}
	launch, o := v.launches.Of(t), &t.Observed
	view := &types.Task{
		TaskArn:            aws.String(t.ARN()),
		ClusterArn:         aws.String((&task.Cluster{Account: t.Account, Region: t.Region, Name: t.Cluster}).ARN()),
		TaskDefinitionArn:  aws.String(task.DefinitionARN(t.Scope(), t.Family, t.Revision)),
		AvailabilityZone:   aws.String(t.Region + v.zone),
		Group:              aws.String(t.Group()),
		LaunchType:         launch,
		LastStatus:         aws.String(max(o.State, task.Provisioning).String()),
		DesiredStatus:      aws.String(DesiredStatus(t)),
		HealthStatus:       healthView(o.Health),
		Cpu:                def.Cpu,
		Memory:             def.Memory,
		Version:            t.Version,
		CreatedAt:          &t.Created,
		StartedAt:          o.StartedAt,
		StoppingAt:         t.StoppingAt,
		ExecutionStoppedAt: o.EndedAt,
		StoppedAt:          o.StoppedAt,
		PullStartedAt:      o.PullStartedAt,
		PullStoppedAt:      o.PullStoppedAt,
		StopCode:           types.TaskStopCode(t.StopCode),
		Attributes:         []types.Attribute{{Name: aws.String("ecs.cpu-architecture"), Value: aws.String(architecture())}},
		Attachments:        []types.Attachment{},
		//lint:ignore SA1019 AWS still sends it, and clients read it
		InferenceAccelerators: []types.InferenceAccelerator{},
		Tags:                  []types.Tag{},
		EnableExecuteCommand:  t.ExecuteCommand,
		Overrides:             taskdef.RenderOverrides(def, sent),
	}
	view.StartedBy, view.StoppedReason = awsapi.StringOrNil(StartedBy(t)), awsapi.StringOrNil(t.StoppedReason)
	view.CapacityProviderName = awsapi.StringOrNil(t.CapacityProvider)
	if tags {
		view.Tags = Tags(t.Tags)
	}
	if t.Node != "" {
		view.Connectivity = types.ConnectivityConnected
		if launch != types.LaunchTypeFargate {
			view.ContainerInstanceArn = aws.String(task.ContainerInstanceARN(t.ClusterRef(), t.Node))
		}
	}
	if launch == types.LaunchTypeFargate {
		view.PlatformVersion, view.PlatformFamily = aws.String(fargatePlatform), aws.String(platformFamily)
		view.EphemeralStorage = &types.EphemeralStorage{SizeInGiB: 20}
		if def.EphemeralStorage != nil {
			view.EphemeralStorage = def.EphemeralStorage
		}
	}
	interfaces := []types.NetworkInterface{}
	awsvpc := taskdef.NetworkMode(def) == types.NetworkModeAwsvpc
	if awsvpc {
		attachment := attachmentView(t)
		view.Attachments = append(view.Attachments, attachment)
		interfaces = interfacesView(attachment.Id, o.Address, o.Address6)
	}
	for _, c := range def.ContainerDefinitions {
		container := runningContainer(t, c)
		container.NetworkInterfaces = interfaces
		if awsvpc {
			container.NetworkBindings = []types.NetworkBinding{} // no host port leads to the task's own address
		}
		view.Containers = append(view.Containers, container)
	}
	return view, nil
}

func healthView(h task.Health) types.HealthStatus {
	if h == "" {
		return types.HealthStatusUnknown
	}
	return types.HealthStatus(h)
}

// attachmentView is the network interface of an awsvpc task. It names no networkInterfaceId: there is no EC2
// here that a client could ask about it, and Prometheus's discovery would.
func attachmentView(t *task.Task) types.Attachment {
	var details []types.KeyValuePair
	detail := func(name, value string) {
		details = append(details, types.KeyValuePair{Name: &name, Value: &value})
	}
	if t.Network != nil && len(t.Network.Subnets) > 0 {
		detail("subnetId", t.Network.Subnets[0])
	}
	status := "PRECREATED"
	if t.Observed.State == task.Pending {
		status = "ATTACHING"
	}
	for _, a := range []netip.Addr{t.Observed.Address, t.Observed.Address6} {
		switch {
		case a.Is4():
			detail("privateIPv4Address", a.String())
		case a.Is6():
			detail("privateIPv6Address", a.String())
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

// interfacesView is the network interface that a task's containers share, with its addresses.
func interfacesView(attachment *string, addresses ...netip.Addr) []types.NetworkInterface {
	i := types.NetworkInterface{AttachmentId: attachment}
	for _, a := range addresses {
		switch {
		case a.Is4():
			i.PrivateIpv4Address = aws.String(a.String())
		case a.Is6():
			i.Ipv6Address = aws.String(a.String())
		}
	}
	if i.PrivateIpv4Address == nil && i.Ipv6Address == nil {
		return []types.NetworkInterface{}
	}
	return []types.NetworkInterface{i}
}

// runningContainer is a container of a task: as its node sees it, or PENDING while no node does.
func runningContainer(t *task.Task, c types.ContainerDefinition) types.Container {
	name := aws.ToString(c.Name)
	seen := task.Container{Name: name, Status: "PENDING"}
	for _, o := range t.Observed.Containers {
		if o.Name == name {
			seen = o
		}
	}
	if t.Observed.State == task.Stopped {
		seen.Status = "STOPPED" // also one that never was
	}
	view := types.Container{
		ContainerArn:      aws.String(t.ContainerARN(name)),
		TaskArn:           aws.String(t.ARN()),
		Name:              c.Name,
		Image:             c.Image,
		LastStatus:        &seen.Status,
		RuntimeId:         awsapi.StringOrNil(seen.RuntimeID),
		ImageDigest:       awsapi.StringOrNil(seen.Image),
		Reason:            awsapi.StringOrNil(seen.Reason),
		HealthStatus:      healthView(seen.Health),
		NetworkBindings:   []types.NetworkBinding{},
		Cpu:               aws.String(strconv.Itoa(int(c.Cpu))),
		Memory:            number(c.Memory),
		MemoryReservation: number(c.MemoryReservation),
	}
	if seen.ExitCode != nil {
		view.ExitCode = aws.Int32(int32(*seen.ExitCode))
	}
	for _, b := range seen.Bindings {
		view.NetworkBindings = append(view.NetworkBindings, types.NetworkBinding{
			BindIP: aws.String(b.HostIP), ContainerPort: aws.Int32(int32(b.ContainerPort)),
			HostPort: aws.Int32(int32(b.HostPort)), Protocol: types.TransportProtocol(b.Protocol),
		})
	}
	return view
}

func number(n *int32) *string {
	if n == nil {
		return nil
	}
	return aws.String(strconv.Itoa(int(*n)))
}

// architecture is the processor of the nodes, as ECS spells it.
func architecture() string {
	if runtime.GOARCH == "amd64" {
		return "x86_64"
	}
	return runtime.GOARCH
}

func ProtectedTask(t *task.Task, now time.Time) types.ProtectedTask {
	view := types.ProtectedTask{TaskArn: aws.String(t.ARN()), ProtectionEnabled: t.Protected(now)}
	if view.ProtectionEnabled {
		view.ExpirationDate = t.ProtectedUntil
	}
	return view
}
