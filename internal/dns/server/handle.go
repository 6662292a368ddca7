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

// origin is the sender of a message.
type origin struct {
	source netip.Addr // the source address
	client netip.Addr // the address that selects the visible namespaces, see clientOf
	tcp    bool       // the message came over TCP
}

// outcome is the result of handling a message: a reply, or a function that waits for an upstream and returns the reply.
// If neither reply nor resolve is set, the server sends nothing.
type outcome struct {
	reply []byte
	// resolve forwards the question, or the last target of a CNAME chain, and returns the reply.
	resolve func(context.Context) []byte
	// tracked is the decision behind reply if it contains addresses whose expiry is tracked, and nil otherwise. If it is
	// set, the caller holds guard until it calls [Server.markSent].
	tracked *answer.Reply
	guard   directory.Guard
}

// clientOf returns the address that determines which namespaces a query may see. This is the source address, with one
// exception. A task of the process runtime sends its queries to its own loopback address, and the kernel sets the
// source to 127.0.0.1 unless the sender chooses one. In that case the destination address identifies the task.
func clientOf(source, local netip.Addr) netip.Addr {
	source = source.Unmap().WithZone("")
	if source == netip.AddrFrom4([4]byte{127, 0, 0, 1}) {
		return local.Unmap()
	}
	return source
}

// handle calls process and recovers from panics: a message that triggers a bug receives no reply, but it does not end
// the program.
//
// handle acquires the guard before process looks up names, and releases it unless the reply has tracked addresses. In
// that case [Server.markSent] releases it.
func (s *Server) handle(msg []byte, from origin) (out outcome) {
	guard := s.cfg.Authority.Directory.AcquireGuard()
	defer func() {
		if out.guard = guard; out.tracked == nil {
			guard.Release()
		}
		if out.reply == nil && out.resolve == nil {
			s.counters.dropped.Add(1)
		}
	}()
	defer s.recoverPanic(msg)
	return s.process(msg, from)
}

// markSent updates the expiry of the addresses in a reply and releases the outcome's guard. The caller must call it for
// each outcome with a reply, after the reply has been sent or sending has failed.
func (s *Server) markSent(out outcome) {
	if out.tracked != nil {
		out.tracked.MarkSent(directory.Now()) // again, because sending may have taken a while
		out.guard.Release()
		s.replies.Put(out.tracked)
	}
}

// resolve returns the reply of an outcome that must be resolved by an upstream.
func (s *Server) resolve(ctx context.Context, out outcome) []byte {
	defer s.recoverPanic(nil)
	return out.resolve(ctx)
}

// recoverPanic is deferred by functions that parse messages from the network. It logs a panic.
func (s *Server) recoverPanic(msg []byte) {
	if p := recover(); p != nil {
		s.cfg.Log.LogAttrs(s.ctx, slog.LevelError, "panic while handling a DNS message; please report it as a bug",
			slog.Any("panic", p), slog.String("message", hex.EncodeToString(msg)),
			slog.String("stack", string(debug.Stack())))
	}
}

// process checks a message and answers it.
func (s *Server) process(msg []byte, from origin) outcome {
	if len(msg) < headerSize || isResponse(msg) {
		return outcome{} // a reply to a reply could make two servers reply to each other forever
	}
	if opcode(msg) != dns.OpcodeQuery {
		return s.headerReply(msg, dns.RcodeNotImplemented)
	}
	var m dns.Msg
	if err := m.Unpack(msg); err != nil || !isComplete(msg, &m) {
		return s.headerReply(msg, dns.RcodeFormatError)
	}
	e, err := readEDNS(&m)
	if err != nil {
		return s.headerReply(msg, dns.RcodeFormatError)
	}
	x := &exchange{s: s, from: from, edns: e, m: newReply(&m)}
	x.m.RecursionAvailable = s.forwarder != nil && s.cfg.MayRecurse(from.client)
	switch {
	case e.version != 0:
		return x.rcodeReply(dns.RcodeBadVers) // RFC 6891, section 6.1.3
	case len(m.Question) == 0 && e.cookie != nil:
		return x.rcodeReply(dns.RcodeSuccess) // a request for a cookie only (RFC 7873, section 5.4)
	case len(m.Question) != 1: // RFC 9619
		return s.headerReply(msg, dns.RcodeFormatError)
	case m.Question[0].Qclass != dns.ClassINET:
		return x.rcodeReply(dns.RcodeRefused)
	}
	return x.answer(&m)
}

// exchange is a query, and the reply that is being built.
type exchange struct {
	s    *Server
	from origin
	edns edns
	m    *dns.Msg
	ede  *dns.EDNS0_EDE // the reason for a failure, for a client with EDNS (RFC 8914)
}

// newReply returns an empty reply to a query.
func newReply(q *dns.Msg) *dns.Msg {
	m := &dns.Msg{Question: q.Question, Compress: true}
	m.Id, m.Response, m.Opcode = q.Id, true, q.Opcode
	m.RecursionDesired, m.CheckingDisabled = q.RecursionDesired, q.CheckingDisabled
	return m
}

// answer answers the question. If the name, or the target of its last CNAME, lies outside our zones, the outcome must
// be resolved by an upstream.
func (x *exchange) answer(q *dns.Msg) outcome {
	question := q.Question[0]
	r := x.s.replies.Get().(*answer.Reply)
	now := directory.Now()
	x.s.cfg.Authority.Answer(answer.Query{
		Name: canonicalName(question.Name), Type: question.Qtype, Client: x.from.client, Rand: rand.Uint64(),
		Now: now, Stale: x.s.cfg.Stale != nil && x.s.cfg.Stale(),
	}, r)
	out := x.outcomeOf(q, r)
	// A reply that waits for an upstream contains only CNAMEs of our zones, so it has no tracked addresses.
	if out.reply == nil || !r.HasTrackedAddresses() {
		x.s.replies.Put(r)
		return out
	}
	r.MarkSent(now)
	out.tracked = r
	return out
}

// outcomeOf returns the outcome of a decision by dns/answer: the encoded reply, or a function that asks an upstream.
func (x *exchange) outcomeOf(q *dns.Msg, r *answer.Reply) outcome {
	question := q.Question[0]
	forwards := x.m.RecursionAvailable && q.RecursionDesired
	if r.OutsideZones && !forwards {
		x.ede = &dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeNotAuthoritative}
		return x.rcodeReply(dns.RcodeRefused)
	}
	if !r.OutsideZones {
		if x.s.cfg.OnAnswer != nil {
			x.s.cfg.OnAnswer(x.from.client, r)
		}
		x.m.Authoritative = r.Rcode != answer.Refused
		addRecords(x.m, question.Name, r)
	}
	switch {
	case r.OutsideZones:
		return outcome{resolve: x.forward(question.Name, q)}
	case r.ExternalTarget != "" && forwards:
		return outcome{resolve: x.forward(dns.Fqdn(r.ExternalTarget), q)}
	}
	return outcome{reply: x.pack()}
}

// forward returns a function that resolves a name outside our zones, adds the records to the reply, and packs it.
func (x *exchange) forward(name string, q *dns.Msg) func(context.Context) []byte {
	question := forward.Question{Name: name, Type: q.Question[0].Qtype, DO: x.edns.do, CD: q.CheckingDisabled}
	return func(ctx context.Context) []byte {
		resp, err := x.s.forwarder.Resolve(ctx, question)
		if err != nil {
			x.m.Rcode = dns.RcodeServerFailure
			x.ede = &dns.EDNS0_EDE{
				InfoCode: dns.ExtendedErrorCodeOther, ExtraText: "too many questions are being forwarded",
			}
			if f := (*forward.Failure)(nil); errors.As(err, &f) {
				x.ede.InfoCode, x.ede.ExtraText = f.Code, f.Reason
			}
			return x.pack()
		}
		x.m.Rcode = resp.Rcode
		x.m.AuthenticatedData = resp.AuthenticatedData && !x.m.Authoritative && (q.AuthenticatedData || x.edns.do)
		x.m.Answer = append(x.m.Answer, resp.Answer...)
		x.m.Ns = append(x.m.Ns, resp.Ns...)
		x.m.Extra = append(x.m.Extra, resp.Extra...)
		return x.pack()
	}
}

// rcodeReply returns a reply without records.
func (x *exchange) rcodeReply(code int) outcome {
	x.m.Rcode = code
	return outcome{reply: x.pack()}
}

// pack encodes the reply within the size that the client accepts.
func (x *exchange) pack() []byte {
	limit := dns.MaxMsgSize - 1
	if !x.from.tcp {
		limit = x.edns.limit()
	}
	opt := x.edns.opt(x.s.cookies.renew(x.edns.cookie, x.from.source, time.Now()), x.ede)
	reply, err := packWithin(x.m, opt, limit)
	if err != nil {
		// Only records from an upstream can be valid to decode and invalid to encode.
		x.s.cfg.Log.LogAttrs(x.s.ctx, slog.LevelWarn, "DNS reply cannot be encoded",
			slog.String("name", x.m.Question[0].Name), slog.Any("err", err))
		x.m.Answer, x.m.Ns, x.m.Extra, x.m.Rcode = nil, nil, nil, dns.RcodeServerFailure
		if reply, err = packWithin(x.m, opt, limit); err != nil {
			return nil
		}
	}
	x.s.counters.rcodes[x.m.Rcode].Add(1)
	return reply
}

// headerSize is the size of a message's header (RFC 1035, section 4.1.1).
const headerSize = 12

func isResponse(msg []byte) bool { return msg[2]&0x80 != 0 }
func opcode(msg []byte) int      { return int(msg[2]>>3) & 0xf }

// isComplete reports whether a decoded message has the number of records that its header states, and a type and a class
// for each question. Unpack accepts a message that ends between two fields. Type and class 0 are reserved (RFC 6895,
// section 3), so they mean a missing field.
func isComplete(msg []byte, m *dns.Msg) bool {
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

// headerReply returns a reply that consists of a header only, to a message that the server cannot decode or does not
// support.
func (s *Server) headerReply(msg []byte, rcode int) outcome {
	reply := make([]byte, headerSize)
	copy(reply, msg[:2])
	const response, opcodeAndRD = 0x80, 0x79
	binary.BigEndian.PutUint16(reply[2:], uint16(response|msg[2]&opcodeAndRD)<<8|uint16(rcode))
	s.counters.rcodes[rcode].Add(1)
	return outcome{reply: reply}
}

// canonicalName converts a name from presentation form to the form of [answer.Query]. Presentation form escapes a dozen
// characters with a backslash, some of which occur in instance ids. canonicalName unescapes them, except a dot or
// backslash inside a label, so that it is not mistaken for a separator.
func canonicalName(name string) string {
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
		case '0' <= c && c <= '9': // \DDD, an octet that does not occur in our names
			b = append(b, '\\', c)
		default:
			b = append(b, c)
		}
	}
	return string(b)
}
