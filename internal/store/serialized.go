package store

import "context"

// UpdateSerialized is [Update] for transactions that are likely to conflict with each other. This process runs the
// transactions of one queue one at a time, which costs less than conflicts and retries. The time spent in the queue
// does not count against [WriteTimeout].
func UpdateSerialized[R any](ctx context.Context, s *Store, queue string, fn func(*Tx) (R, error)) (R, error) {
	slot, _ := s.queues.LoadOrStore(queue, make(chan struct{}, 1))
	running := slot.(chan struct{})
	select {
	case running <- struct{}{}:
		defer func() { <-running }()
	case <-ctx.Done():
		var zero R
		return zero, unavailable(ctx.Err())
	}
	return Update(ctx, s, fn)
}
