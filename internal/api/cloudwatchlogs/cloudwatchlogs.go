// Package cloudwatchlogs serves the part of the API of Amazon CloudWatch Logs (version 2014-03-28) with which clients
// read container logs: "aws logs tail", the SDKs' readers, and Terraform's aws_cloudwatch_log_group.
//
//	cloudwatchlogs.go  New, errors, names and ARNs
//	groups.go          log groups, their retention and tags: rows of package loggroup
//	streams.go         log streams: logs of package containerlog that a task's awslogs driver writes to a group
//	events.go          FilterLogEvents and GetLogEvents
//	pattern.go         filter patterns
//
// Events are the lines that containers have printed, with the time at which the node read them. Clients cannot write
// events. docs/compat/logs.md lists the differences from AWS.
package cloudwatchlogs

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/containerlog"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/loggroup"
	"github.com/bakingclouds/rollcall/internal/store"
)

type api struct {
	db   *store.Store
	logs *containerlog.Catalog
	now  func() time.Time
}

// New returns the API for the logs of this node.
func New(db *store.Store, logs *containerlog.Catalog, now func() time.Time) *awsapi.Service {
	a := &api{db, logs, now}
	s := &awsapi.Service{TargetPrefix: "Logs_20140328", SigningName: "logs", Naming: awsapi.LowerCamel,
		ErrorOf: wireError}
	awsapi.Handle(s, a.createLogGroup)
	awsapi.Handle(s, a.deleteLogGroup)
	awsapi.Handle(s, a.describeLogGroups)
	awsapi.Handle(s, a.putRetentionPolicy)
	awsapi.Handle(s, a.deleteRetentionPolicy)
	awsapi.Handle(s, a.listTagsForResource)
	awsapi.Handle(s, a.tagResource)
	awsapi.Handle(s, a.untagResource)
	awsapi.Handle(s, a.listTagsLogGroup)
	awsapi.Handle(s, a.tagLogGroup)
	awsapi.Handle(s, a.untagLogGroup)
	awsapi.Handle(s, a.describeLogStreams)
	awsapi.Handle(s, a.filterLogEvents)
	awsapi.Handle(s, a.getLogEvents)
	awsapi.Handle(s, func(context.Context, *sdk.StartLiveTailInput) (*sdk.StartLiveTailOutput, error) {
		return nil, &types.InvalidOperationException{
			Message: aws.String("This server does not support live tail; use aws logs tail --follow.")}
	})
	return s
}

// wireErrors is the table from the domain's faults to the exceptions of CloudWatch Logs.
var wireErrors = awsapi.Errors{
	fault.Invalid: {
		"": func(f *fault.Error) error { return &types.InvalidParameterException{Message: &f.Msg} },
	},
	fault.NotFound: {
		"": func(f *fault.Error) error { return &types.ResourceNotFoundException{Message: &f.Msg} },
	},
	fault.Exists: {
		"": func(f *fault.Error) error { return &types.ResourceAlreadyExistsException{Message: &f.Msg} },
	},
	fault.Limit: {
		"tags": func(f *fault.Error) error { return &types.TooManyTagsException{Message: &f.Msg} },
	},
}

// wireError translates errors of log files and faults of the domain.
func wireError(err error) error {
	if errors.Is(err, containerlog.ErrBusy) {
		return &types.ServiceUnavailableException{Message: aws.String("The log is being truncated; try again.")}
	}
	return wireErrors.Translate(err)
}

func invalid(format string, args ...any) error {
	return fault.New(fault.Invalid, "parameter", format, args...)
}

// broken returns the error for a member that breaks a constraint of the API's model, in AWS's words.
func broken(value, member, constraint string) error {
	return invalid("1 validation error detected: %s at '%s' failed to satisfy constraint: %s",
		value, member, constraint)
}

// update runs the transaction of a call.
func (a *api) update(ctx context.Context, fn func(tx *store.Tx) error) error {
	_, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (struct{}, error) { return struct{}{}, fn(tx) })
	return err
}

// groupName checks a required name of a log group.
func groupName(name *string) (string, error) {
	switch s := aws.ToString(name); {
	case s == "":
		return "", broken("Value null", "logGroupName", "Member must not be null")
	case !loggroup.ValidName(s):
		return "", broken("Value", "logGroupName",
			"Member must have 1 to 512 of the characters a-z, A-Z, 0-9, '_', '-', '/', '.' and '#'")
	default:
		return s, nil
	}
}

// nameInARN returns the name of a group from its ARN, which may end in ":*".
func nameInARN(sc arn.Scope, s string) (string, error) {
	a, err := arn.Parse(s)
	name, ok := strings.CutPrefix(a.Resource, "log-group:")
	name = strings.TrimSuffix(name, ":*")
	switch {
	case err != nil || a.Service != "logs" || !ok || !loggroup.ValidName(name):
		return "", invalid("The ARN %.600q is not the ARN of a log group.", s)
	case a.Region != sc.Region || a.Account != sc.Account:
		return "", fault.New(fault.NotFound, "log group", "The specified log group does not exist.")
	}
	return name, nil
}

// group finds a group by its name or by an identifier, which is a name or an ARN.
func (a *api) group(sc arn.Scope, name, identifier *string) (*loggroup.Group, error) {
	var err error
	n := aws.ToString(name)
	switch id := aws.ToString(identifier); {
	case n != "" && id != "":
		return nil, invalid("Exactly one of logGroupName and logGroupIdentifier must be specified.")
	case arn.Is(id):
		if n, err = nameInARN(sc, id); err != nil {
			return nil, err
		}
	case id != "":
		n = id
	}
	if n, err = groupName(&n); err != nil {
		return nil, err
	}
	return loggroup.Get(a.db.Snapshot(), sc, n)
}
