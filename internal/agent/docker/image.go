package docker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
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
type images struct {
	engine  *client.Client
	program func() (*ownBinary, error) // this one, of which own makes an image
	log     *slog.Logger
	calls   singleflight.Group

	mu      sync.Mutex
	failed  map[string]time.Time // registries, and when they failed
	pulling map[string]*pull     // by reference
}

// pull is one that is under way.
type pull struct {
	layers map[string][2]int64 // bytes that are here, and all
}

// registryRest is how long a registry is left alone that has failed.
const registryRest = time.Minute

func newImages(engine *client.Client, binary string, log *slog.Logger) *images {
	return &images{
		engine: engine, log: log, program: sync.OnceValues(func() (*ownBinary, error) { return openOwn(binary) }),
		failed: map[string]time.Time{}, pulling: map[string]*pull{},
	}
}

// local is the id of an image that is here, and its digest: as its registry knows it, else its id. The text of an error
// begins with CannotPullContainerError.
func (i *images) local(ctx context.Context, name string) (id, digest string, err error) {
	if ref, err := reference.ParseNormalizedNamed(name); err == nil && isOwn(reference.TagNameOnly(ref)) {
		id, err := i.own(ctx)
		return id, id, err
	}
	have, err := i.engine.ImageInspect(ctx, name)
	if errdefs.IsNotFound(err) {
		return "", "", fault.New(fault.Invalid, "image", "CannotPullContainerError: the image %s is not on this machine", name)
	}
	if err != nil {
		return "", "", startError("CannotPullContainerError: "+name, err)
	}
	for _, d := range have.RepoDigests {
		if _, digest, ok := strings.Cut(d, "@"); ok {
			return have.ID, digest, nil
		}
	}
	return have.ID, have.ID, nil
}

// prepare makes an image be here, and as new as its registry has it. fetching is called before anything is pulled.
func (i *images) prepare(ctx context.Context, name string, login *agent.Login, fetching func()) error {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return fault.New(fault.Invalid, "image", "CannotPullContainerError: the image %q: %v", name, err)
	}
	ref = reference.TagNameOnly(ref)
	have, err := i.engine.ImageInspect(ctx, name)
	switch {
	case err != nil && !errdefs.IsNotFound(err):
		return startError("CannotPullContainerError: "+name, err)
	case isOwn(ref):
		_, err := i.own(ctx)
		return err
	case err == nil && (len(have.RepoDigests) == 0 || pinned(ref)):
		return nil
	case err == nil && i.rests(reference.Domain(ref)):
		return nil
	}
	here := err == nil
	fetching()
	err = i.pull(ctx, ref, login)
	if err != nil && here && ctx.Err() == nil {
		i.log.Warn("an image could not be pulled; the one that is on this machine is used", "image", name, "err", err)
		return nil
	}
	return err
}

// isOwn says that a reference is to the image of this binary.
func isOwn(ref reference.Named) bool {
	tag := ""
	if t, ok := ref.(reference.Tagged); ok {
		tag = t.Tag()
	}
	return reference.FamiliarName(ref) == SampleImage && tag == "latest"
}

// pinned says that a reference has a digest: there is only one such image.
func pinned(ref reference.Named) bool {
	_, ok := ref.(reference.Digested)
	return ok
}

func (i *images) rests(registry string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return time.Since(i.failed[registry]) < registryRest
}

// pull pulls an image; who asks for one that is being pulled waits for that. Nobody's giving up ends it for others.
func (i *images) pull(ctx context.Context, ref reference.Named, login *agent.Login) error {
	key := ref.String()
	if login != nil {
		key += " " + login.Username + " " + login.Password
	}
	done := i.calls.DoChan("pull "+key, func() (any, error) {
		return nil, i.pullOnce(context.WithoutCancel(ctx), ref, login)
	})
	select {
	case r := <-done:
		return r.Err
	case <-ctx.Done():
		return engineError(ctx.Err())
	}
}

// pullWithin is how long a pull may take (ECS's agent: ECS_IMAGE_PULL_TIMEOUT).
const pullWithin = 2 * time.Hour

func (i *images) pullOnce(ctx context.Context, ref reference.Named, login *agent.Login) (err error) {
	ctx, cancel := context.WithTimeout(ctx, pullWithin)
	defer cancel()
	name := reference.FamiliarString(ref)
	auth, err := registryAuth(ref, login)
	if err != nil {
		i.log.Warn("the login of a registry cannot be read; it is asked without", "registry", reference.Domain(ref), "err", err)
	}
	p := &pull{layers: map[string][2]int64{}}
	i.mu.Lock()
	i.pulling[name] = p
	i.mu.Unlock()
	defer func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		delete(i.pulling, name)
		if err == nil {
			delete(i.failed, reference.Domain(ref))
		} else {
			i.failed[reference.Domain(ref)] = time.Now()
		}
	}()
	stream, err := i.engine.ImagePull(ctx, ref.String(), client.ImagePullOptions{RegistryAuth: auth})
	if err != nil {
		return pullError(name, err)
	}
	defer stream.Close()
	for message, err := range stream.JSONMessages(ctx) {
		switch {
		case err != nil:
			return pullError(name, err)
		case message.Error != nil:
			return pullError(name, message.Error)
		case message.Progress != nil && message.Progress.Total > 0 && message.Status == "Downloading":
			i.mu.Lock()
			p.layers[message.ID] = [2]int64{message.Progress.Current, message.Progress.Total}
			i.mu.Unlock()
		}
	}
	return nil
}

// pullError says why an image could not be had, in ECS's words, and what to do.
func pullError(name string, err error) error {
	if client.IsErrConnectionFailed(err) {
		return engineError(err)
	}
	told := engineMessage(err)
	if errors.Is(err, context.DeadlineExceeded) {
		told = fmt.Sprintf("it took longer than %v", pullWithin)
	}
	return fault.New(fault.Invalid, "image", "CannotPullContainerError: %s: %s (is it there, and does this machine's Docker reach it? docker pull %s)", name, told, name)
}

// progress says what is being pulled, and how far it is.
func (i *images) progress() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	var all []string
	for _, name := range slices.Sorted(maps.Keys(i.pulling)) {
		var here, size int64
		for _, l := range i.pulling[name].layers {
			here, size = here+l[0], size+l[1]
		}
		text := "pulling the image " + name
		if size > 0 {
			text += fmt.Sprintf(": %d of %d MB", here/1e6, (size+999999)/1e6)
		}
		all = append(all, text)
	}
	return all
}
