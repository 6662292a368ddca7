package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/agent"
)

// stalled is how long a pull may make no progress (ECS's agent: ECS_IMAGE_PULL_INACTIVITY_TIMEOUT, a minute, which a large
// layer on a slow disk needs longer than).
const stalled = 5 * time.Minute

var errStalled = fmt.Errorf("it made no progress for %v", stalled)

// pull is a pull under way. Whoever wants the same image with the same login waits for it, and it ends when nobody does.
type pull struct {
	name    string
	cancel  context.CancelCauseFunc
	done    chan struct{}
	err     error // once done
	waiting int
	layers  map[string]*layer // by the engine's name of it
}

// layer is how far a layer is.
type layer struct {
	here, size int64 // bytes to fetch; size 0 while that is unknown
	done       bool
}

// pullKey is what equal pulls have in common. What one login may pull, another may not.
func pullKey(ref reference.Named, login *agent.Login) string {
	if login == nil {
		return ref.String()
	}
	return ref.String() + "\x00" + login.Username + "\x00" + login.Password
}

// pull pulls an image.
func (i *Store) pull(ctx context.Context, ref reference.Named, login *agent.Login) error {
	key := pullKey(ref, login)
	i.mu.Lock()
	p := i.pulling[key]
	if p == nil {
		within, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
		p = &pull{name: reference.FamiliarString(ref), cancel: cancel, done: make(chan struct{}), layers: map[string]*layer{}}
		i.pulling[key] = p
		go func() {
			err := i.fetch(within, p, ref, login)
			if cause := context.Cause(within); errors.Is(cause, errStalled) {
				err = cause
			}
			cancel(nil)
			i.mu.Lock()
			defer i.mu.Unlock()
			i.noteLocked(ref, login, err)
			i.forgetLocked(key, p)
			if err != nil {
				p.err = pullError(ref, err)
			}
			close(p.done)
		}()
	}
	p.waiting++
	i.mu.Unlock()
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		i.mu.Lock()
		defer i.mu.Unlock()
		if p.waiting--; p.waiting == 0 {
			i.forgetLocked(key, p) // who comes now begins anew
			p.cancel(ctx.Err())
		}
		return engineapi.Error(ctx.Err())
	}
}

func (i *Store) forgetLocked(key string, p *pull) {
	if i.pulling[key] == p {
		delete(i.pulling, key)
	}
}

// fetch has the engine pull, and notes how far it is.
func (i *Store) fetch(ctx context.Context, p *pull, ref reference.Named, login *agent.Login) error {
	watchdog := time.AfterFunc(stalled, func() { p.cancel(errStalled) })
	defer watchdog.Stop()
	auth, err := registryAuth(ctx, ref, login)
	if err != nil {
		i.log.Warn("the login of a registry cannot be had; it is asked without", "registry", reference.Domain(ref), "err", err)
	}
	stream, err := i.engine.ImagePull(ctx, ref.String(), client.ImagePullOptions{RegistryAuth: auth})
	if err != nil {
		return err
	}
	defer stream.Close()
	for message, err := range stream.JSONMessages(ctx) {
		switch {
		case err != nil:
			return err
		case message.Error != nil:
			return message.Error
		}
		watchdog.Reset(stalled)
		i.mu.Lock()
		p.take(message)
		i.mu.Unlock()
	}
	return ctx.Err()
}

// take takes in what the engine tells of a layer.
func (p *pull) take(m jsonstream.Message) {
	if m.ID == "" || m.Status == "" {
		return
	}
	l := p.layers[m.ID]
	switch m.Status {
	case "Pulling fs layer", "Waiting", "Downloading", "Download complete", "Already exists", "Pull complete":
		if l == nil {
			l = &layer{}
			p.layers[m.ID] = l
		}
	}
	switch {
	case l == nil: // "Pulling from library/redis" has the tag in the place of a layer
	case m.Status == "Downloading" && m.Progress != nil:
		l.here, l.size = m.Progress.Current, max(l.size, m.Progress.Total)
	case m.Status == "Download complete":
		l.here = l.size
	case m.Status == "Already exists", m.Status == "Pull complete":
		l.here, l.done = l.size, true
	}
}

// String says how far a pull is.
func (p *pull) String() string {
	text := "pulling the image " + p.name
	var here, size int64
	done := 0
	for _, l := range p.layers {
		here, size = here+l.here, size+l.size
		if l.done {
			done++
		}
	}
	if len(p.layers) > 0 {
		text += fmt.Sprintf(": %d of %d layers", done, len(p.layers))
	}
	switch {
	case size > 0 && here <= size:
		text += fmt.Sprintf(", %.1f of %.1f MB", float64(here)/1e6, float64(size)/1e6)
	case here > 0: // not every registry says how much there is
		text += fmt.Sprintf(", %.1f MB", float64(here)/1e6)
	}
	return text
}

// progress says what is being pulled, and how far it is.
func (i *Store) Progress() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	var all []string
	for _, p := range i.pulling {
		all = append(all, p.String())
	}
	slices.SortFunc(all, cmp.Compare[string])
	return all
}
