// Package image provides the images that containers are made from.
//
// [Store.Prepare] pulls an image if it has to (pull.go), with the login of the task definition or the one that docker
// login has stored (login.go), and explains why a pull failed (pullerror.go). [Store.Local] finds an image on this
// machine. [Store.Program] makes the image of this program, which pause containers, self-tests and the sample use; it
// is loaded into the engine without any registry (program.go).
//
// The package does not know tasks or containers.
package image

import (
	"context"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	mobyimage "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/client"
	"golang.org/x/sync/singleflight"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// Store provides the images of one engine. Create it with [NewStore].
//
// ECS's agent pulls an image each time a task starts, and uses the image on the machine if the pull fails
// (ECS_IMAGE_PULL_BEHAVIOR "default"). A Store does the same with two exceptions, for sites without a registry: it does
// not pull an image that was built or loaded on this machine, and for [registryBackoff] after a registry has failed it
// uses the images on the machine without asking that registry.
type Store struct {
	engine  *client.Client
	binary  func() (*binary, error) // the program that Program makes an image of
	log     *slog.Logger
	program singleflight.Group // calls of Program

	mu      sync.Mutex
	failed  map[string]time.Time // by registry and by pullKey: the time of the last failure
	pulling map[string]*pull     // by pullKey
}

// registryBackoff is the time for which a registry is not asked after a failure, if the image is on the machine.
const registryBackoff = time.Minute

// NewStore returns a Store. binaryFile is a static build of this program.
func NewStore(engine *client.Client, binaryFile string, log *slog.Logger) *Store {
	return &Store{
		engine: engine, log: log, binary: sync.OnceValues(func() (*binary, error) { return openBinary(binaryFile) }),
		failed: map[string]time.Time{}, pulling: map[string]*pull{},
	}
}

// inspect returns what the engine knows about an image, or nil if it does not have the image.
func (s *Store) inspect(ctx context.Context, name string) (*mobyimage.InspectResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, engineapi.CallTimeout)
	defer cancel()
	seen, err := s.engine.ImageInspect(ctx, name)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, engineapi.StartError("CannotPullContainerError: "+name, err)
	}
	return &seen.InspectResponse, nil
}

// Local returns the id of an image on this machine and its digest: the one in its registry, or, for an image that was
// built or loaded here, its id. Error texts begin with CannotPullContainerError.
func (s *Store) Local(ctx context.Context, name string) (id, digest string, err error) {
	ref, err := parse(name)
	if err != nil {
		return "", "", err
	}
	if isProgram(ref) {
		id, err := s.Program(ctx)
		return id, id, err
	}
	seen, err := s.inspect(ctx, name)
	if err != nil {
		return "", "", err
	}
	if seen == nil {
		return "", "", fault.New(fault.Invalid, "image",
			"CannotPullContainerError: image %s was removed from this machine after it was pulled", name)
	}
	if seen.Architecture != "" && seen.Architecture != runtime.GOARCH {
		s.log.Warn("image is built for another architecture; its programs need emulation (binfmt_misc) to run",
			"image", name, "image architecture", seen.Architecture, "machine architecture", runtime.GOARCH)
	}
	if digest := registryDigest(ref, seen); digest != "" {
		return seen.ID, digest, nil
	}
	return seen.ID, seen.ID, nil
}

// Prepare makes sure that an image is on this machine, in its registry's current version. It calls fetching before it
// pulls.
func (s *Store) Prepare(ctx context.Context, name string, login *agent.Login, fetching func()) error {
	ref, err := parse(name)
	if err != nil {
		return err
	}
	if isProgram(ref) {
		_, err := s.Program(ctx)
		return err
	}
	seen, err := s.inspect(ctx, name)
	if err != nil {
		return err
	}
	if seen != nil && (hasDigest(ref) || registryDigest(ref, seen) == "" || s.failedLately(ref, login)) {
		return nil
	}
	fetching()
	err = s.pull(ctx, ref, login)
	if err == nil || seen == nil || fault.Is(err, fault.Unavailable) {
		return err
	}
	s.log.Warn("cannot pull image; using the one on this machine", "image", name, "err", err)
	return nil
}

// parse parses the name of an image as docker run does: "redis" is docker.io/library/redis:latest.
func parse(name string) (reference.Named, error) {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil, fault.New(fault.Invalid, "image", "CannotPullContainerError: image %q: %v", name, err)
	}
	return reference.TagNameOnly(ref), nil
}

// isProgram reports whether a reference names the image of this program.
func isProgram(ref reference.Named) bool { return ref.String() == "docker.io/"+Sample+":latest" }

// hasDigest reports whether a reference contains a digest, so that only one image can match it.
func hasDigest(ref reference.Named) bool {
	_, ok := ref.(reference.Digested)
	return ok
}

// registryDigest returns the digest that an image has in the reference's registry. It is empty for an image that was
// built or loaded on this machine.
func registryDigest(ref reference.Named, seen *mobyimage.InspectResponse) string {
	// An engine with containerd's image store reports digests of local images too, and lists the pulls of each image.
	if seen.Identity != nil && len(seen.Identity.Pull) == 0 {
		return ""
	}
	for _, d := range seen.RepoDigests {
		repository, digest, _ := strings.Cut(d, "@")
		if known, err := reference.ParseNormalizedNamed(repository); err == nil && known.Name() == ref.Name() {
			return digest
		}
	}
	return ""
}

// failedLately reports whether a pull of the reference, or its registry, has failed within registryBackoff.
func (s *Store) failedLately(ref reference.Named, login *agent.Login) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, at := range s.failed {
		if time.Since(at) >= registryBackoff {
			delete(s.failed, key)
		}
	}
	_, registry := s.failed[reference.Domain(ref)]
	_, image := s.failed[pullKey(ref, login)]
	return registry || image
}

// recordResultLocked records the result of a pull. A registry that refuses one image may still have others.
func (s *Store) recordResultLocked(ref reference.Named, login *agent.Login, err error) {
	switch {
	case err == nil:
		delete(s.failed, reference.Domain(ref))
		delete(s.failed, pullKey(ref, login))
	case engineapi.Unreachable(err): // the engine has not asked the registry
	case isRefusal(err):
		s.failed[pullKey(ref, login)] = time.Now()
	default:
		s.failed[reference.Domain(ref)] = time.Now()
	}
}
