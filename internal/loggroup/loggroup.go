// Package loggroup is the domain of Amazon CloudWatch Logs as far as it is rows: log groups, how long their events are
// kept, and their tags. The streams and events of a group are files of the node whose tasks printed them (package
// logbook).
//
// The facts come from the Amazon CloudWatch Logs API Reference.
package loggroup

import (
	"maps"
	"regexp"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
)

// Group is a log group.
type Group struct {
	Account, Region string
	Name            string
	Created         time.Time
	// Retention is how many days events are kept; 0 keeps them until the node needs the room.
	Retention int               `json:",omitempty"`
	Class     string            `json:",omitempty"` // read back only, as is the next
	KMSKey    string            `json:",omitempty"`
	Tags      map[string]string `json:",omitempty"`
}

var groups = store.NewTable[Group]("log group", "logs/group/") // region/name

// Schema lists the tables for store.Open.
func Schema() []store.Schema { return []store.Schema{groups} }

// MaxTags is how many tags a group may have.
const MaxTags = 50

// Retentions are the days that a group can keep its events (PutRetentionPolicy).
var Retentions = []int{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}

var namePattern = regexp.MustCompile(`^[.\-_/#A-Za-z0-9]{1,512}$`)

// ValidName reports whether a group can have this name.
func ValidName(name string) bool { return namePattern.MatchString(name) }

// ARN is the group's ARN, without the ":*" that stands for its streams.
func (g *Group) ARN() string {
	return arn.New("logs", g.Region, g.Account, "log-group:"+g.Name).String()
}

func (g *Group) key() string { return g.Region + "/" + g.Name }

func notFound() error {
	return fault.New(fault.NotFound, "log group", "The specified log group does not exist.")
}

// Get finds a group.
func Get(r store.Reader, sc arn.Scope, name string) (*Group, error) {
	if g, ok := groups.Find(r, sc.Region+"/"+name); ok {
		return g, nil
	}
	return nil, notFound()
}

// Create makes a group that is not there yet.
func Create(tx *store.Tx, sc arn.Scope, g Group, now time.Time) error {
	if _, err := Get(tx, sc, g.Name); err == nil {
		return fault.New(fault.Exists, "log group", "The specified log group already exists")
	}
	if len(g.Tags) > MaxTags {
		return tooManyTags()
	}
	g.Account, g.Region, g.Created = sc.Account, sc.Region, now
	groups.Put(tx, g.key(), &g)
	return nil
}

// Delete removes a group; its events go with it.
func Delete(tx *store.Tx, sc arn.Scope, name string) error {
	g, err := Get(tx, sc, name)
	if err == nil {
		groups.Delete(tx, g.key())
	}
	return err
}

// Retain sets for how many days a group keeps events, 0 for as long as it can.
func Retain(tx *store.Tx, sc arn.Scope, name string, days int) error {
	old, err := Get(tx, sc, name)
	if err != nil {
		return err
	}
	g := *old
	g.Retention = days
	groups.Put(tx, g.key(), &g)
	return nil
}

// Tag adds or replaces tags of a group, then removes some.
func Tag(tx *store.Tx, sc arn.Scope, name string, add map[string]string, remove []string) error {
	old, err := Get(tx, sc, name)
	if err != nil {
		return err
	}
	g := *old
	g.Tags = maps.Clone(old.Tags)
	if g.Tags == nil {
		g.Tags = map[string]string{}
	}
	maps.Copy(g.Tags, add)
	for _, key := range remove {
		delete(g.Tags, key)
	}
	if len(g.Tags) > MaxTags {
		return tooManyTags()
	}
	groups.Put(tx, g.key(), &g)
	return nil
}

func tooManyTags() error {
	return fault.New(fault.Limit, "tags", "A log group can have %d tags.", MaxTags)
}

// Scan calls fn with a region's groups whose names begin with prefix, behind the name after, by name.
func Scan(r store.Reader, sc arn.Scope, prefix, after string, fn func(*Group) bool) {
	if after != "" {
		after = sc.Region + "/" + after
	}
	groups.Scan(r, sc.Region+"/"+prefix, after, func(_ string, g *Group) bool { return fn(g) })
}

// VisibleFrom is the time, in Unix milliseconds, before which no event of the group is to be had: when it was made, or
// as long ago as it retains events.
func (g *Group) VisibleFrom(now time.Time) int64 {
	from := g.Created.UnixMilli()
	if g.Retention > 0 {
		from = max(from, now.AddDate(0, 0, -g.Retention).UnixMilli())
	}
	return from
}
