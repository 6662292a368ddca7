package launch

import (
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bakingclouds/rollcall/internal/agent"
)

// ulimitNumbers are the limits that ECS has (Ulimit in the ECS API reference), by their names.
var ulimitNumbers = map[string]int{
	"core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA, "fsize": unix.RLIMIT_FSIZE,
	"locks": unix.RLIMIT_LOCKS, "memlock": unix.RLIMIT_MEMLOCK, "msgqueue": unix.RLIMIT_MSGQUEUE,
	"nice": unix.RLIMIT_NICE, "nofile": unix.RLIMIT_NOFILE, "nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS,
	"rtprio": unix.RLIMIT_RTPRIO, "rttime": unix.RLIMIT_RTTIME, "sigpending": unix.RLIMIT_SIGPENDING,
	"stack": unix.RLIMIT_STACK,
}

// IsUlimit reports whether ECS has a limit of this name.
func IsUlimit(name string) bool {
	_, ok := ulimitNumbers[name]
	return ok
}

// Ulimits returns the limits of a container for its [Order].
func Ulimits(limits []agent.Ulimit) []Ulimit {
	var all []Ulimit
	for _, u := range limits {
		all = append(all, Ulimit{Name: u.Name, Number: ulimitNumbers[u.Name], Soft: uint64(u.Soft), Hard: uint64(u.Hard)})
	}
	return all
}

// FindAccount returns the account of a container's user ("user", "uid", "user:group", "uid:gid") and its home folder.
// The account is nil if it is that of this process: only root can run a container as another user.
func FindAccount(name string) (*Account, string, error) {
	self := strconv.Itoa(os.Geteuid())
	if name == "" {
		return nil, homeOf(self), nil
	}
	userName, group, hasGroup := strings.Cut(name, ":")
	found, err := user.Lookup(userName)
	if err != nil {
		found, err = user.LookupId(userName)
	}
	uid := userName
	if err == nil {
		uid = found.Uid
	}
	number, err := strconv.Atoi(uid)
	if err != nil || number < 0 {
		return nil, "", fmt.Errorf("no user %q on this machine", userName)
	}
	a := accountOf(number, found)
	if hasGroup {
		gid, err := groupNumber(group)
		if err != nil {
			return nil, "", err
		}
		a.GID, a.Groups = gid, []int{gid}
	}
	if os.Geteuid() != 0 {
		if uid != self || hasGroup && a.GID != os.Getegid() {
			return nil, "", fmt.Errorf("user %q: only root can run a container as another user; Rollcall runs as user %s", name,
				self)
		}
		return nil, homeOf(self), nil
	}
	if !slices.Contains(a.Groups, a.GID) {
		a.Groups = append(a.Groups, a.GID)
	}
	return &a, homeOf(uid), nil
}

// accountOf returns the account with the groups of found. A number without a user of this machine gets a group of the
// same number rather than root's.
func accountOf(uid int, found *user.User) Account {
	a := Account{UID: uid, GID: uid}
	if found == nil {
		return a
	}
	a.GID, _ = strconv.Atoi(found.Gid)
	ids, _ := found.GroupIds() // an error means no supplementary groups
	for _, id := range ids {
		gid, _ := strconv.Atoi(id)
		a.Groups = append(a.Groups, gid)
	}
	return a
}

func groupNumber(group string) (int, error) {
	if found, err := user.LookupGroup(group); err == nil {
		group = found.Gid
	}
	gid, err := strconv.Atoi(group)
	if err != nil || gid < 0 {
		return 0, fmt.Errorf("no group %q on this machine", group)
	}
	return gid, nil
}

func homeOf(uid string) string {
	if found, err := user.LookupId(uid); err == nil && found.HomeDir != "" {
		return found.HomeDir
	}
	return "/"
}
