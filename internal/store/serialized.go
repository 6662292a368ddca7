package store

import "context"

// UpdateSerialized is [Update] for transactions that would conflict with each other anyway: of one line, this process runs
// one at a time. Waiting in line costs less than to lose and run again, and the wait does not count against
// [WriteTimeout].
func UpdateSerialized[R any](ctx context.Context, s *Store, line string, fn func(*Tx) (R, error)) (R, error) {
	held, _ := s.lines.LoadOrStore(line, make(chan struct{}, 1))
	turn := held.(chan struct{})
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		var zero R
		return zero, unavailable(ctx.Err())
	}
	return Update(ctx, s, fn)
}
