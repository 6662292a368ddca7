package registry

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"strconv"
	"strings"
	"time"
)

// Call holds the time of an API call and a seed, from which the ids of its new rows are derived. A transaction function
// can run more than once, so both are chosen before the transaction: each run then writes the same rows.
type Call struct {
	Time time.Time
	seed [20]byte
}

// NewCall returns a call with a random seed.
func NewCall(now time.Time) Call {
	c := Call{Time: now}
	rand.Read(c.seed[:]) // never fails (crypto/rand)
	return c
}

var lowerBase32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// id returns n bytes in AWS's lower-case base32, always the same ones for the same parts.
func (c Call) id(n int, parts ...string) string {
	sum := sha256.Sum256(append(c.seed[:], strings.Join(parts, "\x00")...))
	return lowerBase32.EncodeToString(sum[:n])
}

func (c Call) namespaceID() string { return "ns-" + c.id(10, "namespace") }

func (c Call) serviceID() string { return "srv-" + c.id(10, "service") }

// zoneID returns the id of a Route 53 hosted zone: Z and upper-case letters and digits.
func (c Call) zoneID() string { return "Z" + strings.ToUpper(c.id(12, "zone")) }

// operationID returns an id that ends with the creation time in milliseconds, base 36, as AWS's ids do. It depends on
// the targets, because one call may perform the same operation on several of them.
func (c Call) operationID(t OperationType, on Targets) string {
	return c.id(20, string(t), on.Namespace, on.Service, on.Instance) + "-" + strconv.FormatInt(c.Time.UnixMilli(), 36)
}
