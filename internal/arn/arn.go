// Package arn reads and writes Amazon Resource Names, the names of things across services, regions and
// accounts: arn:partition:service:region:account:resource (AWS General Reference, "Amazon Resource Names").
package arn

import (
	"errors"
	"strings"
)

// ARN is one name, taken apart. Resource is all that follows the account: "namespace/ns-1", "task/blog/7f3a".
type ARN struct {
	Partition, Service, Region, Account, Resource string
}

// Scope is the account and the region that a call works in. Each region is a partition of the stored rows: the same
// name can be used once in each.
type Scope struct {
	Account string
	Region  string
}

// Key returns the key of a row in the scope: the region and the parts, joined by slashes.
func (s Scope) Key(parts ...string) string { return s.Region + "/" + strings.Join(parts, "/") }

// Prefix returns the prefix of the keys of all rows in the scope.
func (s Scope) Prefix() string { return s.Region + "/" }

// errMalformed is the one way in which a name can fail to be an ARN.
var errMalformed = errors.New("an ARN has the form arn:partition:service:region:account:resource")

// Is reports whether s is meant to be an ARN rather than a plain id.
func Is(s string) bool { return strings.HasPrefix(s, "arn:") }

// Parse takes an ARN apart. Region and account may be empty, as they are in the ARNs of global things.
func Parse(s string) (ARN, error) {
	p := strings.SplitN(s, ":", 6)
	if len(p) != 6 || p[0] != "arn" || p[1] == "" || p[2] == "" || p[5] == "" {
		return ARN{}, errMalformed
	}
	return ARN{p[1], p[2], p[3], p[4], p[5]}, nil
}

// New makes the ARN of a resource in a region's partition.
func New(service, region, account, resource string) ARN {
	return ARN{Partition(region), service, region, account, resource}
}

// String puts the ARN together.
func (a ARN) String() string {
	return "arn:" + a.Partition + ":" + a.Service + ":" + a.Region + ":" + a.Account + ":" + a.Resource
}

// Split returns the type and the id of a resource written as type/id; a resource without a type is all id.
func (a ARN) Split() (kind, id string) {
	if kind, id, ok := strings.Cut(a.Resource, "/"); ok {
		return kind, id
	}
	return "", a.Resource
}

// Partition is the partition that a region belongs to.
func Partition(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}
