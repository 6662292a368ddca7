package inspect

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/dns/answer"
	"github.com/bakingclouds/rollcall/internal/registry"
)

// types maps the record types that can be explained to their values.
var types = map[string]directory.RecordType{
	"": directory.A, "A": directory.A, "AAAA": directory.AAAA, "SRV": directory.SRV, "CNAME": directory.CNAME,
}

// maxInstances is the largest number of instances that an explanation lists.
const maxInstances = 1000

// lookup answers a question as DNS does, and explains for each instance of the service why it is or is not in the
// answer.
func (a *api) lookup(name, typeName string, client netip.Addr) (*GetLookupOutput, error) {
	t, ok := types[strings.ToUpper(typeName)]
	if !ok {
		return nil, invalid("The type %q is not supported; use A, AAAA, SRV or CNAME", typeName)
	}
	name = directory.CanonicalName(name)
	var r answer.Reply
	a.dns.Answer(answer.Query{Name: name, Type: uint16(t), Client: client, Rand: rand.Uint64()}, &r)
	out := &GetLookupOutput{Rcode: rcodes[r.Rcode], Answer: []Record{}}
	answered := map[string]bool{}
	for _, rec := range r.Answer {
		out.Answer = append(out.Answer, record(name, rec))
		if rec.Instance != nil {
			answered[rec.Instance.ID] = true
		}
	}
	switch {
	case r.OutsideZones:
		out.Rcode, out.Notes = a.outsideZones(name, client)
	case r.View == nil && r.Rcode == answer.NXDomain:
		out.Notes = append(out.Notes, "no instance is registered at this name or below it")
	case r.View != nil:
		out.Service = a.service(r.View, t, answered)
	}
	return out, nil
}

var rcodes = map[answer.Rcode]string{answer.NoError: "NOERROR", answer.NXDomain: "NXDOMAIN", answer.Refused: "REFUSED"}

// outsideZones returns the rcode for a name that no namespace answers for this client, and the reasons.
func (a *api) outsideZones(name string, client netip.Addr) (rcode string, notes []string) {
	for _, z := range a.dns.Directory.Zones(name) {
		ns := z.Namespace()
		notes = append(notes, fmt.Sprintf("namespace %s (%s) answers only clients in %v%s; %v is not one of them",
			ns.Name, ns.ID, ns.Networks, except(ns), client))
	}
	if len(notes) > 0 {
		return "REFUSED", notes
	}
	return "FORWARDED", []string{"no namespace contains this name: queries of tasks and of clients on this machine " +
		"are forwarded to the host's resolvers, and queries of other clients are refused"}
}

func except(ns *directory.Namespace) string {
	if len(ns.ExcludedNetworks) == 0 {
		return ""
	}
	return fmt.Sprintf(", except those in %v", ns.ExcludedNetworks)
}

// service explains all instances of a service.
func (a *api) service(v *directory.View, t directory.RecordType, answered map[string]bool) *Service {
	s := &Service{Namespace: v.Namespace.Name, Name: v.Service.Name, ID: v.Service.ID, Instances: []Instance{}}
	snapshot := a.db.Snapshot()
	sc := arn.Scope{Region: v.Namespace.Region}
	for _, state := range []directory.State{directory.Healthy, directory.Unhealthy, directory.Unready,
		directory.Draining} {
		set := v.In(state)
		for i := 0; i < set.Len() && len(s.Instances) < maxInstances; i++ {
			inst := set.At(i)
			row, err := registry.GetInstance(snapshot, registry.InstanceRef{Scope: sc, ServiceID: v.Service.ID,
				ID: inst.ID})
			if err != nil {
				row = &registry.Instance{} // deregistered in the meantime
			}
			in, why := explain(v, inst, t, answered[inst.ID], row)
			shown := Instance{ID: inst.ID, Address: address(inst), In: in, Why: why}
			if !row.Changed.IsZero() {
				shown.Changed = &row.Changed
			}
			s.Instances = append(s.Instances, shown)
		}
	}
	slices.SortStableFunc(s.Instances, func(a, b Instance) int {
		if a.In != b.In {
			if a.In {
				return -1
			}
			return 1
		}
		return strings.Compare(a.ID, b.ID)
	})
	return s
}

// explain reports whether an instance is in the answer to a question of type t, and why. answered is whether the
// answer has a record of the instance.
func explain(
	v *directory.View, i *directory.Instance, t directory.RecordType, answered bool, row *registry.Instance,
) (in bool, why string) {
	state := "healthy"
	if i.State == directory.Unhealthy {
		state = "unhealthy"
		if !row.Changed.IsZero() {
			state += " since " + row.Changed.UTC().Format(time.RFC3339) + ", by " + string(row.By)
		}
	}
	if answered {
		return true, whyAnswered(v, i, state)
	}
	return false, whyNotAnswered(v, i, t, state)
}

func whyAnswered(v *directory.View, i *directory.Instance, state string) string {
	switch {
	case i.State == directory.Healthy:
		return state
	case i.State == directory.Unhealthy && v.In(directory.Healthy).Len() == 0:
		return state + "; no instance is healthy, so all are answered"
	case i.State == directory.Unhealthy:
		return state + "; the question is for its own name"
	}
	return "the question is for its own name"
}

func whyNotAnswered(v *directory.View, i *directory.Instance, t directory.RecordType, state string) string {
	_, hasType := v.Service.TTL(t)
	switch {
	case !hasType:
		return "the service has no " + typeName(t) + " records"
	case i.State == directory.Draining:
		return "draining: its task is about to be stopped"
	case i.State == directory.Unready:
		return "has never been healthy"
	case i.State == directory.Unhealthy && v.In(directory.Healthy).Len() > 0:
		return state
	case t == directory.A && !i.IPv4.IsValid(), t == directory.AAAA && !i.IPv6.IsValid():
		return "has no address for " + typeName(t) + " records"
	case v.Service.Policy == directory.Weighted:
		return state + ", but a WEIGHTED answer contains one instance, and this answer contains another"
	}
	return state + ", but this answer already contains eight instances"
}

func typeName(t directory.RecordType) string {
	for name, typ := range types {
		if typ == t && name != "" {
			return name
		}
	}
	return ""
}

func address(i *directory.Instance) string {
	switch {
	case i.IPv4.IsValid() && i.Port != 0:
		return netip.AddrPortFrom(i.IPv4, i.Port).String()
	case i.IPv4.IsValid():
		return i.IPv4.String()
	case i.IPv6.IsValid():
		return i.IPv6.String()
	}
	return i.CNAME
}

// record formats a record as a zone file does.
func record(asked string, r answer.Record) Record {
	out := Record{Name: r.Owner.Expand(asked), Type: typeName(directory.RecordType(r.Type)), TTL: int64(r.TTL)}
	switch directory.RecordType(r.Type) {
	case directory.SRV:
		out.Value = fmt.Sprintf("%d %d %s %s.", answer.SRVPriority, answer.SRVWeight, strconv.Itoa(int(r.Port)),
			r.Target.Expand(asked))
	case directory.CNAME:
		out.Value = r.Target.Expand(asked) + "."
	default:
		out.Value = r.Addr.String()
	}
	return out
}
