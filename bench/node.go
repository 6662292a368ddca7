package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/api/cloudmap"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/control/publish"
	"github.com/bakingclouds/rollcall/internal/control/registrar"
	"github.com/bakingclouds/rollcall/internal/control/rollout"
	"github.com/bakingclouds/rollcall/internal/control/scheduler"
	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/dns/answer"
	"github.com/bakingclouds/rollcall/internal/dns/server"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/etcd"
)

// The configuration of the servers.
const (
	keyPrefix     = "/rollcall/"
	region        = "us-east-1"
	account       = "000000000000"
	namespaceName = "bench.internal"
)

var scope = arn.Scope{Account: account, Region: region}

// pair need not be secret: the node listens on loopback, and only during a measurement.
var pair = awsapi.Pair{AccessKeyID: "AKIABENCH", Secret: "bench", Role: awsapi.Administrator}

// The services of the node. The names of those to discover contain their number of instances.
const (
	targetService  = "target"  // of registrations
	visibleService = "visible" // of registrations that are queried by name: it has SRV records
)

func discoverService(n int) string { return fmt.Sprintf("discover-%d", n) }

var discovered = []int{10, 100}

// nodeAt holds the addresses and services of a node.
type nodeAt struct {
	API, DNS     string
	BareRegister string // a handler that only makes the transaction of a registration
	BareDiscover string // a handler that returns a fixed response
	Control      string
	ServiceIDs   map[string]string // by name
}

// runNode runs a server as package app builds it, but with access to its etcd client, so that a bare handler can write
// to the same etcd in the same process. There are no tasks, so the loops are idle.
func runNode(ctx context.Context, args roleArgs, ready func(any)) error {
	log := slog.New(slog.DiscardHandler)
	node, err := open(ctx, args.Dir, log)
	if err != nil {
		return err
	}
	defer node.close()
	db := node.db
	dir := directory.New()
	publish.Follow(db, dir, func(string, string) (in, except []netip.Prefix) { return nil, nil })
	rollout.New(db, log)
	scheduler.New(db, log)
	registrar.New(db, log, "a", time.Minute)

	at := nodeAt{ServiceIDs: map[string]string{}}
	if err := populate(ctx, db, at.ServiceIDs); err != nil {
		return err
	}
	keys, err := awsapi.NewKeys(pair)
	if err != nil {
		return err
	}
	aws := http.NewServeMux() // as in package app
	aws.Handle("/", awsapi.NewHandler(awsapi.Config{Account: account, Keys: keys, Logger: log},
		cloudmap.New(db, dir, nil, time.Now)))
	bare, err := bareRegister(ctx, node.engine, at.ServiceIDs)
	if err != nil {
		return err
	}
	var canned atomic.Pointer[[]byte]
	for addr, handler := range map[*string]http.Handler{
		&at.API: aws, &at.BareRegister: bare, &at.BareDiscover: bareDiscover(&canned),
	} {
		var closeHTTP func()
		if *addr, closeHTTP, err = serveHTTP(handler); err != nil {
			return err
		}
		defer closeHTTP()
	}
	names := server.New(server.Config{Authority: &answer.Authority{Directory: dir}, Log: log})
	defer names.Shutdown()
	dns, err := names.Listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	at.DNS = dns.String()
	control, closeControl, err := control{canned: func(b []byte) { canned.Store(&b) }}.serve()
	if err != nil {
		return err
	}
	defer closeControl()
	at.Control = control
	ready(at)
	<-ctx.Done()
	return nil
}

// populate creates the namespace and the services, and registers the instances of those to be discovered.
func populate(ctx context.Context, db *store.Store, ids map[string]string) error {
	_, err := store.Update(ctx, db, func(tx *store.Tx) (struct{}, error) {
		op, err := registry.CreateNamespace(tx, scope, registry.NamespaceSpec{Kind: registry.Private, Name: namespaceName,
			VPC: "vpc-bench"}, registry.NewCall(time.Now()))
		if err != nil {
			return struct{}{}, err
		}
		create := func(name string, records ...registry.Record) error {
			svc, err := registry.CreateService(tx, scope, registry.ServiceSpec{NamespaceID: op.Targets.Namespace, Name: name,
				HasDNS: true, Records: records, CustomHealth: true}, registry.NewCall(time.Now()))
			if err == nil {
				ids[name] = svc.ID
			}
			return err
		}
		if err := create(targetService, registry.Record{Type: registry.A, TTL: 60}); err != nil {
			return struct{}{}, err
		}
		if err := create(visibleService, registry.Record{Type: registry.SRV, TTL: 60}); err != nil {
			return struct{}{}, err
		}
		for _, n := range discovered {
			if err := create(discoverService(n), registry.Record{Type: registry.A, TTL: 60}); err != nil {
				return struct{}{}, err
			}
			for i := range n {
				if _, err := registry.RegisterInstance(tx, scope, instanceSpec(ids[discoverService(n)], i),
					registry.NewCall(time.Now())); err != nil {
					return struct{}{}, err
				}
			}
		}
		_, err = registry.RegisterInstance(tx, scope, instanceSpec(ids[targetService], 0), registry.NewCall(time.Now()))
		return struct{}{}, err
	})
	if err != nil {
		return fmt.Errorf("fill the node: %w", err)
	}
	return nil
}

// instanceSpec returns instance i of a service, with the attributes of a task of an ECS service.
func instanceSpec(service string, i int) registry.InstanceSpec {
	return registry.InstanceSpec{ServiceID: service, ID: instanceID(i), Attributes: attributes(i)}
}

// instanceID returns an id with the length of a task's id.
func instanceID(i int) string { return fmt.Sprintf("%032x", i) }

func attributes(i int) map[string]string {
	return map[string]string{
		"AVAILABILITY_ZONE":          region + "a",
		"AWS_INIT_HEALTH_STATUS":     "HEALTHY",
		"AWS_INSTANCE_IPV4":          address(i).String(),
		"AWS_INSTANCE_PORT":          "8080",
		"ECS_CLUSTER_NAME":           "default",
		"ECS_SERVICE_NAME":           "backend",
		"ECS_TASK_DEFINITION_FAMILY": "backend",
		"REGION":                     region,
	}
}

func address(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

// bareRegister only makes the two-row transaction of a registration: an instance and its operation, with a comparison
// of the service's row. The rows are those of a real registration; their keys differ, but have the same length.
func bareRegister(ctx context.Context, engine *etcd.Server, ids map[string]string) (http.Handler, error) {
	client, err := engine.Client()
	if err != nil {
		return nil, err
	}
	last := func(prefix string) (key string, value string, rev int64, err error) {
		got, err := client.Get(ctx, keyPrefix+prefix, clientv3.WithPrefix(), clientv3.WithLimit(1),
			clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortDescend))
		if err != nil {
			return "", "", 0, err
		}
		if len(got.Kvs) == 0 {
			return "", "", 0, fmt.Errorf("no row with the prefix %s in etcd", prefix)
		}
		return string(got.Kvs[0].Key), string(got.Kvs[0].Value), got.Kvs[0].ModRevision, nil
	}
	instanceKey, instance, _, err := last("registry/instance/" + region + "/" + ids[targetService] + "/")
	if err != nil {
		return nil, err
	}
	operationKey, operation, _, err := last("registry/operation/")
	if err != nil {
		return nil, err
	}
	serviceKey, _, serviceRev, err := last("registry/service/" + region + "/" + ids[targetService])
	if err != nil {
		return nil, err
	}
	var count atomic.Int64
	answer := []byte(`{"OperationId":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-mfkg9xq0"}`)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := fmt.Sprintf("%012d", count.Add(1))
		key := func(like string) string { return "/bare" + like[5:len(like)-len(n)] + n }
		resp, err := client.Txn(r.Context()).
			If(clientv3.Compare(clientv3.ModRevision(serviceKey), "=", serviceRev)).
			Then(clientv3.OpPut(key(instanceKey), instance), clientv3.OpPut(key(operationKey), operation)).
			Commit()
		if err != nil || !resp.Succeeded {
			http.Error(w, fmt.Sprint("the bare transaction failed: ", err), http.StatusInternalServerError)
			return
		}
		writeBare(w, answer)
	}), nil
}

// bareDiscover writes a fixed response.
func bareDiscover(canned *atomic.Pointer[[]byte]) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { writeBare(w, *canned.Load()) })
}

// writeBare responds like the API, with a content type, so that net/http does not detect one, and a request id.
func writeBare(w http.ResponseWriter, body []byte) {
	w.Header()["Content-Type"] = []string{"application/x-amz-json-1.1"}
	w.Header()["X-Amzn-Requestid"] = []string{"00000000-0000-0000-0000-000000000000"}
	w.Write(body)
}
