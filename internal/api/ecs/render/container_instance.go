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

// ContainerInstance returns a container instance with the members that include names.
func ContainerInstance(
	r store.Reader, h *placement.Host, include ...types.ContainerInstanceField,
) types.ContainerInstance {
	c, counts := h.Instance, h.TaskCount()
	view := types.ContainerInstance{
		ContainerInstanceArn: aws.String(c.ARN()),
		Ec2InstanceId:        aws.String(c.EC2InstanceID()),
		Status:               aws.String(c.Status),
		AgentConnected:       h.Live && c.Status != task.Inactive,
		RunningTasksCount:    int32(counts.Running),
		PendingTasksCount:    int32(counts.Pending),
		RegisteredAt:         aws.Time(h.Node.RegisteredAt()),
		Version:              c.Version,
		VersionInfo:          &types.VersionInfo{AgentVersion: awsapi.StringOrNil(h.Node.Version)},
		Attributes:           []types.Attribute{},
		Attachments:          []types.Attachment{},
		RegisteredResources:  resources(limit(h.Node.CPU), limit(h.Node.Memory), nil),
		RemainingResources:   resources(quantity(h.FreeCPU()), quantity(h.FreeMemory()), h.UsedPorts()),
	}
	if h.Node.Engine != "" {
		view.VersionInfo.DockerVersion = aws.String("DockerVersion: " + h.Node.Engine) // in the form of ECS's agent
	}
	attributes := h.Attributes()
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		view.Attributes = append(view.Attributes, types.Attribute{
			Name: aws.String(name), Value: awsapi.StringOrNil(attributes[name]),
		})
	}
	if slices.Contains(include, types.ContainerInstanceFieldTags) {
		view.Tags = Tags(c.Tags)
	}
	if slices.Contains(include, types.ContainerInstanceFieldContainerInstanceHealth) {
		view.HealthStatus = instanceHealth(r, h)
	}
	return view
}

// Attribute returns an attribute of a container instance.
func Attribute(c *task.ContainerInstance, name, value string) types.Attribute {
	return types.Attribute{
		Name: &name, Value: awsapi.StringOrNil(value),
		TargetType: types.TargetTypeContainerInstance, TargetId: aws.String(c.ARN()),
	}
}

// limit returns a node's CPU or memory in the type of the wire. A node without a limit, 0, reports the largest amount.
func limit(n int) int32 {
	if n == 0 {
		return math.MaxInt32
	}
	return quantity(n)
}

// quantity returns an amount of CPU or memory in the type of the wire, as far as it fits. A full node has 0 left, and
// less if its limit was lowered while tasks were running.
func quantity(n int) int32 { return int32(max(0, min(n, math.MaxInt32))) }

// resources returns the resources of a container instance. The ports are those in use.
func resources(cpu, memory int32, used []task.Port) []types.Resource {
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

// instanceHealth returns the health of the container runtime. It is OK while the node's server renews its lease.
func instanceHealth(r store.Reader, h *placement.Host) *types.ContainerInstanceHealthStatus {
	status := types.InstanceHealthCheckStateOk
	since, live := task.LiveSince(r, h.Node.Name)
	if !live {
		status, since = types.InstanceHealthCheckStateInsufficientData, h.Node.Started
	}
	return &types.ContainerInstanceHealthStatus{
		OverallStatus: status,
		Details: []types.InstanceHealthCheckResult{{
			Type: types.InstanceHealthCheckTypeContainerRuntime, Status: status,
			LastUpdated: &since, LastStatusChange: &since,
		}},
	}
}
