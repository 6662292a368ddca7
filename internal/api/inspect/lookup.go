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
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/registry"
)

// types are the record types that can be asked for by name.
var types = map[string]directory.RecordType{
	"": directory.A, "A": directory.A, "AAAA": directory.AAAA, "SRV": directory.SRV, "CNAME": directory.CNAME,
}

// most is how many instances an explanation lists.
const most = 1000

// lookup answers a question as DNS does, and says of each instance of the service whether it is in the
// answer and why.
func (a *api) lookup(name, typeName string, client netip.Addr) (*GetLookupOutput, error) {
	t, ok := types[strings.ToUpper(typeName)]
	if !ok {
		return nil, fault.New(fault.Invalid, "input", "The type %q cannot be explained; choose A, AAAA, SRV or CNAME", typeName)
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
		out.Rcode, out.Notes = a.notOurs(name, client)
	case r.View == nil && r.Rcode == answer.NXDomain:
		out.Notes = append(out.Notes, "nothing is registered at this name or below it")
	case r.View != nil:
		out.Service = a.service(r.View, t, answered)
	}
	return out, nil
}

var rcodes = map[answer.Rcode]string{answer.NoError: "NOERROR", answer.NXDomain: "NXDOMAIN", answer.Refused: "REFUSED"}

// notOurs says what becomes of a name that no namespace answers to this client, and which hold it for others.
func (a *api) notOurs(name string, client netip.Addr) (rcode string, notes []string) {
	for _, z := range a.dns.Directory.Zones(name) {
		ns := z.Namespace()
		notes = append(notes, fmt.Sprintf("namespace %s (%s) answers clients in %v only%s, and %v is not one", ns.Name, ns.ID, ns.Networks, except(ns), client))
	}
	if len(notes) > 0 {
		return "REFUSED", notes
	}
	return "FORWARDED", []string{"no namespace holds this name: it is forwarded to the host's resolvers for tasks and clients on this machine, and refused to others"}
}

func except(ns *directory.Namespace) string {
	if len(ns.ExcludedNetworks) == 0 {
		return ""
	}
	return fmt.Sprintf(", but for those in %v", ns.ExcludedNetworks)
}

// service explains every instance of a service.
func (a *api) service(v *directory.View, t directory.RecordType, answered map[string]bool) *Service {
	s := &Service{Namespace: v.Namespace.Name, Name: v.Service.Name, ID: v.Service.ID, Instances: []Instance{}}
	snapshot := a.db.Snapshot()
	sc := arn.Scope{Region: v.Namespace.Region}
	for _, state := range []directory.State{directory.Healthy, directory.Unhealthy, directory.Unready, directory.Draining} {
		set := v.In(state)
		for i := 0; i < set.Len() && len(s.Instances) < most; i++ {
			inst := set.At(i)
			row, err := registry.GetInstance(snapshot, registry.InstanceRef{Scope: sc, ServiceID: v.Service.ID, ID: inst.ID})
			if err != nil {
				row = &registry.Instance{} // deregistered since
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

// explain says whether an instance is in the answer to a question of a type, and why.
func explain(v *directory.View, i *directory.Instance, t directory.RecordType, answered bool, row *registry.Instance) (in bool, why string) {
	state := "healthy"
	if i.State == directory.Unhealthy {
		state = "unhealthy"
		if !row.Changed.IsZero() {
			state += " since " + row.Changed.UTC().Format(time.RFC3339) + ", by " + string(row.By)
		}
	}
	_, has := v.Service.TTL(t)
	switch {
	case answered && i.State != directory.Healthy && i.State != directory.Unhealthy:
		return true, "it is asked for by its own name"
	case !answered && !has:
		return false, "the service has no " + typeName(t) + " records"
	case i.State == directory.Draining:
		return false, "draining: it is about to be stopped"
	case i.State == directory.Unready:
		return false, "never healthy yet"
	case i.State == directory.Unhealthy && v.In(directory.Healthy).Len() > 0:
		return false, state
	case answered && i.State == directory.Unhealthy:
		return true, state + "; so are all, and then all are answered"
	case answered:
		return true, state
	case t == directory.A && !i.IPv4.IsValid(), t == directory.AAAA && !i.IPv6.IsValid():
		return false, "it has no address for " + typeName(t) + " records"
	case v.Service.Policy == directory.Weighted:
		return false, state + ", but WEIGHTED answers hold one instance, and this one chose another"
	}
	return false, state + ", but beyond the eight that this answer holds"
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

// record writes a record as a zone file does.
func record(asked string, r answer.Record) Record {
	out := Record{Name: r.Owner.Expand(asked), Type: typeName(directory.RecordType(r.Type)), TTL: int64(r.TTL)}
	switch directory.RecordType(r.Type) {
	case directory.SRV:
		out.Value = fmt.Sprintf("%d %d %s %s.", answer.SRVPriority, answer.SRVWeight, strconv.Itoa(int(r.Port)), r.Target.Expand(asked))
	case directory.CNAME:
		out.Value = r.Target.Expand(asked) + "."
	default:
		out.Value = r.Addr.String()
	}
	return out
}
