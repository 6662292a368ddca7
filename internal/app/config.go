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

// Config configures a server. The flags of `rollcall serve` set it.
type Config struct {
	DataDir string
	API     string   // host:port
	DNS     []string // host:port, at least one
	Runtime string
	Etcd    []string // endpoints of an external cluster; if there are none, etcd runs in this process
	Account string   // 12 digits
	Region  string   // the region that `env` sets for clients
	VPCs    []VPC
	Node    string // unique among the servers of one etcd; empty means the name in the data folder, or the host's
	// NodeCPU (in units, 1024 for each core) and NodeMemory (in MiB) are the resources of this node for all its tasks; 0
	// means the machine's.
	NodeCPU    int
	NodeMemory int
	// NodeAddress is the address of tasks in bridge and host mode; if it is invalid, the runtime chooses one.
	NodeAddress netip.Addr
	NodeGrace   time.Duration // the time after which the tasks of a lost node are given up; 0 means never
	DrainCap    time.Duration // the longest time that a task waits for answers with its address to expire
	Upstreams   []string      // ip or ip:port; if there are none, those of the host
	Version     string        // of this server, as lists of nodes show it
	Logger      *slog.Logger
}

// Default returns the configuration of `rollcall serve` without flags.
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

// hostName returns the name of a node without --node.
func hostName() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "node"
	}
	return name
}

// DefaultDataDir returns /var/lib/rollcall for root, otherwise a folder in the user's home (XDG Base Directory
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

// problems collects errors.
type problems []error

func (p *problems) add(format string, args ...any) { *p = append(*p, fmt.Errorf(format, args...)) }

// Validate returns every invalid setting, and what it should be.
func (c *Config) Validate() error {
	var found problems
	if c.DataDir == "" {
		found.add("--data: name a folder")
	}
	if !accountID.MatchString(c.Account) {
		found.add("--account %q must have 12 digits", c.Account)
	}
	if !regionName.MatchString(c.Region) {
		found.add("--region %q must be a region name such as us-east-1", c.Region)
	}
	if c.DrainCap < 0 {
		found.add("--drain-cap %v must not be negative", c.DrainCap)
	}
	if len(c.DNS) == 0 {
		found.add("--dns: name at least one address")
	}
	if _, err := c.upstreams(); err != nil {
		found = append(found, err)
	}
	c.validateNode(&found)
	c.validateVPCs(&found)
	c.validateRuntime(&found)
	return errors.Join(found...)
}

func (c *Config) validateNode(found *problems) {
	if strings.ContainsAny(c.Node, "/\x00") {
		found.add("--node %q must not contain '/'", c.Node)
	}
	if c.NodeCPU < 0 || c.NodeMemory < 0 {
		found.add("--node-cpu %d and --node-memory %d must not be negative", c.NodeCPU, c.NodeMemory)
	}
	if c.NodeGrace < 0 {
		found.add("--node-grace %v must not be negative", c.NodeGrace)
	}
}

// validateRuntime also checks the API's address, since the runtime decides what a caller of the API can do.
func (c *Config) validateRuntime(found *problems) {
	switch c.Runtime {
	case RuntimeAuto, RuntimeDocker, RuntimeProcess, RuntimeNone:
	default:
		found.add("--runtime %q: choose auto, docker, process or none", c.Runtime)
	}
	if c.Runtime == RuntimeDocker && len(c.taskNetworks()) == 0 {
		found.add("--vpc: containers need a VPC with an IPv4 network, such as --vpc %s=10.77.0.0/16", c.VPCs[0].ID)
	}
	if host, _, err := net.SplitHostPort(c.API); err != nil {
		found.add("--api %q must be host:port, such as 127.0.0.1:7070", c.API)
	} else if c.Runtime == RuntimeAuto && !isLoopback(host) {
		found.add("--api %s is reachable from other machines, and any client with an access key can run commands "+
			"on this host through its runtime; set --runtime docker or --runtime process to allow that, "+
			"or --runtime none", c.API)
	}
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// upstreams parses Upstreams; the default port is 53.
func (c *Config) upstreams() ([]netip.AddrPort, error) {
	var all []netip.AddrPort
	for _, s := range c.Upstreams {
		if ip, err := netip.ParseAddr(s); err == nil {
			all = append(all, netip.AddrPortFrom(ip, 53))
			continue
		}
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			return nil, fmt.Errorf("--upstream %q must be an IP address, with or without a port", s)
		}
		all = append(all, ap)
	}
	return all, nil
}
