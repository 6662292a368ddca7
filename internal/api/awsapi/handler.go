package awsapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/smithy-go"
	"github.com/google/uuid"
)

// DefaultMaxBody is the length of the largest request body that is read unless Config says otherwise. The
// largest that AWS takes is a task definition of 64 KiB.
const DefaultMaxBody = 1 << 20

// maxInvocationID is how long amz-sdk-invocation-id may be, a UUID in every SDK. A longer one is dropped.
const maxInvocationID = 128

const targetHeader = "X-Amz-Target"

// API is one AWS service behind the handler: a [Service], or one of another protocol (packages sts and route53). Its
// methods are called in this order; Operation and Call only for a request whose signature is good.
type API interface {
	// Scope is the service name in the credential scope of its requests.
	Scope() string
	// ContentType is the media type of its answers and errors.
	ContentType() string
	// Operation names the operation that a request asks for. The caller's role is held against that name.
	Operation(r *http.Request, body []byte) (string, error)
	// Call runs the operation and appends the answer's body to dst.
	Call(ctx context.Context, operation string, body, dst []byte) ([]byte, error)
	// Translate gives the wire form of an error, or nil if it has none.
	Translate(err error) error
	// AppendError appends the body of an error's answer to dst and returns it with its HTTP status.
	AppendError(dst []byte, err smithy.APIError, requestID string) ([]byte, int)
}

// Caller is who makes a request, and from which region's point of view.
type Caller struct {
	Account      string
	Region       string // of the credential scope; selects the partition of the keyspace
	AccessKeyID  string
	Role         Role
	Temporary    bool   // the key came with a session token
	RequestID    string // x-amzn-RequestId of the answer
	InvocationID string // amz-sdk-invocation-id: the same for every attempt of one call; may be empty
}

type callKey struct{}

// call is what the context of an operation carries.
type call struct {
	caller   Caller
	url      *url.URL // nil for calls that do not come through the handler
	in, out  http.Header
	whenSent []func()
}

// CallerFrom returns the caller of the request that ctx belongs to, the zero Caller if to none.
func CallerFrom(ctx context.Context) Caller {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		return c.caller
	}
	return Caller{}
}

// WithCaller returns a context that carries c, for calls that do not come through the handler.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callKey{}, &call{caller: c, in: http.Header{}, out: http.Header{}})
}

// RequestURL returns the URL of the request that ctx belongs to, an empty one if to none. REST APIs have their
// input in it; others ignore it. It is not to be changed.
func RequestURL(ctx context.Context) *url.URL {
	if c, ok := ctx.Value(callKey{}).(*call); ok && c.url != nil {
		return c.url
	}
	return &url.URL{}
}

// RequestHeader returns a header of the request that ctx belongs to, empty if it has none. AWS's shapes have
// no member for what goes beyond AWS; a header is what users of its SDKs can add, and others never send.
func RequestHeader(ctx context.Context, key string) string {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		return c.in.Get(key)
	}
	return ""
}

// SetResponseHeader sets a header of the answer to the request that ctx belongs to.
func SetResponseHeader(ctx context.Context, key, value string) {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		c.out.Set(key, value)
	}
}

// sendTimeout bounds the time until a client has taken an answer that somebody waits for ([WhenSent]). What
// the kernel's buffers hold counts as taken.
const sendTimeout = 2 * time.Second

// WhenSent has fn called when the answer to the request that ctx belongs to has been sent, or is known not to
// arrive, which is soon: a client that does not take such an answer within seconds loses its connection. A
// context of no request is not waited for: fn is called at once.
func WhenSent(ctx context.Context, fn func()) {
	if c, ok := ctx.Value(callKey{}).(*call); ok && c.url != nil {
		c.whenSent = append(c.whenSent, fn)
		return
	}
	fn()
}

// Config is what the handler needs beside the APIs.
type Config struct {
	Account string // the account id of every caller
	Keys    *Keys
	Now     func() time.Time // nil is time.Now
	Logger  *slog.Logger     // nil is slog.Default
	MaxBody int64            // bytes; 0 is DefaultMaxBody
}

// NewHandler returns the handler that serves these APIs on any path and host.
func NewHandler(cfg Config, apis ...API) http.Handler {
	h := &handler{cfg: cfg, byScope: map[string]API{}, byPrefix: map[string]API{}}
	if h.cfg.Now == nil {
		h.cfg.Now = time.Now
	}
	if h.cfg.Logger == nil {
		h.cfg.Logger = slog.Default()
	}
	if h.cfg.MaxBody == 0 {
		h.cfg.MaxBody = DefaultMaxBody
	}
	h.verifier = verifier{keys: cfg.Keys, now: h.cfg.Now}
	for _, api := range apis {
		h.byScope[api.Scope()] = api
		if s, ok := api.(*Service); ok {
			h.byPrefix[s.TargetPrefix] = api
		}
	}
	return h
}

type handler struct {
	cfg      Config
	verifier verifier
	byScope  map[string]API
	byPrefix map[string]API // of X-Amz-Target
}

// buffers holds the memory that bodies are read to and answers are written from.
var buffers = sync.Pool{New: func() any { return new(buffer) }}

type buffer struct{ body, answer []byte }

// release gives b back, unless one large message would then stay in memory.
func (b *buffer) release() {
	if cap(b.body)+cap(b.answer) <= 256<<10 {
		buffers.Put(b)
	}
}

// ServeHTTP answers one request. Nothing is written before the whole answer is known, so that a panic at
// any point still leads to a proper error.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	requestID := uuid.NewString()
	api := h.route(r)
	buf := buffers.Get().(*buffer)
	defer buf.release()

	header := w.Header()
	c := &call{url: r.URL, in: r.Header, out: header}
	defer func() {
		for _, sent := range c.whenSent {
			sent()
		}
	}()
	answer, status := h.answer(api, r, c, requestID, buf)
	buf.answer = answer

	header["Content-Type"] = []string{api.ContentType()}
	header["Content-Length"] = []string{strconv.Itoa(len(answer))} // without it, net/http would send chunks, and one packet more
	header["X-Amzn-Requestid"] = []string{requestID}
	// What fails below fails because the client has gone.
	send := http.NewResponseController(w)
	if c.whenSent != nil {
		send.SetWriteDeadline(time.Now().Add(sendTimeout)) // the server sets its own again for the next request
	}
	w.WriteHeader(status)
	w.Write(answer)
	if c.whenSent != nil {
		send.Flush()
	}
}

// route finds the API of a request by its target, or by the scope that it claims; the verifier holds the
// two against each other. A request that names neither gets its refusal from a service without operations.
func (h *handler) route(r *http.Request) API {
	prefix, _, _ := strings.Cut(r.Header.Get(targetHeader), ".")
	if api, ok := h.byPrefix[prefix]; ok {
		return api
	}
	if c, err := parseAuthorization(r); err == nil {
		if api, ok := h.byScope[c.service]; ok {
			return api
		}
	}
	return nowhere
}

var nowhere API = &Service{}

// answer returns the body and status that a request is answered with, whatever happens on the way.
func (h *handler) answer(api API, r *http.Request, c *call, requestID string, buf *buffer) (body []byte, status int) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			panic(p)
		default:
			h.cfg.Logger.Error("API handler panicked", "service", api.Scope(), "target", r.Header.Get(targetHeader),
				"request_id", requestID, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			body, status = api.AppendError(buf.answer[:0], internalFailure, requestID)
		}
	}()
	body, err := h.serve(api, r, c, requestID, buf)
	if err == nil {
		return body, http.StatusOK
	}
	wire, known := translate(err, api.Translate)
	if !known && r.Context().Err() == nil { // a client that has gone is no failure of ours
		h.cfg.Logger.Error("API call failed", "service", api.Scope(), "target", r.Header.Get(targetHeader),
			"request_id", requestID, "err", err)
	}
	return api.AppendError(buf.answer[:0], wire, requestID)
}

// serve checks a request and calls its operation.
func (h *handler) serve(api API, r *http.Request, c *call, requestID string, buf *buffer) ([]byte, error) {
	claim, credential, err := h.verifier.identify(r, api.Scope())
	if err != nil {
		return nil, err // before the body: a stranger shall not make us read it
	}
	if buf.body, err = h.read(r, buf.body[:0]); err != nil {
		return nil, err
	}
	if err := h.verifier.verify(r, buf.body, claim, credential); err != nil {
		return nil, err
	}
	operation, err := api.Operation(r, buf.body)
	if err != nil {
		return nil, err
	}
	if !credential.Role.permits(operation) {
		return nil, &Error{Code: "AccessDeniedException", Message: fmt.Sprintf(
			"Access key %s is not authorized to perform %s:%s, because its role is %s", claim.accessKeyID, api.Scope(), operation, credential.Role)}
	}
	c.caller = Caller{
		Account:      h.cfg.Account,
		Region:       claim.region,
		AccessKeyID:  claim.accessKeyID,
		Role:         credential.Role,
		Temporary:    credential.Temporary,
		RequestID:    requestID,
		InvocationID: invocationID(r),
	}
	return api.Call(context.WithValue(r.Context(), callKey{}, c), operation, buf.body, buf.answer[:0])
}

// read returns the body in dst's memory.
func (h *handler) read(r *http.Request, dst []byte) ([]byte, error) {
	if r.ContentLength > h.cfg.MaxBody {
		return dst, h.tooLarge()
	}
	if n := int(r.ContentLength) + 1; cap(dst) < n { // one more, so that the end is seen without growing
		dst = make([]byte, 0, n)
	}
	for {
		if len(dst) == cap(dst) {
			dst = append(dst, 0)[:len(dst)]
		}
		n, err := r.Body.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		switch {
		case int64(len(dst)) > h.cfg.MaxBody:
			return dst, h.tooLarge()
		case errors.Is(err, io.EOF):
			return dst, nil
		case err != nil:
			return dst, &Error{Code: "RequestTimeout", Message: "The body did not arrive in full; send the request again."}
		}
	}
}

func (h *handler) tooLarge() error {
	return &Error{
		Code:    "RequestEntityTooLargeException",
		Message: fmt.Sprintf("The body is larger than %d bytes.", h.cfg.MaxBody),
		Status:  http.StatusRequestEntityTooLarge,
	}
}

// invocationID returns the id that an SDK gives to all attempts of one call, if it is one.
func invocationID(r *http.Request) string {
	id := r.Header.Get("Amz-Sdk-Invocation-Id")
	if len(id) > maxInvocationID || strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return ""
	}
	return id
}
