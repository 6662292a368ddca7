package ecs

import (
	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/bakingclouds/rollcall/internal/api/paging"
)

// list gathers the ARNs or names of one page of a List operation.
type list struct {
	*paging.Page[string]
	operation string
	after     string // the key to go on behind
}

// newList reads maxResults, usual if absent and at most most, and nextToken.
func newList(operation string, maxResults *int32, nextToken *string, usual, most int32) (*list, error) {
	size := usual
	if maxResults != nil {
		size = *maxResults
	}
	if size < 1 || size > most {
		return nil, invalid("maxResults must be between 1 and %d", most)
	}
	after, ok := paging.After(operation, aws.ToString(nextToken))
	if !ok {
		return nil, invalid("Invalid token: nextToken is none that %s has returned", operation)
	}
	return &list{paging.New[string](int(size)), operation, after}, nil
}

// next is the token of the page behind this one, nil at the end.
func (l *list) next() *string { return l.Next(l.operation) }
