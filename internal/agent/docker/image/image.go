// Package image provides the images of containers: it pulls them with the logins that docker login keeps, and makes the
// image of this program, which pause containers and the sample use.
package image

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/client"
	"golang.org/x/sync/singleflight"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// images gets the images of containers.
//
// ECS's agent pulls at each start of a task, and takes the image that is there when that fails (ECS_IMAGE_PULL_BEHAVIOR,
// "default"). So it is here, with two exceptions that sites without a registry live by: an image that was built or loaded
// on this machine comes from no registry, so none is asked; and a registry that has just failed is left alone for
// [registryRest] as far as the images are here.
type Store struct {
	engine  *client.Client
	program func() (*ownBinary, error) // this one, of which own makes an image
	log     *slog.Logger
	calls   singleflight.Group // own's

	mu      sync.Mutex
	failed  map[string]time.Time // registries and references, and when they failed
	pulling map[string]*pull     // by pullKey
}

// registryRest is how long a registry is left alone that has failed.
const registryRest = time.Minute

func NewStore(engine *client.Client, binary string, log *slog.Logger) *Store {
	return &Store{
		engine: engine, log: log, program: sync.OnceValues(func() (*ownBinary, error) { return openOwn(binary) }),
		failed: map[string]time.Time{}, pulling: map[string]*pull{},
	}
}

// inspect is what the engine has of an image; nil when it has none.
func (i *Store) inspect(ctx context.Context, name string) (*image.InspectResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, engineapi.CallTimeout)
	defer cancel()
	have, err := i.engine.ImageInspect(ctx, name)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, engineapi.StartError("CannotPullContainerError: "+name, err)
	}
	return &have.InspectResponse, nil
}

// local is the id of an image that is here, and its digest: as its registry knows it, else its id. The text of an error
// begins with CannotPullContainerError.
func (i *Store) Local(ctx context.Context, name string) (id, digest string, err error) {
	ref, err := parse(name)
	if err != nil {
		return "", "", err
	}
	if isOwn(ref) {
		id, err := i.Program(ctx)
		return id, id, err
	}
	have, err := i.inspect(ctx, name)
	if err != nil {
		return "", "", err
	}
	if have == nil {
		return "", "", fault.New(fault.Invalid, "image", "CannotPullContainerError: %s is not on this machine any more; somebody has removed it", name)
	}
	if have.Architecture != "" && have.Architecture != runtime.GOARCH {
		i.log.Warn("an image is built for another platform: its programs run only where the machine emulates that (binfmt_misc), else they end with "+
			"\"exec format error\"", "image", name, "built for", have.Architecture, "this machine", runtime.GOARCH)
	}
	if digest := registryDigest(ref, have); digest != "" {
		return have.ID, digest, nil
	}
	return have.ID, have.ID, nil
}

// prepare makes an image be here, and as new as its registry has it. fetching is called before anything is pulled.
func (i *Store) Prepare(ctx context.Context, name string, login *agent.Login, fetching func()) error {
	ref, err := parse(name)
	if err != nil {
		return err
	}
	if isOwn(ref) {
		_, err := i.Program(ctx)
		return err
	}
	have, err := i.inspect(ctx, name)
	if err != nil {
		return err
	}
	if have != nil && (pinned(ref) || registryDigest(ref, have) == "" || i.rests(ref, login)) {
		return nil
	}
	fetching()
	err = i.pull(ctx, ref, login)
	if err == nil || have == nil || fault.Is(err, fault.Unavailable) {
		return err
	}
	i.log.Warn("an image could not be pulled; the one that is on this machine is used", "image", name, "err", err)
	return nil
}

// parse reads the name of an image, as docker run does: "redis" is docker.io/library/redis:latest.
func parse(name string) (reference.Named, error) {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil, fault.New(fault.Invalid, "image", "CannotPullContainerError: the image %q: %v", name, err)
	}
	return reference.TagNameOnly(ref), nil
}

// isOwn says that a reference is to the image of this binary.
func isOwn(ref reference.Named) bool { return ref.String() == "docker.io/"+Sample+":latest" }

// pinned says that a reference has a digest: there is only one such image.
func pinned(ref reference.Named) bool {
	_, ok := ref.(reference.Digested)
	return ok
}

// registryDigest is the digest by which a reference's registry knows an image; empty for one that was built or loaded here.
func registryDigest(ref reference.Named, have *image.InspectResponse) string {
	if have.Identity != nil && len(have.Identity.Pull) == 0 {
		return "" // an engine with containerd's image store gives digests to what was built here, too, but tells the two apart
	}
	for _, d := range have.RepoDigests {
		repository, digest, _ := strings.Cut(d, "@")
		if known, err := reference.ParseNormalizedNamed(repository); err == nil && known.Name() == ref.Name() {
			return digest
		}
	}
	return ""
}

// rests says that what a reference leads to has just failed.
func (i *Store) rests(ref reference.Named, login *agent.Login) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	for key, at := range i.failed {
		if time.Since(at) >= registryRest {
			delete(i.failed, key)
		}
	}
	_, registry := i.failed[reference.Domain(ref)]
	_, image := i.failed[pullKey(ref, login)]
	return registry || image
}

// noteLocked notes how a pull ended. A registry that says no to one image may have the others.
func (i *Store) noteLocked(ref reference.Named, login *agent.Login, err error) {
	switch {
	case err == nil:
		delete(i.failed, reference.Domain(ref))
		delete(i.failed, pullKey(ref, login))
	case engineapi.Unreachable(err): // the engine; the registry was not asked
	case errdefs.IsNotFound(err), errdefs.IsUnauthorized(err), errdefs.IsPermissionDenied(err), refused(engineapi.Message(err)):
		i.failed[pullKey(ref, login)] = time.Now()
	default:
		i.failed[reference.Domain(ref)] = time.Now()
	}
}

// refused says that a registry has answered, and will not give an image. The engine tells it by its words alone.
func refused(told string) bool {
	return says(told, notThere) || says(told, notAllowed) || says(told, notForThis)
}

// What the engine's reasons for no image have in them.
var (
	notThere   = []string{"manifest unknown", "not found"}
	notAllowed = []string{"access denied", "unauthorized", "no basic auth credentials", "denied:", "authentication required", "HTTP 403", "HTTP 401"}
	notForThis = []string{"no matching manifest"}
	damaged    = []string{"verification failed", "unexpected EOF", "digest"}
)

func says(told string, words []string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(told, w) })
}

// pullError says why an image could not be had, in ECS's words (Amazon ECS Developer Guide, "CannotPullContainer task
// errors"), and what to do.
func pullError(ref reference.Named, err error) error {
	told := engineapi.Message(err)
	if engineapi.Unreachable(err) {
		return engineapi.Error(err)
	}
	name := reference.FamiliarString(ref)
	return fault.New(fault.Invalid, "image", "CannotPullContainerError: %s: %s; %s", name, strings.TrimSuffix(told, "."), advice(told, ref))
}

// advice is what to do about a pull's failure.
func advice(told string, ref reference.Named) string {
	registry, name := reference.Domain(ref), reference.FamiliarString(ref)
	switch {
	case says(told, notForThis):
		return "the image is not built for this machine's platform: build it for that (docker build --platform), or run the task on another node"
	case says(told, notAllowed):
		return fmt.Sprintf("is the name right? If so, log in as the user that Rollcall runs as (docker login %s), or give the container repositoryCredentials", registry)
	case says(told, notThere):
		return "is the name right? An image without a registry is built or loaded on this machine (docker build -t, docker load)"
	case says(told, damaged):
		return "what came was damaged: docker pull " + name + " shows whether it always is"
	}
	return fmt.Sprintf("does this machine reach %s (docker pull %s)? Where there is no registry, load the image (docker save, docker load)", registry, name)
}
