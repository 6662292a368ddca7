package cloudmap_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"golang.org/x/sync/errgroup"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/dns/answer"
	"github.com/bakingclouds/rollcall/internal/registry"
)

// linearCall is a client's call for an instance. Each registration has a different address, so that a read identifies
// the registration that it sees, also in DNS.
type linearCall struct {
	do       linearDo
	instance int
	address  string // for register
}

type linearDo string

const (
	doRegister   linearDo = "register"
	doDeregister linearDo = "deregister"
	doRead       linearDo = "read"
)

// linearResult is the result of a read or a deregistration.
type linearResult struct {
	address string // of a read; "" if the instance is not registered
	found   bool   // of a deregistration
}

// instanceModel models one instance as a register that contains its address, or "" if it is not registered.
var instanceModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		parts := make([][]porcupine.Operation, linearInstances)
		for _, op := range history {
			i := op.Input.(linearCall).instance
			parts[i] = append(parts[i], op)
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		in, out := input.(linearCall), output.(linearResult)
		switch in.do {
		case doRegister:
			return true, in.address
		case doDeregister:
			return out.found == (state != ""), ""
		default:
			return out.address == state, state
		}
	},
	DescribeOperation: func(input, output any) string {
		in, out := input.(linearCall), output.(linearResult)
		return fmt.Sprintf("%s %s -> %q %v", in.do, in.address, out.address, out.found)
	},
}

const (
	linearInstances = 3
	linearWriters   = 3
	linearReaders   = 4
	linearRounds    = 80
)

// observation is the result of one read: the address of each instance that the read covers.
type observation map[int]string

// TestLinearizable lets clients register, deregister and read a few instances concurrently, through rows (GetInstance,
// ListInstances) and through the directory (DiscoverInstances, DNS at the service's name and at the instances' names).
// It then searches for an order of all calls that is consistent with their times and explains all results.
func TestLinearizable(t *testing.T) {
	w := newWorld(t)
	l := &linearWorld{world: w, began: time.Now()}
	l.service = w.service(w.privateNamespace("linear.test", "vpc-1"), "s", "A 1, SRV 1")
	history := l.run([]func(int) (observation, error){l.get, l.list, l.discover, l.ask, l.askHost})
	result, info := porcupine.CheckOperationsVerbose(instanceModel, history, time.Minute)
	if result == porcupine.Ok {
		t.Logf("found an order of %d calls", len(history))
		return
	}
	file := filepath.Join(t.ArtifactDir(), "history.html")
	if err := porcupine.VisualizePath(instanceModel, info, file); err != nil {
		t.Log(err)
	}
	t.Fatalf("no order explains the %d calls: %s; with -artifacts, go test keeps a visualization in %s", len(history),
		result, file)
}

// linearWorld is a world with one service, whose instances the test writes and reads.
type linearWorld struct {
	*world
	service string
	began   time.Time
}

// run lets writers do their rounds while readers read, each in all ways by turns. It returns the history of all calls.
func (l *linearWorld) run(reads []func(int) (observation, error)) (history []porcupine.Operation) {
	var writers, readers errgroup.Group
	logs := make([][]porcupine.Operation, linearWriters+linearReaders)
	for client := range linearWriters {
		writers.Go(func() error { return l.write(client, &logs[client]) })
	}
	written := make(chan struct{})
	for k := range linearReaders {
		client := linearWriters + k
		readers.Go(func() error {
			for turn := 0; ; turn++ {
				select {
				case <-written:
					return nil
				default:
				}
				began := l.elapsed()
				seen, err := reads[turn%len(reads)](rand.IntN(linearInstances))
				if err != nil {
					return err
				}
				ended := l.elapsed()
				for i, address := range seen {
					logs[client] = append(logs[client], porcupine.Operation{ClientId: client, Call: began,
						Return: ended,
						Input:  linearCall{do: doRead, instance: i}, Output: linearResult{address: address}})
				}
			}
		})
	}
	if err := writers.Wait(); err != nil {
		l.t.Error(err)
	}
	close(written)
	if err := readers.Wait(); err != nil {
		l.t.Error(err)
	}
	return slices.Concat(logs...)
}

// elapsed returns the time since the start, in nanoseconds.
func (l *linearWorld) elapsed() int64 { return int64(time.Since(l.began)) }

// write registers and deregisters each instance in turn, two registrations for each deregistration on average.
func (l *linearWorld) write(client int, log *[]porcupine.Operation) error {
	for round := range linearRounds {
		call := linearCall{do: doRegister, instance: (client + round) % linearInstances}
		var result linearResult
		id := instanceName(call.instance)
		began := l.elapsed()
		if rand.IntN(3) == 0 {
			call.do = doDeregister
			_, err := l.DeregisterInstance(l.t.Context(), &sd.DeregisterInstanceInput{ServiceId: &l.service,
				InstanceId: &id})
			if err != nil && apitest.ErrorCode(err) != "InstanceNotFound" {
				return err
			}
			result.found = err == nil
		} else {
			call.address = fmt.Sprintf("10.%d.%d.%d", call.instance, client, round)
			_, err := l.RegisterInstance(l.t.Context(), &sd.RegisterInstanceInput{ServiceId: &l.service,
				InstanceId: &id,
				Attributes: map[string]string{registry.AttrIPv4: call.address, registry.AttrPort: "80"}})
			if err != nil {
				return err
			}
		}
		*log = append(*log, porcupine.Operation{ClientId: client, Call: began, Return: l.elapsed(), Input: call,
			Output: result})
	}
	return nil
}

func instanceName(i int) string { return fmt.Sprint("i", i) }

// none returns an observation in which no instance is registered.
func none() observation {
	seen := observation{}
	for i := range linearInstances {
		seen[i] = ""
	}
	return seen
}

// add adds an address under its instance.
func (o observation) add(address netip.Addr) { o[int(address.As4()[1])] = address.String() }

// The kinds of reads. one is the instance of those that read a single one.

func (l *linearWorld) get(one int) (observation, error) {
	id := instanceName(one)
	out, err := l.GetInstance(l.t.Context(), &sd.GetInstanceInput{ServiceId: &l.service, InstanceId: &id})
	switch {
	case apitest.ErrorCode(err) == "InstanceNotFound":
		return observation{one: ""}, nil
	case err != nil:
		return nil, err
	}
	return observation{one: out.Instance.Attributes[registry.AttrIPv4]}, nil
}

func (l *linearWorld) list(int) (observation, error) {
	out, err := l.ListInstances(l.t.Context(), &sd.ListInstancesInput{ServiceId: &l.service})
	if err != nil {
		return nil, err
	}
	seen := none()
	for _, i := range out.Instances {
		seen.add(netip.MustParseAddr(i.Attributes[registry.AttrIPv4]))
	}
	return seen, nil
}

func (l *linearWorld) discover(int) (observation, error) {
	out, err := l.DiscoverInstances(l.t.Context(), &sd.DiscoverInstancesInput{NamespaceName: s("linear.test"),
		ServiceName: s("s")})
	if err != nil {
		return nil, err
	}
	seen := none()
	for _, i := range out.Instances {
		seen.add(netip.MustParseAddr(i.Attributes[registry.AttrIPv4]))
	}
	return seen, nil
}

func (l *linearWorld) ask(int) (observation, error) {
	seen := none()
	for _, rr := range l.answered("s.linear.test") {
		seen.add(rr.Addr)
	}
	return seen, nil
}

func (l *linearWorld) askHost(one int) (observation, error) {
	seen := observation{one: ""}
	for _, rr := range l.answered(instanceName(one) + ".s.linear.test") {
		seen.add(rr.Addr)
	}
	return seen, nil
}

// answered returns the A records of a name.
func (l *linearWorld) answered(name string) []answer.Record {
	var r answer.Reply
	(&answer.Authority{Directory: l.dir}).Answer(answer.Query{Name: name, Type: uint16(directory.A),
		Client: netip.MustParseAddr("127.0.0.1"), Rand: rand.Uint64()}, &r)
	return r.Answer
}
