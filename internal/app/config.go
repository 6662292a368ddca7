package app

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The runtimes that --runtime names.
const (
	RuntimeAuto    = "auto"
	RuntimeDocker  = "docker"
	RuntimeProcess = "process"
	RuntimeNone    = "none"
)

// Config is everything a server is made from. The flags of `rollcall serve` fill it in.
type Config struct {
	DataDir string
	API     string   // host:port
	DNS     []string // host:port, at least one
	Runtime string
	Etcd    []string // endpoints of an external cluster; none runs etcd in this process
	Account string   // 12 digits
	Region  string   // what `env` tells clients to use
	VPCs    []VPC
	Node    string // unique among the servers of one etcd; empty: what the data folder says, or the host's name
	// NodeCPU (in units, 1024 a core) and NodeMemory (in MiB) are what this node's tasks may take in all; 0 is the
	// machine's.
	NodeCPU    int
	NodeMemory int
	// NodeAddress is where tasks in bridge and host mode are reached; invalid is the runtime's choice.
	NodeAddress netip.Addr
	NodeGrace   time.Duration // how long a node may be lost until its tasks are given up; 0: for ever
	DrainCap    time.Duration // the longest a task waits for its answers to expire
	Upstreams   []string      // ip or ip:port; none means the host's
	Version     string        // of this server, for those who list its nodes
	Logger      *slog.Logger
}

// Default is the configuration of `rollcall serve` without flags.
func Default() Config {
	return Config{
		DataDir:   DefaultDataDir(),
		API:       "127.0.0.1:7070",
		DNS:       []string{"127.0.0.1:7053"},
		Runtime:   RuntimeAuto,
		Account:   "000000000000",
		Region:    "us-east-1",
		DrainCap:  5 * time.Minute,
		NodeGrace: 2 * time.Minute,
		Logger:    slog.Default(),
	}
}

// hostName is what a node is called that nobody named.
func hostName() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "node"
	}
	return name
}

// DefaultDataDir is /var/lib/rollcall for root, else a folder in the user's home (XDG Base Directory
// Specification).
func DefaultDataDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/rollcall"
	}
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "rollcall")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return filepath.Join(os.TempDir(), fmt.Sprintf("rollcall-%d", os.Getuid()))
	}
	return filepath.Join(home, ".local", "share", "rollcall")
}

var (
	accountID  = regexp.MustCompile(`^[0-9]{12}$`)
	regionName = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)
)

// Validate names every setting that cannot be, and what it should be.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.DataDir == "" {
		bad("--data: name a folder")
	}
	if !accountID.MatchString(c.Account) {
		bad("--account %q: an account id has 12 digits", c.Account)
	}
	if !regionName.MatchString(c.Region) {
		bad("--region %q: a region is named like us-east-1", c.Region)
	}
	if strings.ContainsAny(c.Node, "/\x00") {
		bad("--node %q: a node's name has no '/'", c.Node)
	}
	if c.NodeCPU < 0 || c.NodeMemory < 0 {
		bad("--node-cpu %d, --node-memory %d: they cannot be negative", c.NodeCPU, c.NodeMemory)
	}
	if c.NodeGrace < 0 {
		bad("--node-grace %v: it cannot be negative", c.NodeGrace)
	}
	if c.DrainCap < 0 {
		bad("--drain-cap %v: it cannot be negative", c.DrainCap)
	}
	if len(c.DNS) == 0 {
		bad("--dns: name at least one address")
	}
	for i, v := range c.VPCs {
		for _, other := range c.VPCs[:i] {
			if other.ID == v.ID {
				bad("--vpc %s is given twice: name all its networks in one", v.ID)
			} else if n, overlap := v.overlaps(other); overlap && (i == 0 || other.ID != c.VPCs[0].ID) {
				bad("--vpc %s and --vpc %s both have %v: a client is in one VPC", other.ID, v.ID, n)
			}
		}
	}
	switch c.Runtime {
	case RuntimeAuto, RuntimeDocker, RuntimeProcess, RuntimeNone:
	default:
		bad("--runtime %q: choose auto, docker, process or none", c.Runtime)
	}
	if c.Runtime == RuntimeDocker && len(c.taskNetworks()) == 0 {
		bad("--vpc: containers need a VPC with an IPv4 network, such as --vpc %s=10.77.0.0/16", c.VPCs[0].ID)
	}
	for _, n := range c.taskNetworks() {
		if n.Prefix6.IsValid() && 128-n.Prefix6.Bits() < 32-n.Prefix.Bits() {
			bad("--vpc %s: its IPv6 network %v has fewer addresses than its IPv4 network %v", n.VPC, n.Prefix6, n.Prefix)
		}
	}
	if _, err := c.upstreams(); err != nil {
		errs = append(errs, err)
	}
	if host, _, err := net.SplitHostPort(c.API); err != nil {
		bad("--api %q: give host:port, such as 127.0.0.1:7070", c.API)
	} else if c.Runtime == RuntimeAuto && !isLoopback(host) {
		bad("--api %s is reachable from other machines, and whoever holds a key can run commands on this host through its "+
			"runtime: say --runtime docker or --runtime process if that is meant, or --runtime none", c.API)
	}
	return errors.Join(errs...)
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// upstreams parses Upstreams; the port is 53 unless given.
func (c *Config) upstreams() ([]netip.AddrPort, error) {
	var all []netip.AddrPort
	for _, s := range c.Upstreams {
		if ip, err := netip.ParseAddr(s); err == nil {
			all = append(all, netip.AddrPortFrom(ip, 53))
			continue
		}
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			return nil, fmt.Errorf("--upstream %q: give an IP address, or one with a port", s)
		}
		all = append(all, ap)
	}
	return all, nil
}

// VPC is a set of networks whose clients a private namespace answers, and the subnets that stand for it.
type VPC struct {
	ID       string
	Networks []netip.Prefix
	Subnets  []string
}

// ParseVPC reads ID=10.1.0.0/16,fd00:a::/64,subnet-1.
func ParseVPC(s string) (VPC, error) {
	id, rest, ok := strings.Cut(s, "=")
	if !ok || id == "" || rest == "" {
		return VPC{}, fmt.Errorf("--vpc %q: give ID=NETWORK,…,SUBNET-ID,…, such as vpc-a=10.1.0.0/16,subnet-1", s)
	}
	v := VPC{ID: id}
	for part := range strings.SplitSeq(rest, ",") {
		switch p, err := netip.ParsePrefix(part); {
		case err == nil:
			v.Networks = append(v.Networks, p.Masked())
		case strings.HasPrefix(part, "subnet-"):
			v.Subnets = append(v.Subnets, part)
		default:
			return VPC{}, fmt.Errorf("--vpc %q: %q is neither a network such as 10.1.0.0/16 nor a subnet id such as subnet-1", s, part)
		}
	}
	return v, nil
}

// overlaps finds a network of v that shares addresses with one of another VPC.
func (v VPC) overlaps(other VPC) (netip.Prefix, bool) {
	for _, n := range v.Networks {
		if slices.ContainsFunc(other.Networks, n.Overlaps) {
			return n, true
		}
	}
	return netip.Prefix{}, false
}

// loopback is where the clients of the first VPC are: this machine and its process tasks.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// nobody is a network that no client is in: that of a VPC which --vpc does not declare.
var nobody = []netip.Prefix{netip.MustParsePrefix("255.255.255.255/32")}

// networks says who is in a VPC. Without any declared VPC every id is accepted and means everybody. The
// clients on this machine are in the first, but for those that another VPC names.
func (c *Config) networks(_, vpc string) (in, except []netip.Prefix) {
	if len(c.VPCs) == 0 {
		return nil, nil
	}
	for i, v := range c.VPCs {
		switch {
		case v.ID != vpc:
		case i > 0:
			return v.Networks, nil
		default:
			for _, other := range c.VPCs[1:] {
				except = append(except, other.Networks...)
			}
			return append(slices.Clone(v.Networks), loopback...), except
		}
	}
	return nobody, nil
}

// knowsVPC reports whether a namespace can be made for a VPC.
func (c *Config) knowsVPC(vpc string) bool {
	return len(c.VPCs) == 0 || slices.ContainsFunc(c.VPCs, func(v VPC) bool { return v.ID == vpc })
}

// vpcOf is the VPC that subnets stand for: the first that names one of them, else the first there is.
func (c *Config) vpcOf(subnets []string) string {
	for _, v := range c.VPCs {
		if slices.ContainsFunc(v.Subnets, func(s string) bool { return slices.Contains(subnets, s) }) {
			return v.ID
		}
	}
	if len(c.VPCs) > 0 {
		return c.VPCs[0].ID
	}
	return ""
}
