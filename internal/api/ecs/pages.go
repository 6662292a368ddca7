package ecs

import (
	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
	"github.com/bakingclouds/rollcall/internal/api/paging"
)

// list gathers the items of one page of a List operation.
type list[T any] struct {
	*paging.Page[T]
	operation string
	after     string // the key to go on behind
}

// newList makes a page of ARNs or names.
func newList(operation string, maxResults *int32, nextToken *string, usual, most int32) (*list[string], error) {
	return newListOf[string](operation, maxResults, nextToken, usual, most)
}

// newListOf reads maxResults, usual if absent and at most most, and nextToken.
func newListOf[T any](operation string, maxResults *int32, nextToken *string, usual, most int32) (*list[T], error) {
	size := usual
	if maxResults != nil {
		size = *maxResults
	}
	if size < 1 || size > most {
		return nil, ecserr.Invalid("maxResults must be between 1 and %d", most)
	}
	after, ok := paging.After(operation, aws.ToString(nextToken))
	if !ok {
		return nil, ecserr.Invalid("Invalid token: nextToken is none that %s has returned", operation)
	}
	return &list[T]{paging.New[T](int(size)), operation, after}, nil
}

// next is the token of the page behind this one, nil at the end.
func (l *list[T]) next() *string { return l.Next(l.operation) }
