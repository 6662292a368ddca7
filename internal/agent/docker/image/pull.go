package image

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"
)

// stallTimeout is the time without progress after which a pull is canceled. ECS's agent waits a minute
// (ECS_IMAGE_PULL_INACTIVITY_TIMEOUT), which is too short for a large layer on a slow disk.
const stallTimeout = 5 * time.Minute

var errStalled = fmt.Errorf("the pull made no progress for %v", stallTimeout)

// pull is a pull that is running. All callers that want the same image with the same login wait for the same pull. It
// is canceled when no caller waits any more.
type pull struct {
	name    string
	cancel  context.CancelCauseFunc
	done    chan struct{}
	err     error // valid once done is closed
	waiters int
	layers  map[string]*layer // by the engine's id of the layer
}

// layer is the progress of one layer.
type layer struct {
	downloaded, size int64 // in bytes; size is 0 while it is unknown
	done             bool
}

// pullKey returns the key under which equal pulls are shared. It contains the login, since a registry may refuse one
// login an image that it gives to another.
func pullKey(ref reference.Named, login *agent.Login) string {
	if login == nil {
		return ref.String()
	}
	return ref.String() + "\x00" + login.Username + "\x00" + login.Password
}

// pull pulls an image, or waits for an equal pull that is running.
func (s *Store) pull(ctx context.Context, ref reference.Named, login *agent.Login) error {
	key := pullKey(ref, login)
	s.mu.Lock()
	p := s.pulling[key]
	if p == nil {
		p = s.startPullLocked(ctx, ref, login)
	}
	p.waiters++
	s.mu.Unlock()
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		if p.waiters--; p.waiters == 0 {
			s.removePullLocked(key, p) // the next caller starts a new pull
			p.cancel(ctx.Err())
		}
		return engineapi.Error(ctx.Err())
	}
}

func (s *Store) startPullLocked(ctx context.Context, ref reference.Named, login *agent.Login) *pull {
	key := pullKey(ref, login)
	pullCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	p := &pull{
		name: reference.FamiliarString(ref), cancel: cancel, done: make(chan struct{}), layers: map[string]*layer{},
	}
	s.pulling[key] = p
	go func() {
		err := s.runPull(pullCtx, p, ref, login)
		if cause := context.Cause(pullCtx); errors.Is(cause, errStalled) {
			err = cause
		}
		cancel(nil)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.recordResultLocked(ref, login, err)
		s.removePullLocked(key, p)
		if err != nil {
			p.err = pullError(ref, err)
		}
		close(p.done)
	}()
	return p
}

func (s *Store) removePullLocked(key string, p *pull) {
	if s.pulling[key] == p {
		delete(s.pulling, key)
	}
}

// runPull asks the engine to pull and records the progress that it reports.
func (s *Store) runPull(ctx context.Context, p *pull, ref reference.Named, login *agent.Login) error {
	watchdog := time.AfterFunc(stallTimeout, func() { p.cancel(errStalled) })
	defer watchdog.Stop()
	auth, err := registryAuth(ctx, ref, login)
	if err != nil {
		s.log.Warn("cannot read the login for a registry; pulling without it",
			"registry", reference.Domain(ref), "err", err)
	}
	stream, err := s.engine.ImagePull(ctx, ref.String(), client.ImagePullOptions{RegistryAuth: auth})
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
		watchdog.Reset(stallTimeout)
		s.mu.Lock()
		p.update(message)
		s.mu.Unlock()
	}
	return ctx.Err()
}

// update records a message of the engine about a layer.
func (p *pull) update(m jsonstream.Message) {
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
	case l == nil: // in "Pulling from library/redis" the id is the tag
	case m.Status == "Downloading" && m.Progress != nil:
		l.downloaded, l.size = m.Progress.Current, max(l.size, m.Progress.Total)
	case m.Status == "Download complete":
		l.downloaded = l.size
	case m.Status == "Already exists", m.Status == "Pull complete":
		l.downloaded, l.done = l.size, true
	}
}

// String describes the progress of the pull.
func (p *pull) String() string {
	text := "pulling image " + p.name
	var downloaded, size int64
	done := 0
	for _, l := range p.layers {
		downloaded, size = downloaded+l.downloaded, size+l.size
		if l.done {
			done++
		}
	}
	if len(p.layers) > 0 {
		text += fmt.Sprintf(": %d of %d layers", done, len(p.layers))
	}
	switch {
	case size > 0 && downloaded <= size:
		text += fmt.Sprintf(", %.1f of %.1f MB", float64(downloaded)/1e6, float64(size)/1e6)
	case downloaded > 0: // some registries do not report the size
		text += fmt.Sprintf(", %.1f MB", float64(downloaded)/1e6)
	}
	return text
}

// Progress describes each pull that is running, in alphabetical order.
func (s *Store) Progress() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, p := range s.pulling {
		all = append(all, p.String())
	}
	slices.Sort(all)
	return all
}
