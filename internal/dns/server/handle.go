package server

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/miekg/dns"

	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/dns/answer"
	"github.com/bakingclouds/rollcall/internal/dns/forward"
)

// origin is where a message came from.
type origin struct {
	source netip.Addr // the sender's address
	client netip.Addr // whose view of the names it gets, see clientOf
	stream bool       // over TCP
}

// outcome is what becomes of a message: a reply, or a wait for one, or neither when it gets none.
type outcome struct {
	reply []byte
	// wait resolves what is not ours and returns the reply.
	wait func(context.Context) []byte
	// handsOut is the decision behind a reply that gives away addresses that drain. Such an outcome holds guard
	// until it has been passed to [Server.sent].
	handsOut *answer.Reply
	guard    directory.Guard
}

// clientOf says whose view a query gets. That is the sender's, but what a task of the process runtime sends
// to its resolver, its own address, has 127.0.0.1 as its source, as anything on loopback has that does not
// choose one; there the address that was asked tells who asks.
func clientOf(source, local netip.Addr) netip.Addr {
	source = source.Unmap().WithZone("")
	if source == netip.AddrFrom4([4]byte{127, 0, 0, 1}) {
		return local.Unmap()
	}
	return source
}

// handle is process for the sockets: a bug that some message finds costs that message its reply, not the
// process its life.
//
// The guard is taken before the names are looked up. An outcome that gives nothing away that drains has left it.
func (s *Server) handle(msg []byte, from origin) (out outcome) {
	guard := s.cfg.Authority.Directory.AcquireGuard()
	defer func() {
		if out.guard = guard; out.handsOut == nil {
			guard.Release()
		}
		if out.reply == nil && out.wait == nil {
			s.counters.dropped.Add(1)
		}
	}()
	defer s.survive(msg)
	return s.process(msg, from)
}

// sent is told of each outcome when its reply has left, or is known not to.
func (s *Server) sent(out outcome) {
	if out.handsOut != nil {
		out.handsOut.MarkSent(directory.Now()) // again: sending may have taken its time
		out.guard.Release()
		s.replies.Put(out.handsOut)
	}
}

// finish waits for the reply of an outcome that has to be waited for.
func (s *Server) finish(ctx context.Context, out outcome) []byte {
	defer s.survive(nil)
	return out.wait(ctx)
}

// survive is deferred around what reads what others have written.
func (s *Server) survive(msg []byte) {
	if p := recover(); p != nil {
		s.cfg.Log.LogAttrs(s.ctx, slog.LevelError, "DNS message made the server panic, please report it",
			slog.Any("panic", p), slog.String("message", hex.EncodeToString(msg)), slog.String("stack", string(debug.Stack())))
	}
}

// process checks a message and decides what becomes of it.
func (s *Server) process(msg []byte, from origin) outcome {
	if len(msg) < headerSize || isResponse(msg) {
		return outcome{} // never reply to a reply: two servers would go on for ever
	}
	if opcode(msg) != dns.OpcodeQuery {
		return s.bare(msg, dns.RcodeNotImplemented)
	}
	var m dns.Msg
	if err := m.Unpack(msg); err != nil || !whole(msg, &m) {
		return s.bare(msg, dns.RcodeFormatError)
	}
	e, err := readEDNS(&m)
	if err != nil {
		return s.bare(msg, dns.RcodeFormatError)
	}
	x := &exchange{s: s, from: from, edns: e, m: replyTo(&m)}
	x.m.RecursionAvailable = s.forwarder != nil && s.cfg.MayRecurse(from.client)
	switch {
	case e.version != 0:
		return x.rcode(dns.RcodeBadVers) // RFC 6891, section 6.1.3
	case len(m.Question) == 0 && e.cookie != nil:
		return x.rcode(dns.RcodeSuccess) // asks for a cookie only (RFC 7873, section 5.4)
	case len(m.Question) != 1: // RFC 9619
		return s.bare(msg, dns.RcodeFormatError)
	case m.Question[0].Qclass != dns.ClassINET:
		return x.rcode(dns.RcodeRefused)
	}
	return x.answer(&m)
}

// exchange is a query and its reply in the making.
type exchange struct {
	s    *Server
	from origin
	edns edns
	m    *dns.Msg
	ede  *dns.EDNS0_EDE // why it failed, for a client with EDNS (RFC 8914)
}

// replyTo begins the reply to a query.
func replyTo(q *dns.Msg) *dns.Msg {
	m := &dns.Msg{Question: q.Question, Compress: true}
	m.Id, m.Response, m.Opcode = q.Id, true, q.Opcode
	m.RecursionDesired, m.CheckingDisabled = q.RecursionDesired, q.CheckingDisabled
	return m
}

// answer has the question decided, and forwards what is left.
func (x *exchange) answer(q *dns.Msg) outcome {
	question := q.Question[0]
	r := x.s.replies.Get().(*answer.Reply)
	now := directory.Now()
	x.s.cfg.Authority.Answer(answer.Query{
		Name: canonical(question.Name), Type: question.Qtype, Client: x.from.client, Rand: rand.Uint64(),
		Now: now, Stale: x.s.cfg.Stale != nil && x.s.cfg.Stale(),
	}, r)
	out := x.decided(q, r)
	// What waits for an upstream is a CNAME's way out of our zones and gives no address of ours away.
	if out.reply == nil || !r.HasTrackedAddresses() {
		x.s.replies.Put(r)
		return out
	}
	r.MarkSent(now)
	out.handsOut = r
	return out
}

// decided turns a decision into an outcome.
func (x *exchange) decided(q *dns.Msg, r *answer.Reply) outcome {
	question := q.Question[0]
	forwards := x.m.RecursionAvailable && q.RecursionDesired
	if r.OutsideZones && !forwards {
		x.ede = &dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeNotAuthoritative}
		return x.rcode(dns.RcodeRefused)
	}
	if !r.OutsideZones {
		if x.s.cfg.Answered != nil {
			x.s.cfg.Answered(x.from.client, r)
		}
		x.m.Authoritative = r.Rcode != answer.Refused
		encode(x.m, question.Name, r)
	}
	switch {
	case r.OutsideZones:
		return outcome{wait: x.resolve(question.Name, q)}
	case r.ExternalTarget != "" && forwards:
		return outcome{wait: x.resolve(dns.Fqdn(r.ExternalTarget), q)}
	}
	return outcome{reply: x.pack()}
}

// resolve returns what adds the records of a name that is not ours to the reply, and packs it.
func (x *exchange) resolve(name string, q *dns.Msg) func(context.Context) []byte {
	ask := forward.Question{Name: name, Type: q.Question[0].Qtype, DO: x.edns.do, CD: q.CheckingDisabled}
	return func(ctx context.Context) []byte {
		got, err := x.s.forwarder.Resolve(ctx, ask)
		if err != nil {
			x.m.Rcode = dns.RcodeServerFailure
			x.ede = &dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeOther, ExtraText: "too many questions are being forwarded"}
			if f := (*forward.Failure)(nil); errors.As(err, &f) {
				x.ede.InfoCode, x.ede.ExtraText = f.Code, f.Reason
			}
			return x.pack()
		}
		x.m.Rcode = got.Rcode
		x.m.AuthenticatedData = got.AuthenticatedData && !x.m.Authoritative && (q.AuthenticatedData || x.edns.do)
		x.m.Answer = append(x.m.Answer, got.Answer...)
		x.m.Ns = append(x.m.Ns, got.Ns...)
		x.m.Extra = append(x.m.Extra, got.Extra...)
		return x.pack()
	}
}

func (x *exchange) rcode(code int) outcome {
	x.m.Rcode = code
	return outcome{reply: x.pack()}
}

// pack writes the reply, as large as the client takes.
func (x *exchange) pack() []byte {
	limit := dns.MaxMsgSize - 1
	if !x.from.stream {
		limit = x.edns.limit()
	}
	opt := x.edns.opt(x.s.cookies.renew(x.edns.cookie, x.from.source, time.Now()), x.ede)
	reply, err := fit(x.m, opt, limit)
	if err != nil {
		// Only records that came from elsewhere can be such that they cannot be written again.
		x.s.cfg.Log.LogAttrs(x.s.ctx, slog.LevelWarn, "DNS reply cannot be written",
			slog.String("name", x.m.Question[0].Name), slog.Any("err", err))
		x.m.Answer, x.m.Ns, x.m.Extra, x.m.Rcode = nil, nil, nil, dns.RcodeServerFailure
		if reply, err = fit(x.m, opt, limit); err != nil {
			return nil
		}
	}
	x.s.counters.rcodes[x.m.Rcode].Add(1)
	return reply
}

// The header of a message (RFC 1035, section 4.1.1), as far as it is read before the rest.
const headerSize = 12

func isResponse(msg []byte) bool { return msg[2]&0x80 != 0 }
func opcode(msg []byte) int      { return int(msg[2]>>3) & 0xf }

// whole reports whether a message holds what its header counts, and a type and a class for each question:
// Unpack is content with less when the octets end between two fields. Type and class 0 are reserved (RFC
// 6895, section 3).
func whole(msg []byte, m *dns.Msg) bool {
	for k, n := range []int{len(m.Question), len(m.Answer), len(m.Ns), len(m.Extra)} {
		if int(binary.BigEndian.Uint16(msg[4+2*k:])) != n {
			return false
		}
	}
	for _, q := range m.Question {
		if q.Qtype == 0 || q.Qclass == 0 {
			return false
		}
	}
	return true
}

// bare is a reply of a header alone, to a message of which nothing else is understood.
func (s *Server) bare(msg []byte, rcode int) outcome {
	reply := make([]byte, headerSize)
	copy(reply, msg[:2])
	const response, opcodeAndRD = 0x80, 0x79
	binary.BigEndian.PutUint16(reply[2:], uint16(response|msg[2]&opcodeAndRD)<<8|uint16(rcode))
	s.counters.rcodes[rcode].Add(1)
	return outcome{reply: reply}
}

// canonical is a name as dns/answer wants it, from presentation form. That escapes a dozen characters with a
// backslash of which the directory has some in instance ids; a dot inside a label, and a backslash, stay
// marked, so that neither is taken for a separator.
func canonical(name string) string {
	name = directory.CanonicalName(name)
	for k := range len(name) {
		if name[k] == '\\' {
			return unescape(name, k)
		}
	}
	return name
}

func unescape(name string, from int) string {
	b := append(make([]byte, 0, len(name)), name[:from]...)
	for k := from; k < len(name); k++ {
		if name[k] != '\\' || k+1 == len(name) {
			b = append(b, name[k])
			continue
		}
		k++
		switch c := name[k]; {
		case c == '.':
			b = append(b, `\046`...)
		case c == '\\':
			b = append(b, `\092`...)
		case '0' <= c && c <= '9': // \DDD, an octet that no name of ours has
			b = append(b, '\\', c)
		default:
			b = append(b, c)
		}
	}
	return string(b)
}
