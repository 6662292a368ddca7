package registrar

import "time"

// Clearing is how far the nodes have come with a task's drain.
type Clearing struct {
	Waiting bool          // for the clearance of a live node
	Lost    []time.Time   // when the nodes that give none were first seen to be gone
	TTL     time.Duration // of the longest-lived answer that they can have given
	Cap     time.Time     // when all waiting ends
}

// slack is added to the TTL of the answers of a node that is gone: they may have been under way.
const slack = 2 * time.Second

// Left is how long the drain still takes at the most, 0 when it is over. A node that is gone answers nobody:
// what it has handed out has expired a TTL after its loss.
func (c Clearing) Left(now time.Time) time.Duration {
	left := max(0, c.Cap.Sub(now))
	if c.Waiting {
		return left
	}
	var lost time.Duration
	for _, at := range c.Lost {
		lost = max(lost, at.Add(c.TTL+slack).Sub(now))
	}
	return min(left, lost)
}
