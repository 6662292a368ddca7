package cloudmap

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/api/paging"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/registry"
)

func (a *api) getOperation(ctx context.Context, in *sd.GetOperationInput) (*sd.GetOperationOutput, error) {
	var c constraints
	c.requiredText(in.OperationId, "operationId", operationID)
	c.optionalText(in.OwnerAccount, "ownerAccount", accountID)
	if err := c.err(); err != nil {
		return nil, err
	}
	sc := awsapi.ScopeFrom(ctx)
	if in.OwnerAccount != nil && *in.OwnerAccount != sc.Account {
		return nil, fault.New(fault.NotFound, "operation", "Account %s does not share an operation", *in.OwnerAccount)
	}
	op, err := registry.GetOperation(a.snapshot(ctx), sc, *in.OperationId)
	if err != nil {
		return nil, err
	}
	targets := map[string]string{}
	for target, id := range map[types.OperationTargetType]string{
		types.OperationTargetTypeNamespace: op.Targets.Namespace,
		types.OperationTargetTypeService:   op.Targets.Service,
		types.OperationTargetTypeInstance:  op.Targets.Instance,
	} {
		if id != "" {
			targets[string(target)] = id
		}
	}
	return &sd.GetOperationOutput{Operation: &types.Operation{
		Id: &op.ID, OwnerAccount: &sc.Account, Type: types.OperationType(op.Type), Status: status(op), Targets: targets,
		ErrorCode: awsapi.StringOrNil(op.ErrorCode), ErrorMessage: awsapi.StringOrNil(op.ErrorMessage),
		CreateDate: &op.Created, UpdateDate: &op.Created,
	}}, nil
}

// status returns SUCCESS or FAIL: an operation that a caller can read has ended.
func status(op *registry.Operation) types.OperationStatus {
	if op.ErrorCode != "" {
		return types.OperationStatusFail
	}
	return types.OperationStatusSuccess
}

var operationFilters = conditions{
	"NAMESPACE_ID": byName, "SERVICE_ID": byName, "STATUS": byName, "TYPE": byName, "UPDATE_DATE": byTime,
}

func (a *api) listOperations(ctx context.Context, in *sd.ListOperationsInput) (*sd.ListOperationsOutput, error) {
	var c constraints
	var fs filters
	for i, f := range in.Filters {
		fs.add(&c, i, operationFilters, string(f.Name), f.Condition, f.Values)
	}
	periods, fs := c.periods(fs)
	max, before := c.page("ListOperations", in.MaxResults, in.NextToken)
	if err := c.err(); err != nil {
		return nil, err
	}
	sc := awsapi.ScopeFrom(ctx)
	fs.normalize(sc)
	page := paging.New[types.OperationSummary](max)
	registry.ScanOperations(a.snapshot(ctx), sc, before, func(op *registry.Operation) bool {
		matches := fs.match(func(name string) string {
			switch name {
			case "NAMESPACE_ID":
				return op.NamespaceID
			case "SERVICE_ID":
				return op.Targets.Service
			case "STATUS":
				return string(status(op))
			default:
				return string(op.Type)
			}
		})
		outside := func(p period) bool { return op.Created.Before(p.from) || op.Created.After(p.to) }
		return !matches || slices.ContainsFunc(periods, outside) ||
			page.Add(op.ID, types.OperationSummary{Id: &op.ID, Status: status(op)})
	})
	return &sd.ListOperationsOutput{Operations: page.Items, NextToken: page.Next("ListOperations")}, nil
}

// normalize replaces ARNs in filters by ids, and SUCCEED, another name of the status in AWS's documentation, by
// SUCCESS.
func (fs filters) normalize(sc arn.Scope) {
	for _, f := range fs {
		for i, v := range f.values {
			switch {
			case f.name == "NAMESPACE_ID":
				f.values[i] = plainID(sc, namespaceResource, v)
			case f.name == "SERVICE_ID":
				f.values[i] = plainID(sc, serviceResource, v)
			case f.name == "STATUS" && v == "SUCCEED":
				f.values[i] = string(types.OperationStatusSuccess)
			}
		}
	}
}

// period is a range of times that includes both ends.
type period struct{ from, to time.Time }

// periods separates the filters by time from fs. Their values are seconds since 1970, possibly with a fraction.
func (c *constraints) periods(fs filters) (ps []period, rest filters) {
	for _, f := range fs {
		if f.condition != types.FilterConditionBetween {
			rest = append(rest, f)
			continue
		}
		var at [2]time.Time
		for i, v := range f.values {
			seconds, err := strconv.ParseFloat(v, 64)
			if err != nil || math.IsNaN(seconds) || math.Abs(seconds) > 1e11 {
				c.add(v, fmt.Sprintf("filters.%s.values", f.name), "Member must be a time in seconds since 1970")
				continue
			}
			at[i] = time.UnixMilli(int64(math.Round(seconds * 1000)))
		}
		// Rows have finer times than the milliseconds that clients see.
		ps = append(ps, period{at[0], at[1].Add(time.Millisecond - 1)})
	}
	return ps, rest
}
