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

// DefaultMaxBody is the length in bytes of the longest request body, unless Config sets another. The longest that AWS
// accepts is a task definition of 64 KiB.
const DefaultMaxBody = 1 << 20

// maxInvocationID is the length of the longest amz-sdk-invocation-id. SDKs send a UUID. The handler ignores longer ids.
const maxInvocationID = 128

const targetHeader = "X-Amz-Target"

// API is one AWS service behind the handler: a [Service], or an API of another protocol (packages sts and route53). The
// handler calls the methods in this order. It calls Operation and Call only for a request with a valid signature.
type API interface {
	// Scope returns the service name in the credential scope of the API's requests.
	Scope() string
	// ContentType returns the media type of responses and errors.
	ContentType() string
	// Operation returns the name of the requested operation. The handler checks that the caller's role permits that
	// name.
	Operation(r *http.Request, body []byte) (string, error)
	// Call runs the operation and appends the body of the response to dst.
	Call(ctx context.Context, operation string, body, dst []byte) ([]byte, error)
	// Translate returns the wire form of an error, or nil if the API has none for it.
	Translate(err error) error
	// AppendError appends the body of an error response to dst and returns it with its HTTP status.
	AppendError(dst []byte, err smithy.APIError, requestID string) ([]byte, int)
}

// Caller identifies the sender of a request, and the region that the request is for.
type Caller struct {
	Account      string
	Region       string // of the credential scope; selects the rows that the call sees
	AccessKeyID  string
	Role         Role
	Temporary    bool   // the access key came with a session token
	RequestID    string // x-amzn-RequestId of the response
	InvocationID string // amz-sdk-invocation-id: the same for all attempts of one call; may be empty
}

type callKey struct{}

// call is the value that the context of an operation carries.
type call struct {
	caller   Caller
	url      *url.URL // nil for calls that do not come through the handler
	in, out  http.Header
	whenSent []func()
}

// CallerFrom returns the caller of the request of ctx, or the zero Caller if ctx belongs to no request.
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

// RequestURL returns the URL of the request of ctx, or an empty one if ctx belongs to no request. REST APIs read their
// input from it. Callers must not change it.
func RequestURL(ctx context.Context) *url.URL {
	if c, ok := ctx.Value(callKey{}).(*call); ok && c.url != nil {
		return c.url
	}
	return &url.URL{}
}

// RequestHeader returns a header of the request of ctx, or "" if it is absent. AWS's shapes have no members for
// Rollcall's own options, so clients send these as headers.
func RequestHeader(ctx context.Context, key string) string {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		return c.in.Get(key)
	}
	return ""
}

// SetResponseHeader sets a header of the response to the request of ctx.
func SetResponseHeader(ctx context.Context, key, value string) {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		c.out.Set(key, value)
	}
}

// sendTimeout is the longest time that a client may take to receive a response that a [WhenSent] function waits for.
// Bytes in the kernel's buffers count as received.
const sendTimeout = 2 * time.Second

// WhenSent calls fn after the response to the request of ctx has been sent, or cannot be sent any more. A client that
// does not receive such a response within sendTimeout loses its connection, so fn is called soon in any case. Without a
// request, fn is called immediately.
func WhenSent(ctx context.Context, fn func()) {
	if c, ok := ctx.Value(callKey{}).(*call); ok && c.url != nil {
		c.whenSent = append(c.whenSent, fn)
		return
	}
	fn()
}

// Config configures the handler.
type Config struct {
	Account string // the account id of all callers
	Keys    *Keys
	Now     func() time.Time // nil means time.Now
	Logger  *slog.Logger     // nil means slog.Default
	MaxBody int64            // in bytes; 0 means DefaultMaxBody
}

// NewHandler returns a handler that serves the APIs on any path and any host.
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
	byPrefix map[string]API // by the prefix of X-Amz-Target
}

// buffers is a pool of memory for request and response bodies.
var buffers = sync.Pool{New: func() any { return new(buffer) }}

type buffer struct{ body, answer []byte }

// release returns b to the pool, except after a large message, whose memory would never be freed.
func (b *buffer) release() {
	if cap(b.body)+cap(b.answer) <= 256<<10 {
		buffers.Put(b)
	}
}

// ServeHTTP answers one request. It writes nothing before the whole response is known, so a panic at any point still
// results in an error response.
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
	// Without a length, net/http would send chunks, and one more packet.
	header["Content-Length"] = []string{strconv.Itoa(len(answer))}
	header["X-Amzn-Requestid"] = []string{requestID}
	// The calls below fail only if the client has closed the connection.
	send := http.NewResponseController(w)
	if c.whenSent != nil {
		// The server sets its own deadline again for the next request.
		_ = send.SetWriteDeadline(time.Now().Add(sendTimeout))
	}
	w.WriteHeader(status)
	_, _ = w.Write(answer)
	if c.whenSent != nil {
		_ = send.Flush()
	}
}

// route finds the API of a request by its target, or else by the credential scope that it claims. The verifier checks
// that the two agree. A request that names no API is rejected by unknownAPI.
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
	return unknownAPI
}

// unknownAPI has no operations.
var unknownAPI API = &Service{}

// answer returns the body and the status of the response, also after a panic.
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
	if !known && r.Context().Err() == nil { // errors after the client has left are not failures of the server
		h.cfg.Logger.Error("API call failed", "service", api.Scope(), "target", r.Header.Get(targetHeader),
			"request_id", requestID, "err", err)
	}
	return api.AppendError(buf.answer[:0], wire, requestID)
}

// serve verifies a request and calls its operation.
func (h *handler) serve(api API, r *http.Request, c *call, requestID string, buf *buffer) ([]byte, error) {
	claim, credential, err := h.verifier.identify(r, api.Scope())
	if err != nil {
		return nil, err // without reading the body of an unknown sender
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
			"Access key %s is not authorized to perform %s:%s, because its role is %s",
			claim.accessKeyID, api.Scope(), operation, credential.Role)}
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

// read returns the request's body, using dst's memory.
func (h *handler) read(r *http.Request, dst []byte) ([]byte, error) {
	if r.ContentLength > h.cfg.MaxBody {
		return dst, h.tooLarge()
	}
	if n := int(r.ContentLength) + 1; cap(dst) < n { // one byte more, so that Read reports the end without growing dst
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
			return dst, &Error{Code: "RequestTimeout",
				Message: "The body did not arrive in full; send the request again."}
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

// invocationID returns the id that an SDK sends with all attempts of one call, or "" if it is not a valid id.
func invocationID(r *http.Request) string {
	id := r.Header.Get("Amz-Sdk-Invocation-Id")
	if len(id) > maxInvocationID || strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return ""
	}
	return id
}
