// Package metadata serves what a task finds out about itself from the inside: the ECS task metadata endpoint, version 4
// and 3, the credentials of its task role, and task protection ($ECS_CONTAINER_METADATA_URI_V4,
// $AWS_CONTAINER_CREDENTIALS_FULL_URI, $ECS_AGENT_URI).
//
// Where to start reading: metadata.go (the endpoint and its paths), capability.go (what makes a path unguessable),
// environment.go (the variables of a container), documents.go and stats.go (the documents), credentials.go,
// protection.go, state.go (the file that lets running tasks find the endpoint after a restart).
//
// At AWS the endpoint has a link-local address in the task's network. A process task shares the machine's network, so
// its endpoint is a port on loopback, to which every user of the machine can connect. What the package promises:
//
//   - A request gets an answer only if its path contains a name made with the node's secret key, 128 bits of which
//     cannot be guessed. Credentials also require the token that only the task has. Neither is ever in a log.
//   - The names of a task, the port and the key stay the same after a restart, including one by kill -9.
//   - Requests are small, few at a time, and at most [perSecond] a second for each task.
//
// It does not know how tasks run: it reads their rows, and their sandboxes through [Tasks]. The facts come from the
// Amazon ECS Developer Guide ("Task metadata endpoint version 4", "Task scale-in protection endpoint") and the AWS SDKs
// and Tools Reference Guide ("Container credential provider").
package metadata

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/netutil"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// Config configures an Endpoint.
type Config struct {
	DB   *store.Store
	Dir  string // the data folder, with the port and the key
	Zone string // the letter of the availability zone
	// API is the URL at which tasks with a role reach the AWS APIs of this server: http://host:port.
	API string
	// Alias is the same URL with a host name that also exists with the prefix "data-", which some SDKs put before the host
	// of DiscoverInstances; empty if tasks cannot have such a name.
	Alias string
	// Links are the listeners through which containers reach the endpoint, all at one address, which their variables
	// contain; if there are none, the variables contain the endpoint's own address on loopback.
	Links []net.Listener
	// Issue returns new keys for a task role.
	Issue func(expires time.Time) Keys
	// Usage measures running containers, by their runtime ids; nil measures none.
	Usage func(runtimeIDs []string) map[string]agent.Usage
	Log   *slog.Logger
}

// Keys are temporary access keys for a task.
type Keys struct {
	AccessKeyID, Secret, SessionToken string
	Expires                           time.Time
}

// Tasks returns a task of this node and its sandbox, by the task's id.
type Tasks func(id string) (*task.Task, *agent.Sandbox, bool)

// Endpoint is the endpoint of a node. Make one with Open, then call Serve.
type Endpoint struct {
	Config
	listener net.Listener
	base     string // http://127.0.0.1:port
	secret   secret
	tasks    Tasks
	server   *http.Server
	limits   limits
	meter    meter
}

// The limits on what any user of this machine can make the endpoint hold.
const (
	maxConns  = 1024
	maxHeader = 16 << 10
	maxBody   = 4 << 10
)

// Open opens the endpoint's port, that of the last run if it is free. Requests wait for Serve.
func Open(cfg Config) (*Endpoint, error) {
	state, l, err := open(cfg.Dir, cfg.Log)
	if err != nil {
		return nil, fmt.Errorf("open the metadata endpoint: %w", err)
	}
	e := &Endpoint{Config: cfg, listener: l, base: fmt.Sprintf("http://127.0.0.1:%d", state.Port), secret: state.Key}
	if len(cfg.Links) > 0 {
		e.base = "http://" + strings.TrimSuffix(cfg.Links[0].Addr().String(), ":80")
	}
	e.server = &http.Server{
		Handler:           e.routes(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      20 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	return e, nil
}

// Serve answers requests of these tasks. It returns nil after Close.
func (e *Endpoint) Serve(tasks Tasks) error {
	e.tasks = tasks
	for _, l := range e.Links {
		go func() { _ = e.server.Serve(netutil.LimitListener(l, maxConns)) }() // returns after Close, as the one below
	}
	if err := e.server.Serve(netutil.LimitListener(e.listener, maxConns)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the metadata endpoint on %s: %w", e.base, err)
	}
	return nil
}

// Close closes the endpoint. It waits briefly for requests in progress.
func (e *Endpoint) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if e.server.Shutdown(ctx) != nil {
		e.server.Close()
	}
	e.listener.Close() // if Serve was never called
	for _, l := range e.Links {
		l.Close()
	}
}

// routes returns the handler of all paths. An unknown path and a path with an unknown name get the same status.
func (e *Endpoint) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusNotFound, "404 page not found")
	})
	for _, version := range []string{"v3", "v4"} {
		for path, document := range map[string]func(*view) (any, error){
			"": containerDocument, "/task": taskDocument, "/taskWithTags": taskWithTagsDocument,
			"/stats": containerStats, "/task/stats": taskStats,
		} {
			mux.HandleFunc("GET /"+version+"/{name}"+path, e.serveDocument(document))
		}
	}
	mux.HandleFunc("GET /v2/credentials/{name}", e.serveCredentials)
	mux.HandleFunc("GET /api/{name}/task-protection/v1/state", e.getProtection)
	mux.HandleFunc("PUT /api/{name}/task-protection/v1/state", e.putProtection)
	return mux
}

// view is a task and one of its containers, as a request sees them.
type view struct {
	*Endpoint
	r         store.Reader
	task      *task.Task
	sandbox   *agent.Sandbox // nil until the agent has found it
	def       *task.Definition
	container *task.ContainerDefinition // the one that sent the request
}

// serveDocument answers requests with a document.
func (e *Endpoint) serveDocument(document func(*view) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, ok := e.containerView(w, r)
		if !ok {
			return
		}
		doc, err := document(v)
		if err != nil {
			e.Log.Error("cannot read a task's metadata", "task", v.task.ID, "err", err)
			reply(w, http.StatusInternalServerError, "cannot read the metadata; see the server's log")
			return
		}
		reply(w, http.StatusOK, doc)
	}
}

// containerView returns the view of the container whose name is in the request's path. If there is none, it sends the
// reply.
func (e *Endpoint) containerView(w http.ResponseWriter, r *http.Request) (*view, bool) {
	id, n, ok := e.secret.containerOf(r.PathValue("name"))
	if !ok {
		reply(w, http.StatusNotFound, "unable to get container ID from request: unknown endpoint ID")
		return nil, false
	}
	v, ok := e.taskView(w, id)
	if !ok {
		return nil, false
	}
	if n >= len(v.def.Containers) {
		reply(w, http.StatusNotFound, "unable to get container ID from request: unknown endpoint ID")
		return nil, false
	}
	v.container = &v.def.Containers[n]
	return v, true
}

// taskView returns the view of a task whose name was valid, without a container. If it returns false, it has sent the
// reply. Only requests with a valid name count against the task's rate limit, so that other clients cannot use it up.
func (e *Endpoint) taskView(w http.ResponseWriter, id string) (*view, bool) {
	if !e.limits.allow(id, time.Now()) {
		reply(w, http.StatusTooManyRequests, "the task sends too many requests; try again later")
		return nil, false
	}
	t, sandbox, ok := e.tasks(id)
	if !ok || t.Observed.State == task.Stopped { // a copy of a stopped task's environment is of no use
		reply(w, http.StatusNotFound, "unable to get task: it is no longer on this node")
		return nil, false
	}
	r := e.DB.Snapshot()
	def, err := task.GetDefinition(r, t.Scope(), t.Family, t.Revision)
	if err != nil {
		e.Log.Error("cannot read a task's definition", "task", id, "err", err)
		reply(w, http.StatusInternalServerError, "cannot read the task's definition; see the server's log")
		return nil, false
	}
	return &view{Endpoint: e, r: r, task: t, sandbox: sandbox, def: t.Overrides.Apply(def)}, true
}

// reply sends a document. An error is a JSON string, as AWS's agent sends it.
func reply(w http.ResponseWriter, status int, doc any) {
	body, err := json.Marshal(doc)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`"cannot encode the reply"`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // fails only if the client has disconnected
}
