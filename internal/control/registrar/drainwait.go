package registrar

import "time"

// drainWait determines how long a draining task waits for the nodes' clearances.
type drainWait struct {
	LiveNodes bool          // a live node has not given its clearance
	LostSince []time.Time   // when the nodes without a clearance that are not live were lost
	TTL       time.Duration // the longest TTL with which a lost node may have answered
	Deadline  time.Time     // the end of the wait in any case
}

// lostNodeMargin is added to the TTL of a lost node's answers, which may still have been under way when it was lost.
const lostNodeMargin = 2 * time.Second

// remaining returns the longest time for which the task still has to wait, 0 when the drain is over. A lost node sends
// no answers, so its last answers expire one TTL after its loss.
func (w drainWait) remaining(now time.Time) time.Duration {
	untilDeadline := max(0, w.Deadline.Sub(now))
	if w.LiveNodes {
		return untilDeadline
	}
	var lost time.Duration
	for _, at := range w.LostSince {
		lost = max(lost, at.Add(w.TTL+lostNodeMargin).Sub(now))
	}
	return min(untilDeadline, lost)
}
