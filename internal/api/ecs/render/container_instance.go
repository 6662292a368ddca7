package render

import (
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/placement"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// ContainerInstance is a container instance with what include asks for.
func ContainerInstance(r store.Reader, h *placement.Host, include ...types.ContainerInstanceField) types.ContainerInstance {
	c, n := h.Instance, h.TaskCount()
	view := types.ContainerInstance{
		ContainerInstanceArn: aws.String(c.ARN()),
		Ec2InstanceId:        aws.String(c.EC2InstanceID()),
		Status:               aws.String(c.Status),
		AgentConnected:       h.Live && c.Status != task.Inactive,
		RunningTasksCount:    int32(n.Running),
		PendingTasksCount:    int32(n.Pending),
		RegisteredAt:         aws.Time(h.Node.RegisteredAt()),
		Version:              c.Version,
		VersionInfo:          &types.VersionInfo{AgentVersion: awsapi.StringOrNil(h.Node.Version)},
		Attributes:           []types.Attribute{},
		Attachments:          []types.Attachment{},
		RegisteredResources:  resourcesView(bounded(h.Node.CPU), bounded(h.Node.Memory), nil),
		RemainingResources:   resourcesView(bounded(h.FreeCPU()), bounded(h.FreeMemory()), h.UsedPorts()),
	}
	if h.Node.Engine != "" {
		view.VersionInfo.DockerVersion = aws.String("DockerVersion: " + h.Node.Engine) // as ECS's agent says it
	}
	attributes := h.Attributes()
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		view.Attributes = append(view.Attributes, types.Attribute{Name: aws.String(name), Value: awsapi.StringOrNil(attributes[name])})
	}
	if slices.Contains(include, types.ContainerInstanceFieldTags) {
		view.Tags = Tags(c.Tags)
	}
	if slices.Contains(include, types.ContainerInstanceFieldContainerInstanceHealth) {
		view.HealthStatus = instanceHealth(r, h)
	}
	return view
}

// bounded is a quantity that fits into the wire's number. A node that bounds nothing states the most there is.
func bounded(n int) int32 {
	if n == 0 || n > math.MaxInt32 {
		return math.MaxInt32
	}
	return int32(n)
}

// resourcesView lists resources as ECS does; the ports are those in use.
func resourcesView(cpu, memory int32, used []task.Port) []types.Resource {
	tcp, udp := []string{}, []string{}
	for _, p := range used {
		if p.Protocol == "udp" {
			udp = append(udp, strconv.Itoa(p.Number))
		} else {
			tcp = append(tcp, strconv.Itoa(p.Number))
		}
	}
	return []types.Resource{
		{Name: aws.String("CPU"), Type: aws.String("INTEGER"), IntegerValue: cpu},
		{Name: aws.String("MEMORY"), Type: aws.String("INTEGER"), IntegerValue: memory},
		{Name: aws.String("PORTS"), Type: aws.String("STRINGSET"), StringSetValue: tcp},
		{Name: aws.String("PORTS_UDP"), Type: aws.String("STRINGSET"), StringSetValue: udp},
	}
}

// instanceHealth is that of the runtime, as far as the node's lease tells.
func instanceHealth(r store.Reader, h *placement.Host) *types.ContainerInstanceHealthStatus {
	status := types.InstanceHealthCheckStateInsufficientData
	since, live := task.LiveSince(r, h.Node.Name)
	if live {
		status = types.InstanceHealthCheckStateOk
	} else {
		since = h.Node.Started
	}
	return &types.ContainerInstanceHealthStatus{
		OverallStatus: status,
		Details: []types.InstanceHealthCheckResult{{
			Type: types.InstanceHealthCheckTypeContainerRuntime, Status: status, LastUpdated: &since, LastStatusChange: &since,
		}},
	}
}

// Attribute is an attribute of a container instance.
func Attribute(c *task.ContainerInstance, name, value string) types.Attribute {
	return types.Attribute{Name: &name, Value: awsapi.StringOrNil(value), TargetType: types.TargetTypeContainerInstance, TargetId: aws.String(c.ARN())}
}
