package image

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/client"
)

// Sample is the image that the examples name: this very binary. Nobody has to build or to pull it.
const Sample = "rollcall/sample"

// ownWithin is how long the engine may take to read the image of this binary.
const ownWithin = 2 * time.Minute

// own is the id of the image of this binary, which is made, FROM scratch, when the engine does not have it. It is also
// what [Sample] names. Who asks while it is being made waits for that.
func (i *Store) Program(ctx context.Context) (string, error) {
	done := i.calls.DoChan("own", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ownWithin)
		defer cancel()
		o, err := i.program()
		if err != nil {
			return "", err
		}
		return o.image(ctx, i.engine)
	})
	select {
	case r := <-done:
		return r.Val.(string), r.Err
	case <-ctx.Done():
		return "", engineapi.Error(ctx.Err())
	}
}

// ownBinary is a static build of this program, from which pause containers and the sample are made. The file stays open,
// so that it is the same one also after an upgrade has replaced it.
type ownBinary struct {
	file *os.File
	info os.FileInfo
	arch string // in Go's and the engine's words
	sum  string // SHA-256
}

// tag names the image of one binary.
func (o *ownBinary) tag() string { return "rollcall/pause:" + o.sum[:12] }

// openOwn looks at a binary. The error says what to do when no container can run it.
func openOwn(name string) (own *ownBinary, err error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("docker: this binary, for the pause containers: %w", err)
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("docker: this binary, for the pause containers: %w", err)
	}
	arch, err := staticArch(file)
	if err != nil {
		return nil, fmt.Errorf("docker: %s cannot be the program of a container: %w; build it with CGO_ENABLED=0 go build ./cmd/rollcall "+
			"(without -race), as make build does", name, err)
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, io.NewSectionReader(file, 0, info.Size())); err != nil {
		return nil, fmt.Errorf("docker: read this binary: %w", err)
	}
	return &ownBinary{file, info, arch, hex.EncodeToString(hash.Sum(nil))}, nil
}

// staticArch is the architecture that a program is for; an error where it needs more than itself to run.
func staticArch(file io.ReaderAt) (string, error) {
	program, err := elf.NewFile(file)
	if err != nil {
		return "", fmt.Errorf("it is no program of Linux: %w", err)
	}
	defer program.Close()
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP {
			return "", errors.New("it is linked dynamically, and an image FROM scratch has no libraries")
		}
	}
	switch program.Machine {
	case elf.EM_X86_64:
		return "amd64", nil
	case elf.EM_AARCH64:
		return "arm64", nil
	}
	return runtime.GOARCH, nil
}

// image makes sure that the engine has the image of the binary, and says its id. Whoever makes it from the same binary makes
// the very same one, so that two servers at once do no harm.
func (o *ownBinary) image(ctx context.Context, engine *client.Client) (id string, err error) {
	have, err := engine.ImageInspect(ctx, o.tag())
	if errdefs.IsNotFound(err) {
		if err := o.load(ctx, engine); err != nil {
			return "", fmt.Errorf("load the image of this binary: %w", engineapi.Error(err))
		}
		if err := o.tagSample(ctx, engine); err != nil {
			return "", fmt.Errorf("name the image of this binary %s: %w", Sample, engineapi.Error(err))
		}
		have, err = engine.ImageInspect(ctx, o.tag())
	}
	if err != nil {
		return "", engineapi.Error(err)
	}
	return have.ID, nil
}

// tagSample names the image for people, unless somebody has an image of that name that is not ours.
func (o *ownBinary) tagSample(ctx context.Context, engine *client.Client) error {
	have, err := engine.ImageInspect(ctx, Sample)
	switch {
	case err == nil && (have.Config == nil || have.Config.Labels[engineapi.LabelBinary] == ""):
		return nil
	case err != nil && !errdefs.IsNotFound(err):
		return err
	}
	_, err = engine.ImageTag(ctx, client.ImageTagOptions{Source: o.tag(), Target: Sample + ":latest"})
	return err
}

// load sends the image to the engine, in the form of docker save (Docker Image Specification v1.2, "Combined Image JSON +
// Filesystem Changeset Format"), as it is made. Nothing is kept of it, neither in memory nor on disk.
func (o *ownBinary) load(ctx context.Context, engine *client.Client) error {
	bundle := certificates()
	layer := sha256.New()
	var size counter
	if err := o.writeLayer(io.MultiWriter(layer, &size), bundle); err != nil {
		return err
	}
	config, err := json.Marshal(o.config("sha256:" + hex.EncodeToString(layer.Sum(nil))))
	if err != nil {
		return err
	}
	r, w := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := o.writeImage(w, config, int64(size), bundle)
		w.CloseWithError(err)
		sent <- err
	}()
	problem := loaded(ctx, engine, r)
	r.CloseWithError(errors.New("the engine takes no more")) // ends the writer where it is
	if err := <-sent; problem == nil {
		problem = err
	}
	return problem
}

// loaded has the engine read an image, and says what the engine says of it.
func loaded(ctx context.Context, engine *client.Client, image io.Reader) error {
	answer, err := engine.ImageLoad(ctx, image, client.ImageLoadWithQuiet(true))
	if err != nil {
		return err
	}
	defer answer.Close()
	for decoder := json.NewDecoder(answer); ; {
		var m jsonstream.Message
		if err := decoder.Decode(&m); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if m.Error != nil {
			return m.Error
		}
	}
}

// config is an image's configuration.
func (o *ownBinary) config(layer string) any {
	created := o.info.ModTime().UTC().Truncate(time.Second)
	return map[string]any{
		"architecture": o.arch, "os": "linux", "created": created,
		"config": map[string]any{
			"Env":        []string{"PATH=/usr/local/bin"},
			"WorkingDir": "/",
			"Cmd":        []string{"rollcall", "help"},
			"Labels":     map[string]string{engineapi.LabelBinary: o.sum},
		},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{layer}},
		"history": []any{map[string]any{"created": created, "comment": "this binary of Rollcall, and nothing else"}},
	}
}

// writeImage writes an image with one layer of a size.
func (o *ownBinary) writeImage(to io.Writer, config []byte, size int64, bundle []byte) error {
	sum := sha256.Sum256(config)
	name := hex.EncodeToString(sum[:]) + ".json"
	manifest, err := json.Marshal([]any{map[string]any{"Config": name, "RepoTags": []string{o.tag()}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return err
	}
	t := tar.NewWriter(to)
	for _, f := range []struct {
		name string
		text []byte
	}{{"manifest.json", manifest}, {name, config}} {
		if err := o.writeFile(t, tar.Header{Name: f.name, Mode: 0o644}, f.text); err != nil {
			return err
		}
	}
	if err := t.WriteHeader(&tar.Header{Name: "layer.tar", Mode: 0o644, Size: size}); err != nil {
		return err
	}
	if err := o.writeLayer(t, bundle); err != nil {
		return err
	}
	return t.Close()
}

// writeLayer writes what a container finds on its disk.
func (o *ownBinary) writeLayer(to io.Writer, bundle []byte) error {
	t := tar.NewWriter(to)
	for _, d := range []struct {
		name string
		mode int64
	}{{"etc/", 0o755}, {"etc/ssl/", 0o755}, {"etc/ssl/certs/", 0o755}, {"tmp/", 0o1777}, {"usr/", 0o755}, {"usr/local/", 0o755}, {"usr/local/bin/", 0o755}} {
		if err := o.writeFile(t, tar.Header{Name: d.name, Typeflag: tar.TypeDir, Mode: d.mode}, nil); err != nil {
			return err
		}
	}
	files := map[string]string{ // as in every distribution: passwd(5), group(5)
		"etc/passwd": "root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n",
		"etc/group":  "root:x:0:\nnobody:x:65534:\n",
	}
	if bundle != nil {
		files["etc/ssl/certs/ca-certificates.crt"] = string(bundle)
	}
	for _, name := range []string{"etc/passwd", "etc/group", "etc/ssl/certs/ca-certificates.crt"} {
		if text, ok := files[name]; ok {
			if err := o.writeFile(t, tar.Header{Name: name, Mode: 0o644}, []byte(text)); err != nil {
				return err
			}
		}
	}
	header := tar.Header{Name: "usr/local/bin/rollcall", Mode: 0o755, Size: o.info.Size(), ModTime: o.info.ModTime().Truncate(time.Second)}
	if err := t.WriteHeader(&header); err != nil {
		return err
	}
	if _, err := io.Copy(t, io.NewSectionReader(o.file, 0, o.info.Size())); err != nil {
		return err
	}
	return t.Close()
}

func (o *ownBinary) writeFile(t *tar.Writer, header tar.Header, text []byte) error {
	header.Size, header.ModTime = int64(len(text)), o.info.ModTime().Truncate(time.Second)
	if err := t.WriteHeader(&header); err != nil {
		return err
	}
	_, err := io.Copy(t, bytes.NewReader(text))
	return err
}

// certificates are this machine's trusted certificate authorities, from where its distribution keeps them (the list of Go's
// crypto/x509/root_linux.go); nil where there are none.
func certificates() []byte {
	for _, name := range []string{
		"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
	} {
		if bundle, err := os.ReadFile(name); err == nil {
			return bundle
		}
	}
	return nil
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

// thisBuild is the SHA-256 of this program, as its image has it; empty where it has none.
func CurrentBuild() string {
	name, err := os.Executable()
	if err != nil {
		return ""
	}
	o, err := openOwn(name)
	if err != nil {
		return ""
	}
	defer o.file.Close()
	return o.sum
}
