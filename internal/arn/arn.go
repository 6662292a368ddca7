// Package arn parses and formats Amazon Resource Names, which have the form
// arn:partition:service:region:account:resource (AWS General Reference, "Amazon Resource Names"). It also defines
// [Scope], the account and region of a call.
package arn

import (
	"errors"
	"strings"
)

// ARN is a parsed name. Resource is the part after the account, such as "namespace/ns-1" or "task/blog/7f3a".
type ARN struct {
	Partition, Service, Region, Account, Resource string
}

// Scope is the account and the region of a call. Each region has its own rows, so a name can be used once in each.
type Scope struct {
	Account string
	Region  string
}

// Key returns the key of a row in the scope: the region and the parts, joined by slashes.
func (s Scope) Key(parts ...string) string { return s.Region + "/" + strings.Join(parts, "/") }

// Prefix returns the prefix of the keys of all rows in the scope.
func (s Scope) Prefix() string { return s.Region + "/" }

// errMalformed is the error for every string that is not an ARN.
var errMalformed = errors.New("an ARN has the form arn:partition:service:region:account:resource")

// Is reports whether s has the prefix of an ARN, so that it is not a plain id.
func Is(s string) bool { return strings.HasPrefix(s, "arn:") }

// Parse parses an ARN. The region and the account may be empty, as they are for global resources.
func Parse(s string) (ARN, error) {
	p := strings.SplitN(s, ":", 6)
	if len(p) != 6 || p[0] != "arn" || p[1] == "" || p[2] == "" || p[5] == "" {
		return ARN{}, errMalformed
	}
	return ARN{p[1], p[2], p[3], p[4], p[5]}, nil
}

// New returns the ARN of a resource, in the partition of its region.
func New(service, region, account, resource string) ARN {
	return ARN{Partition(region), service, region, account, resource}
}

// String formats the ARN.
func (a ARN) String() string {
	return "arn:" + a.Partition + ":" + a.Service + ":" + a.Region + ":" + a.Account + ":" + a.Resource
}

// Split splits a resource of the form type/id. A resource without a slash has an id and no type.
func (a ARN) Split() (kind, id string) {
	if kind, id, ok := strings.Cut(a.Resource, "/"); ok {
		return kind, id
	}
	return "", a.Resource
}

// Partition returns the partition of a region.
func Partition(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}
