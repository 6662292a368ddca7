package metadata

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"strconv"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/task"
)

// taskDoc is the document of a task in version 4 ("Task metadata endpoint version 4"). Unknown values are absent, in
// all documents.
type taskDoc struct {
	Cluster            string
	TaskARN            string
	Family             string
	Revision           string
	ServiceName        string `json:",omitempty"`
	DesiredStatus      string
	KnownStatus        string
	Limits             *taskLimits `json:",omitempty"`
	ExecutionStoppedAt *time.Time  `json:",omitempty"`
	AvailabilityZone   string
	LaunchType         string
	Containers         []containerDoc
	TaskTags           map[string]string `json:",omitempty"`
}

type taskLimits struct {
	CPU    float64 `json:",omitempty"` // vCPUs
	Memory int     `json:",omitempty"` // MiB
}

type containerDoc struct {
	DockerID      string `json:"DockerId,omitempty"`
	Name          string
	DockerName    string
	Image         string
	ContainerARN  string
	Labels        map[string]string
	DesiredStatus string
	KnownStatus   string
	ExitCode      *int       `json:",omitempty"`
	CreatedAt     *time.Time `json:",omitempty"`
	StartedAt     *time.Time `json:",omitempty"`
	FinishedAt    *time.Time `json:",omitempty"`
	Type          string
	Limits        containerLimits
	Ports         []portDoc         `json:",omitempty"`
	Networks      []networkDoc      `json:",omitempty"`
	Health        *healthDoc        `json:",omitempty"`
	LogDriver     string            `json:",omitempty"`
	LogOptions    map[string]string `json:",omitempty"`
}

type containerLimits struct {
	CPU    int // units
	Memory int `json:",omitempty"` // MiB
}

type portDoc struct {
	ContainerPort int
	Protocol      string
	HostPort      int    `json:",omitempty"`
	HostIP        string `json:"HostIp,omitempty"`
}

type networkDoc struct {
	NetworkMode   string
	IPv4Addresses []string `json:",omitempty"`
	IPv6Addresses []string `json:",omitempty"`
	// AttachmentIndex is present in awsvpc mode, in which AWS also names the network interface.
	AttachmentIndex *int `json:",omitempty"`
}

type healthDoc struct {
	Status string `json:"status"`
	Output string `json:"output,omitempty"`
}

// registered is the part of the request that registered a definition which only the documents show. It contains neither
// secrets nor the environment.
type registered struct {
	CPU                  string                `json:"cpu"`
	Memory               string                `json:"memory"`
	ContainerDefinitions []registeredContainer `json:"containerDefinitions"`
}

type registeredContainer struct {
	Name              string            `json:"name"`
	CPU               int               `json:"cpu"`
	Memory            int               `json:"memory"`
	MemoryReservation int               `json:"memoryReservation"`
	DockerLabels      map[string]string `json:"dockerLabels"`
	LogConfiguration  struct {
		LogDriver string            `json:"logDriver"`
		Options   map[string]string `json:"options"`
	} `json:"logConfiguration"`
}

// container returns the part of one container; zero if it does not exist.
func (r *registered) container(name string) registeredContainer {
	for _, c := range r.ContainerDefinitions {
		if c.Name == name {
			return c
		}
	}
	return registeredContainer{}
}

func (v *view) registered() (*registered, error) {
	var r registered
	if err := json.Unmarshal(v.def.Sent, &r); err != nil {
		return nil, fmt.Errorf("parse the request that registered the definition: %w", err)
	}
	return &r, nil
}

func containerDocument(v *view) (any, error) {
	r, err := v.registered()
	if err != nil {
		return nil, err
	}
	return v.containerDoc(r, v.container), nil
}

func taskDocument(v *view) (any, error) { return v.taskDoc() }

// taskWithTagsDocument adds the tags of the task. The container instance has none.
func taskWithTagsDocument(v *view) (any, error) {
	doc, err := v.taskDoc()
	if err == nil {
		doc.TaskTags = v.task.Tags
	}
	return doc, err
}

func (v *view) taskDoc() (*taskDoc, error) {
	r, err := v.registered()
	if err != nil {
		return nil, err
	}
	t := v.task
	doc := &taskDoc{
		Cluster: t.Cluster, TaskARN: t.ARN(), Family: t.Family, Revision: strconv.Itoa(t.Revision), ServiceName: t.Service,
		DesiredStatus: t.Desired, KnownStatus: knownStatus(t.Observed.State), ExecutionStoppedAt: utc(t.Observed.EndedAt),
		AvailabilityZone: t.Region + v.Zone, LaunchType: launchType(v.r, t), Limits: taskLimitsOf(r, t.Overrides),
	}
	if doc.LaunchType == task.Fargate { // Fargate shows the ARN
		doc.Cluster = (&task.Cluster{Account: t.Account, Region: t.Region, Name: t.Cluster}).ARN()
	}
	for i := range v.def.Containers {
		doc.Containers = append(doc.Containers, v.containerDoc(r, &v.def.Containers[i]))
	}
	return doc, nil
}

// taskLimitsOf returns the limits of a task: those of its overrides, otherwise those of its definition; nil if it has
// none.
func taskLimitsOf(r *registered, o *task.Overrides) *taskLimits {
	units, _ := strconv.Atoi(r.CPU) // the registration accepts only numbers
	memory, _ := strconv.Atoi(r.Memory)
	if o != nil {
		units, memory = cmp.Or(o.CPU, units), cmp.Or(o.Memory, memory)
	}
	if units <= 0 && memory <= 0 {
		return nil
	}
	return &taskLimits{CPU: float64(units) / 1024, Memory: memory}
}

// knownStatus returns a task's state as AWS's agent shows it. A task that sends a request runs, even if its row has
// an earlier state.
func knownStatus(s task.State) string {
	if s == task.Stopped {
		return "STOPPED"
	}
	return "RUNNING"
}

// status returns a container's status in the sandbox, otherwise what the row has of it.
func (v *view) status(name string) (s agent.ContainerStatus) {
	s.Name = name
	if v.sandbox != nil {
		for _, c := range v.sandbox.Containers {
			if c.Name == name {
				return c
			}
		}
	}
	for _, c := range v.task.Observed.Containers {
		if c.Name == name {
			s.RuntimeID, s.ExitCode, s.Health = c.RuntimeID, c.ExitCode, agent.Health(c.Health)
		}
	}
	return s
}

func (v *view) containerDoc(r *registered, d *task.ContainerDefinition) containerDoc {
	t, c, reg := v.task, v.status(d.Name), r.container(d.Name)
	doc := containerDoc{
		DockerID: c.RuntimeID, Name: d.Name, Image: d.Image, ContainerARN: t.ContainerARN(d.Name),
		DockerName:    fmt.Sprintf("ecs-%s-%d-%s-%.20s", t.Family, t.Revision, d.Name, t.ID),
		DesiredStatus: t.Desired, KnownStatus: containerStatus(c), ExitCode: c.ExitCode, Type: "NORMAL",
		StartedAt: nonZero(c.StartedAt), FinishedAt: nonZero(c.FinishedAt), CreatedAt: nonZero(c.StartedAt),
		Labels: containerLabels(t, d.Name, reg.DockerLabels), Limits: containerLimitsOf(reg, t.Overrides),
		Ports: portDocs(v.def.NetworkMode, c.Ports), Networks: []networkDoc{v.network()},
		LogDriver: reg.LogConfiguration.LogDriver, LogOptions: reg.LogConfiguration.Options,
	}
	if d == v.container && c.StartedAt.IsZero() {
		doc.KnownStatus = "RUNNING" // the container sent the request
	}
	if d.HealthCheck != nil {
		doc.Health = &healthDoc{Status: string(cmp.Or(c.Health, agent.HealthUnknown)), Output: c.HealthOutput}
	}
	return doc
}

// containerLabels returns a container's labels: those of its definition, and over them those of ECS's agent.
func containerLabels(t *task.Task, name string, own map[string]string) map[string]string {
	labels := map[string]string{}
	maps.Copy(labels, own)
	for label, value := range map[string]string{
		"cluster": t.Cluster, "container-name": name, "task-arn": t.ARN(),
		"task-definition-family": t.Family, "task-definition-version": strconv.Itoa(t.Revision),
	} {
		labels["com.amazonaws.ecs."+label] = value
	}
	return labels
}

// containerLimitsOf returns the limits of a container: those of the overrides, otherwise those of the definition.
func containerLimitsOf(reg registeredContainer, o *task.Overrides) containerLimits {
	limits := containerLimits{CPU: reg.CPU, Memory: cmp.Or(reg.Memory, reg.MemoryReservation)}
	if o != nil && reg.Name != "" {
		over := o.Containers[reg.Name]
		limits.CPU = cmp.Or(over.CPU, limits.CPU)
		limits.Memory = cmp.Or(over.Memory, over.MemoryReservation, limits.Memory)
	}
	return limits
}

// portDocs returns the ports of a container. In awsvpc mode they have no host address.
func portDocs(networkMode string, ports []agent.PortBinding) (all []portDoc) {
	for _, p := range ports {
		port := portDoc{ContainerPort: int(p.Container), Protocol: p.Protocol, HostPort: int(p.Host)}
		if networkMode != agent.NetworkAWSVPC {
			port.HostIP = p.HostIP.String()
		}
		all = append(all, port)
	}
	return all
}

// network returns the network that all containers of the task share.
func (v *view) network() networkDoc {
	n := networkDoc{NetworkMode: v.def.NetworkMode}
	address := v.task.Observed.Address
	if v.sandbox != nil {
		address = v.sandbox.Address
	}
	switch {
	case v.def.NetworkMode == agent.NetworkNone, address == netip.Addr{}:
	case address.Is4():
		n.IPv4Addresses = []string{address.String()}
	default:
		n.IPv6Addresses = []string{address.String()}
	}
	if v.def.NetworkMode == agent.NetworkAWSVPC {
		n.AttachmentIndex = new(int)
	}
	return n
}

func containerStatus(c agent.ContainerStatus) string {
	switch {
	case c.Ended():
		return "STOPPED"
	case c.Running():
		return "RUNNING"
	}
	return "CREATED"
}

func nonZero(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return utc(&t)
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}
