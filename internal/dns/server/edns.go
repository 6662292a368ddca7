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
	// udpSize is the size of the largest message that the server sends over UDP, and the one that it advertises for
	// receiving. Such messages are not fragmented on any common path (DNS flag day 2020).
	udpSize = 1232
	// plainSize is the size of the largest message to a client without EDNS (RFC 1035, section 4.2.1).
	plainSize = 512
)

// edns is the content of a query's OPT record (RFC 6891). The DO bit matters only for forwarded questions, because our
// own zones are not signed.
type edns struct {
	present bool
	size    int
	version uint8
	do      bool
	cookie  []byte // the client cookie, followed by the server cookie if the client sent one; nil if there is none
}

var errOPT = errors.New("invalid OPT record")

// readEDNS reads the OPT record of a query. It returns an error, which the server answers with FORMERR, for a second
// OPT record or one whose owner is not the root (RFC 6891, section 6.1.1), and for a cookie of an invalid length (RFC
// 7873, section 5.2.2).
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

// limit returns the size of the largest reply over UDP.
func (e edns) limit() int {
	if !e.present {
		return plainSize
	}
	return min(max(e.size, plainSize), udpSize)
}

// opt returns the reply's OPT record, or nil if the query has none.
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

// cookies creates server cookies (RFC 7873) in the interoperable form of RFC 9018. The server never requires one. With
// a cookie, a client can tell our replies from forged ones.
type cookies struct{ secret [16]byte }

const (
	clientCookie = 8
	serverCookie = 16 // version, three reserved octets, time, hash
	// The server returns a valid server cookie unchanged if it is younger than renewAfter. A cookie from the future is
	// accepted up to maxAhead (RFC 9018, section 4.3).
	renewAfter = 30 * time.Minute
	maxAhead   = 5 * time.Minute
)

// renew returns the cookie for the reply to a client: the received one while it is valid, otherwise a new one. It
// returns nil if the client sent none.
func (c *cookies) renew(received []byte, source netip.Addr, now time.Time) []byte {
	if received == nil {
		return nil
	}
	client := received[:clientCookie]
	if len(received) == clientCookie+serverCookie && received[clientCookie] == 1 {
		created := time.Unix(int64(binary.BigEndian.Uint32(received[clientCookie+4:])), 0)
		age := now.Sub(created)
		if age < renewAfter && age > -maxAhead && string(c.create(client, source, created)) == string(received) {
			return received
		}
	}
	return c.create(client, source, now)
}

// create returns a complete cookie: the client cookie, followed by the server cookie for this client and time.
func (c *cookies) create(client []byte, source netip.Addr, at time.Time) []byte {
	cookie := append(make([]byte, 0, clientCookie+serverCookie), client...)
	cookie = append(cookie, 1, 0, 0, 0)
	cookie = binary.BigEndian.AppendUint32(cookie, uint32(at.Unix()))
	k0, k1 := binary.LittleEndian.Uint64(c.secret[:]), binary.LittleEndian.Uint64(c.secret[8:])
	hash := siphash.Hash(k0, k1, append(cookie[:len(cookie):len(cookie)], source.Unmap().AsSlice()...))
	return binary.LittleEndian.AppendUint64(cookie, hash)
}
