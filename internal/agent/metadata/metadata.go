// Package metadata is what a task finds of ECS from the inside: the task metadata endpoint, version 4 and 3, the
// credentials of its task role, and task protection ($ECS_CONTAINER_METADATA_URI_V4,
// $AWS_CONTAINER_CREDENTIALS_FULL_URI, $ECS_AGENT_URI).
//
// The way through the code: metadata.go (the endpoint and its paths), names.go (what makes a path unguessable),
// environment.go (what a container is told), documents.go and stats.go (what it can ask for), credentials.go,
// protection.go, state.go (what is kept, so that a task that runs on finds the endpoint again after a restart).
//
// At AWS the endpoint has a link-local address in the task's own network. A process task shares the machine's
// network, so this one is a port on loopback, which every user of the machine can connect to. What is promised:
//
//   - Nothing is told to a request that does not hold a name made with the node's secret key, 128 bits of which
//     cannot be guessed; credentials also ask for the token that only the task was given. Neither is ever in a log.
//   - The names of a task, the port and the key are the same after a restart, also after kill -9.
//   - Requests are small, few at a time, and of each task at most [perSecond] a second.
//
// The facts come from the Amazon ECS Developer Guide ("Task metadata endpoint version 4", "Task scale-in protection
// endpoint") and the AWS SDKs and Tools Reference Guide ("Container credential provider").
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

// Config is what the endpoint needs to know.
type Config struct {
	DB   *store.Store
	Dir  string // the data folder, where the port and the key are kept
	Zone string // the letter of the availability zone
	// API is where tasks with a role reach the AWS APIs of this server: http://host:port.
	API string
	// Alias is the same under a name that also stands behind "data-", which some SDKs put before the host of
	// DiscoverInstances; empty where tasks cannot be given such a name.
	Alias string
	// Links, if any, are where containers reach the endpoint: all at one address, which tasks are told in place of
	// loopback's.
	Links []net.Listener
	// Issue makes the keys of a task role.
	Issue func(expires time.Time) Keys
	// Usage measures the running ones of containers, by their runtime ids; nil measures none.
	Usage func(runtimeIDs []string) map[string]agent.Usage
	Log   *slog.Logger
}

// Keys are temporary keys, as they are given to a task.
type Keys struct {
	AccessKeyID, Secret, SessionToken string
	Expires                           time.Time
}

// Tasks finds the tasks of this node, by id.
type Tasks func(id string) (*task.Task, *agent.Sandbox, bool)

// Endpoint is the node's. Make it with Open, then Serve it.
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

// The bounds of what strangers on this machine can make the endpoint hold.
const (
	maxConns  = 1024
	maxHeader = 16 << 10
	maxBody   = 4 << 10
)

// Open takes the endpoint's port, the one of an earlier run if it is still to be had. Requests wait for Serve.
func Open(cfg Config) (*Endpoint, error) {
	kept, l, err := open(cfg.Dir, cfg.Log)
	if err != nil {
		return nil, fmt.Errorf("the endpoint of tasks: %w", err)
	}
	e := &Endpoint{Config: cfg, listener: l, base: fmt.Sprintf("http://127.0.0.1:%d", kept.Port), secret: kept.Key}
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

// Serve answers for these tasks until Close; its error says that it has ended otherwise.
func (e *Endpoint) Serve(tasks Tasks) error {
	e.tasks = tasks
	for _, l := range e.Links {
		go e.server.Serve(netutil.LimitListener(l, maxConns)) // ends with Close, as the one below
	}
	if err := e.server.Serve(netutil.LimitListener(e.listener, maxConns)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("the endpoint of tasks on %s: %w", e.base, err)
	}
	return nil
}

// Close ends the endpoint; requests under way are given a moment.
func (e *Endpoint) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if e.server.Shutdown(ctx) != nil {
		e.server.Close()
	}
	e.listener.Close() // also when Serve was never called
	for _, l := range e.Links {
		l.Close()
	}
}

// routes are the paths. Whatever is not one of them, or has no good name in it, is the same to a stranger.
func (e *Endpoint) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusNotFound, "404 page not found") })
	for _, version := range []string{"v3", "v4"} {
		for path, document := range map[string]func(*view) (any, error){
			"": containerDocument, "/task": taskDocument, "/taskWithTags": taskWithTagsDocument,
			"/stats": containerStats, "/task/stats": taskStats,
		} {
			mux.HandleFunc("GET /"+version+"/{name}"+path, e.inside(document))
		}
	}
	mux.HandleFunc("GET /v2/credentials/{name}", e.credentials)
	mux.HandleFunc("GET /api/{name}/task-protection/v1/state", e.protection)
	mux.HandleFunc("PUT /api/{name}/task-protection/v1/state", e.protect)
	return mux
}

// view is one look at a container and its task.
type view struct {
	*Endpoint
	r         store.Reader
	task      *task.Task
	box       *agent.Sandbox // nil while the agent has not found it yet
	def       *task.Definition
	container *task.ContainerDefinition // the one that asks
}

// inside answers a container with a document.
func (e *Endpoint) inside(document func(*view) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, ok := e.asks(w, r)
		if !ok {
			return
		}
		doc, err := document(v)
		if err != nil {
			e.Log.Error("a task's metadata cannot be told", "task", v.task.ID, "err", err)
			answer(w, http.StatusInternalServerError, "the metadata cannot be read; the server's log says why")
			return
		}
		answer(w, http.StatusOK, doc)
	}
}

// asks finds the container that a request's name belongs to, or answers that there is none.
func (e *Endpoint) asks(w http.ResponseWriter, r *http.Request) (*view, bool) {
	id, n, ok := e.secret.containerOf(r.PathValue("name"))
	if !ok {
		answer(w, http.StatusNotFound, "unable to get container ID from request: unknown endpoint ID")
		return nil, false
	}
	v, ok := e.view(w, id)
	if !ok {
		return nil, false
	}
	if n >= len(v.def.Containers) {
		answer(w, http.StatusNotFound, "unable to get container ID from request: unknown endpoint ID")
		return nil, false
	}
	v.container = &v.def.Containers[n]
	return v, true
}

// view looks at a task whose name was good. Only such requests are counted, so nobody else can use a task's share up.
func (e *Endpoint) view(w http.ResponseWriter, id string) (*view, bool) {
	if !e.limits.allow(id, time.Now()) {
		answer(w, http.StatusTooManyRequests, "the task asks too often; try again later")
		return nil, false
	}
	t, box, ok := e.tasks(id)
	if !ok || t.Observed.State == task.Stopped { // whoever kept its environment is not the task
		answer(w, http.StatusNotFound, "unable to get task: it is not on this node any more")
		return nil, false
	}
	r := e.DB.Snapshot()
	def, err := task.GetDefinition(r, t.Scope(), t.Family, t.Revision)
	if err != nil {
		e.Log.Error("the definition of a task cannot be read", "task", id, "err", err)
		answer(w, http.StatusInternalServerError, "the task's definition cannot be read")
		return nil, false
	}
	return &view{Endpoint: e, r: r, task: t, box: box, def: t.Overrides.Apply(def)}, true
}

// answer sends a document; an error is a JSON string, as AWS's agent sends it.
func answer(w http.ResponseWriter, status int, doc any) {
	body, err := json.Marshal(doc)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`"the answer cannot be written"`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(body) // fails only if the client has gone
}
