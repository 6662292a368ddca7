package server

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"time"

	"github.com/dchest/siphash"
	"github.com/miekg/dns"
)

const (
	// udpSize is the largest message sent over UDP, and the size we say we take: what passes every path
	// without fragments (DNS flag day 2020).
	udpSize = 1232
	// plainSize is the limit for clients without EDNS (RFC 1035, section 4.2.1).
	plainSize = 512
)

// edns is what a query's OPT record says (RFC 6891). DO is read for those who are forwarded for; our own
// zones are not signed.
type edns struct {
	present bool
	size    int
	version uint8
	do      bool
	cookie  []byte // client cookie, and server cookie if it has one; nil without
}

var errOPT = errors.New("more than one OPT record, one below the root, or a cookie of a wrong length")

// readEDNS reads the OPT record of a query. An error means FORMERR: a second OPT record (RFC 6891, section
// 6.1.1) or a cookie of a length that none has (RFC 7873, section 5.2.2).
func readEDNS(m *dns.Msg) (edns, error) {
	var e edns
	for _, rr := range m.Extra {
		opt, ok := rr.(*dns.OPT)
		if !ok {
			continue
		}
		if e.present || opt.Hdr.Name != "." {
			return edns{}, errOPT
		}
		e.present, e.size, e.version, e.do = true, int(opt.UDPSize()), opt.Version(), opt.Do()
		for _, o := range opt.Option {
			if c, ok := o.(*dns.EDNS0_COOKIE); ok && e.cookie == nil {
				raw, err := hex.DecodeString(c.Cookie)
				if n := len(raw); err != nil || n != clientCookie && (n < clientCookie+8 || n > clientCookie+32) {
					return edns{}, errOPT
				}
				e.cookie = raw
			}
		}
	}
	return e, nil
}

// limit is the size of the largest reply over UDP.
func (e edns) limit() int {
	if !e.present {
		return plainSize
	}
	return min(max(e.size, plainSize), udpSize)
}

// opt is the reply's OPT record: none for a client that sent none.
func (e edns) opt(cookie []byte, ede *dns.EDNS0_EDE) *dns.OPT {
	if !e.present {
		return nil
	}
	o := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
	o.SetUDPSize(udpSize)
	if cookie != nil {
		o.Option = append(o.Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: hex.EncodeToString(cookie)})
	}
	if ede != nil {
		o.Option = append(o.Option, ede)
	}
	return o
}

// cookies makes server cookies (RFC 7873) in the interoperable form of RFC 9018. None is ever required: with
// one, a client can tell our replies from forged ones.
type cookies struct{ secret [16]byte }

const (
	clientCookie = 8
	serverCookie = 16 // version, three reserved octets, time, hash
	// A server cookie is given back as it came when it is ours and younger than renewAfter; RFC 9018, section
	// 4.3 also names the limits beyond which its time counts as wrong.
	renewAfter = 30 * time.Minute
	maxAhead   = 5 * time.Minute
)

// renew returns the cookie for a reply to a client that sent the given one: that one while it is good, else
// a new one; nil for a client that sent none.
func (c *cookies) renew(got []byte, source netip.Addr, now time.Time) []byte {
	if got == nil {
		return nil
	}
	if len(got) == clientCookie+serverCookie && got[clientCookie] == 1 {
		made := time.Unix(int64(binary.BigEndian.Uint32(got[clientCookie+4:])), 0)
		age := now.Sub(made)
		if age < renewAfter && age > -maxAhead && string(c.make(got[:clientCookie], source, made)) == string(got) {
			return got
		}
	}
	return c.make(got[:clientCookie], source, now)
}

// make builds the whole cookie: the client's and, for this client at this time, ours.
func (c *cookies) make(client []byte, source netip.Addr, at time.Time) []byte {
	cookie := append(make([]byte, 0, clientCookie+serverCookie), client...)
	cookie = append(cookie, 1, 0, 0, 0)
	cookie = binary.BigEndian.AppendUint32(cookie, uint32(at.Unix()))
	k0, k1 := binary.LittleEndian.Uint64(c.secret[:]), binary.LittleEndian.Uint64(c.secret[8:])
	hash := siphash.Hash(k0, k1, append(cookie[:len(cookie):len(cookie)], source.Unmap().AsSlice()...))
	return binary.LittleEndian.AppendUint64(cookie, hash)
}
