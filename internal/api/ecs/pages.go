package ecs

import (
	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
	"github.com/bakingclouds/rollcall/internal/api/paging"
)

// page collects the items of one page of a List operation.
type page[T any] struct {
	*paging.Page[T]
	operation string
	after     string // the key of the last item of the previous page; empty for the first page
}

// newPage returns a page of ARNs or names.
func newPage(
	operation string, maxResults *int32, nextToken *string, defaultSize, maxSize int32,
) (*page[string], error) {
	return newPageOf[string](operation, maxResults, nextToken, defaultSize, maxSize)
}

// newPageOf returns the page that maxResults and nextToken of a request select.
func newPageOf[T any](
	operation string, maxResults *int32, nextToken *string, defaultSize, maxSize int32,
) (*page[T], error) {
	size := defaultSize
	if maxResults != nil {
		size = *maxResults
	}
	if size < 1 || size > maxSize {
		return nil, ecserr.Invalid("maxResults must be between 1 and %d", maxSize)
	}
	after, ok := paging.After(operation, aws.ToString(nextToken))
	if !ok {
		return nil, ecserr.Invalid("Invalid token: %s has not returned this nextToken", operation)
	}
	return &page[T]{paging.New[T](int(size)), operation, after}, nil
}

// next returns the token of the next page, or nil if this is the last page.
func (p *page[T]) next() *string { return p.Next(p.operation) }
