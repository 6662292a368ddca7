package cloudmap

import (
	"strconv"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/directory"
)

// discovered is the output of DiscoverInstances: instances of a view. Both belong to the directory and never change.
type discovered struct {
	view      *directory.View
	instances []*directory.Instance
}

// AppendJSON writes what [awsapi.Naming.Append] would write for an [sd.DiscoverInstancesOutput]. This response is by
// far the most frequent and one of the longest, and the directory already has the JSON of the attributes.
func (d discovered) AppendJSON(dst []byte) []byte {
	names := appendMember([]byte(","), "NamespaceName", d.view.Namespace.HTTPName)
	names = append(appendMember(append(names, ','), "ServiceName", d.view.Service.Name), '}')
	dst = append(dst, `{"Instances":[`...)
	for k, i := range d.instances {
		if k > 0 {
			dst = append(dst, ',')
		}
		dst = i.Attributes.AppendJSON(append(dst, `{"Attributes":`...))
		dst = append(append(append(dst, `,"HealthStatus":"`...), healthOf(d.view, i)...), `",`...)
		dst = append(appendMember(dst, "InstanceId", i.ID), names...)
	}
	dst = append(dst, `],"InstancesRevision":`...)
	return append(strconv.AppendInt(dst, d.view.Service.Revision, 10), '}')
}

func appendMember(dst []byte, name, value string) []byte {
	dst = append(append(append(dst, '"'), name...), `":`...)
	return awsapi.AppendString(dst, value)
}
