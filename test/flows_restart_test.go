package test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
	"golang.org/x/sync/errgroup"
)

// TestOperationsOverRestart kills the server while registrations are under way. Afterwards every acknowledged one
// is there and its operation a success, none is left that has not ended, and the InstancesRevision goes on where
// it was, also of a service that is made anew.
func TestOperationsOverRestart(t *testing.T) {
	t.Parallel()
	s := serve(t, "--runtime", "none")
	shop := s.Namespace("shop")
	cart := s.Discovery(shop, "cart", 1)
	type acknowledged struct{ instance, operation string }
	acks := make(chan acknowledged)
	var writers errgroup.Group
	for n := range 4 {
		writers.Go(func() error {
			for k := 0; ; k++ {
				id := fmt.Sprintf("i-%d-%d", n, k)
				out, err := s.cloudMapOnce().RegisterInstance(t.Context(), registration(*cart.Id, id, "10.0.0.1"))
				if err != nil {
					return nil // the server is gone
				}
				acks <- acknowledged{id, *out.OperationId}
			}
		})
	}
	go func() {
		writers.Wait()
		close(acks)
	}()
	var all []acknowledged
	var before int64
	for ack := range acks {
		if all = append(all, ack); len(all) == 100 {
			before = s.instancesOf("shop", "cart").revision
			s.Cmd.Process.Kill() // the writers go on until they notice
		}
	}
	s.Kill()

	again := serveOn(t, s.Dir, "--runtime", "none")
	s.Info, s.Keys = again.Info, again.Keys
	api, ctx := s.cloudMapOnce(), t.Context()
	for _, ack := range all {
		op := must[*sd.GetOperationOutput](t)(api.GetOperation(ctx, &sd.GetOperationInput{OperationId: &ack.operation})).Operation
		if op.Status != sdtypes.OperationStatusSuccess || op.Targets["INSTANCE"] != ack.instance {
			t.Errorf("the operation of %s: %s", ack.instance, asJSON(op))
		}
	}
	pending := must[*sd.ListOperationsOutput](t)(api.ListOperations(ctx, &sd.ListOperationsInput{Filters: []sdtypes.OperationFilter{{
		Name: sdtypes.OperationFilterNameStatus, Condition: sdtypes.FilterConditionIn, Values: []string{"SUBMITTED", "PENDING"}}}}))
	if len(pending.Operations) > 0 {
		t.Errorf("operations that have not ended: %s", asJSON(pending.Operations))
	}
	registered := find(t, sd.NewListInstancesPaginator(api, &sd.ListInstancesInput{ServiceId: cart.Id}), func(page *sd.ListInstancesOutput) (ids []string) {
		for _, i := range page.Instances {
			ids = append(ids, *i.Id)
		}
		return ids
	})
	for _, ack := range all {
		if !slices.Contains(registered, ack.instance) {
			t.Errorf("%s was acknowledged and is gone", ack.instance)
		}
	}
	after := s.instancesOf("shop", "cart").revision
	if after < before {
		t.Errorf("the revision fell from %d to %d", before, after)
	}
	for _, id := range registered {
		must[*sd.DeregisterInstanceOutput](t)(api.DeregisterInstance(ctx, &sd.DeregisterInstanceInput{ServiceId: cart.Id, InstanceId: aws.String(id)}))
	}
	emptied := s.instancesOf("shop", "cart").revision
	must[*sd.DeleteServiceOutput](t)(api.DeleteService(ctx, &sd.DeleteServiceInput{Id: cart.Id}))
	s.Discovery(shop, "cart", 1)
	if anew := s.instancesOf("shop", "cart").revision; anew <= emptied || emptied <= after {
		t.Errorf("the revision went from %d over %d, when the last instance had gone, to %d of a service made anew", after, emptied, anew)
	}
}
