package metadata

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/task"
)

// The documents of version 4 ("Task metadata endpoint version 4"). What is not known is absent.

type taskView struct {
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
	Containers         []containerView
	TaskTags           map[string]string `json:",omitempty"`
}

type taskLimits struct {
	CPU    float64 `json:",omitempty"` // vCPUs
	Memory int     `json:",omitempty"` // MiB
}

type containerView struct {
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
	Ports         []portView        `json:",omitempty"`
	Networks      []networkView     `json:",omitempty"`
	Health        *healthView       `json:",omitempty"`
	LogDriver     string            `json:",omitempty"`
	LogOptions    map[string]string `json:",omitempty"`
}

type containerLimits struct {
	CPU    int // units
	Memory int `json:",omitempty"` // MiB
}

type portView struct {
	ContainerPort int
	Protocol      string
	HostPort      int    `json:",omitempty"`
	HostIP        string `json:"HostIp,omitempty"`
}

type networkView struct {
	NetworkMode   string
	IPv4Addresses []string `json:",omitempty"`
	IPv6Addresses []string `json:",omitempty"`
	// AttachmentIndex is there in awsvpc mode, where AWS also names the network interface.
	AttachmentIndex *int `json:",omitempty"`
}

type healthView struct {
	Status string `json:"status"`
	Output string `json:"output,omitempty"`
}

// sent is what only the documents show of a definition, in the request that it was registered with. Secrets and the
// environment are not among it.
type sent struct {
	CPU                  string `json:"cpu"`
	Memory               string `json:"memory"`
	ContainerDefinitions []struct {
		Name              string            `json:"name"`
		CPU               int               `json:"cpu"`
		Memory            int               `json:"memory"`
		MemoryReservation int               `json:"memoryReservation"`
		DockerLabels      map[string]string `json:"dockerLabels"`
		LogConfiguration  struct {
			LogDriver string            `json:"logDriver"`
			Options   map[string]string `json:"options"`
		} `json:"logConfiguration"`
	} `json:"containerDefinitions"`
}

func (v *view) sent() (s sent, err error) {
	if err := json.Unmarshal(v.def.Sent, &s); err != nil {
		return s, fmt.Errorf("the definition as it was sent: %w", err)
	}
	return s, nil
}

func containerDocument(v *view) (any, error) {
	s, err := v.sent()
	if err != nil {
		return nil, err
	}
	return v.containerView(s, v.container), nil
}

func taskDocument(v *view) (any, error) { return v.taskView() }

// taskWithTagsDocument adds the task's tags. A node has none.
func taskWithTagsDocument(v *view) (any, error) {
	doc, err := v.taskView()
	if err == nil {
		doc.TaskTags = v.task.Tags
	}
	return doc, err
}

func (v *view) taskView() (*taskView, error) {
	s, err := v.sent()
	if err != nil {
		return nil, err
	}
	t := v.task
	doc := &taskView{
		Cluster: t.Cluster, TaskARN: t.ARN(), Family: t.Family, Revision: strconv.Itoa(t.Revision), ServiceName: t.Service,
		DesiredStatus: t.Desired, KnownStatus: knownStatus(t.Observed.State), ExecutionStoppedAt: utc(t.Observed.EndedAt),
		AvailabilityZone: t.Region + v.Zone, LaunchType: launchType(v.r, t),
	}
	if doc.LaunchType == task.Fargate { // there the whole ARN
		doc.Cluster = (&task.Cluster{Account: t.Account, Region: t.Region, Name: t.Cluster}).ARN()
	}
	units, _ := strconv.Atoi(s.CPU) // registration has made numbers of them
	memory, _ := strconv.Atoi(s.Memory)
	if o := t.Overrides; o != nil {
		units, memory = cmp.Or(o.CPU, units), cmp.Or(o.Memory, memory)
	}
	if units > 0 || memory > 0 {
		doc.Limits = &taskLimits{CPU: float64(units) / 1024, Memory: memory}
	}
	for i := range v.def.Containers {
		doc.Containers = append(doc.Containers, v.containerView(s, &v.def.Containers[i]))
	}
	return doc, nil
}

// knownStatus is a task's state in the agent's words. The task that asks runs, whatever its row says yet.
func knownStatus(s task.State) string {
	if s == task.Stopped {
		return "STOPPED"
	}
	return "RUNNING"
}

// status is a container as the node sees it now, or saw it last.
func (v *view) status(name string) (s agent.ContainerStatus) {
	s.Name = name
	if v.box != nil {
		for _, c := range v.box.Containers {
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

func (v *view) containerView(s sent, d *task.ContainerDefinition) containerView {
	t, c := v.task, v.status(d.Name)
	doc := containerView{
		DockerID: c.RuntimeID, Name: d.Name, Image: d.Image, ContainerARN: t.ContainerARN(d.Name),
		DockerName:    fmt.Sprintf("ecs-%s-%d-%s-%.20s", t.Family, t.Revision, d.Name, t.ID),
		DesiredStatus: t.Desired, KnownStatus: containerStatus(c), ExitCode: c.ExitCode, Type: "NORMAL",
		StartedAt: nonZero(c.StartedAt), FinishedAt: nonZero(c.FinishedAt), CreatedAt: nonZero(c.StartedAt),
		Labels: map[string]string{},
	}
	if d == v.container && c.StartedAt.IsZero() {
		doc.KnownStatus = "RUNNING" // it asks
	}
	for _, sent := range s.ContainerDefinitions {
		if sent.Name != d.Name {
			continue
		}
		for name, value := range sent.DockerLabels {
			doc.Labels[name] = value
		}
		doc.Limits = containerLimits{CPU: sent.CPU, Memory: cmp.Or(sent.Memory, sent.MemoryReservation)}
		if o := t.Overrides; o != nil {
			over := o.Containers[d.Name]
			doc.Limits = containerLimits{CPU: cmp.Or(over.CPU, doc.Limits.CPU), Memory: cmp.Or(over.Memory, over.MemoryReservation, doc.Limits.Memory)}
		}
		doc.LogDriver, doc.LogOptions = sent.LogConfiguration.LogDriver, sent.LogConfiguration.Options
	}
	for name, value := range map[string]string{
		"cluster": t.Cluster, "container-name": d.Name, "task-arn": t.ARN(),
		"task-definition-family": t.Family, "task-definition-version": strconv.Itoa(t.Revision),
	} {
		doc.Labels["com.amazonaws.ecs."+name] = value
	}
	for _, p := range c.Ports {
		port := portView{ContainerPort: int(p.Container), Protocol: p.Protocol, HostPort: int(p.Host)}
		if v.def.NetworkMode != agent.NetworkAWSVPC {
			port.HostIP = p.HostIP.String()
		}
		doc.Ports = append(doc.Ports, port)
	}
	doc.Networks = []networkView{v.network()}
	if d.HealthCheck != nil {
		doc.Health = &healthView{Status: string(cmp.Or(c.Health, agent.HealthUnknown)), Output: c.HealthOutput}
	}
	return doc
}

// network is the one network of every container of the task.
func (v *view) network() networkView {
	n := networkView{NetworkMode: v.def.NetworkMode}
	address := v.task.Observed.Address
	if v.box != nil {
		address = v.box.Address
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
