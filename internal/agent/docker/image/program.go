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

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"
)

// Sample is the image that the examples name. It is the image of this program, so it is neither built nor pulled.
const Sample = "rollcall/sample"

// loadTimeout limits the time in which the engine loads the image of this program.
const loadTimeout = 2 * time.Minute

// Program returns the id of the image of this program. It makes the image, FROM scratch, if the engine does not have
// it. Concurrent calls share the work.
func (s *Store) Program(ctx context.Context) (string, error) {
	done := s.program.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
		defer cancel()
		b, err := s.binary()
		if err != nil {
			return "", err
		}
		return b.ensureImage(ctx, s.engine)
	})
	select {
	case r := <-done:
		return r.Val.(string), r.Err
	case <-ctx.Done():
		return "", engineapi.Error(ctx.Err())
	}
}

// CurrentBuild returns the SHA-256 of the running program, which its image has as a label. It is empty if the program
// cannot be the program of an image.
func CurrentBuild() string {
	name, err := os.Executable()
	if err != nil {
		return ""
	}
	b, err := openBinary(name)
	if err != nil {
		return ""
	}
	defer b.file.Close()
	return b.sum
}

// binary is a static build of this program. The file stays open, so that an upgrade that replaces it does not change
// it.
type binary struct {
	file *os.File
	info os.FileInfo
	arch string // as Go and the engine spell it
	sum  string // SHA-256
}

// tag returns the name of the binary's image. It differs for each build.
func (b *binary) tag() string { return "rollcall/pause:" + b.sum[:12] }

// openBinary opens a binary. It returns an error with advice if the binary cannot run in a container.
func openBinary(name string) (b *binary, err error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("docker: open this program, for pause containers: %w", err)
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("docker: open this program, for pause containers: %w", err)
	}
	arch, err := staticArch(file)
	if err != nil {
		return nil, fmt.Errorf("docker: %s cannot run in a container: %w; build it as make build does, "+
			"with CGO_ENABLED=0 go build ./cmd/rollcall and without -race", name, err)
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, io.NewSectionReader(file, 0, info.Size())); err != nil {
		return nil, fmt.Errorf("docker: read this program: %w", err)
	}
	return &binary{file, info, arch, hex.EncodeToString(hash.Sum(nil))}, nil
}

// staticArch returns the architecture of a program, or an error if the program needs libraries to run.
func staticArch(file io.ReaderAt) (string, error) {
	program, err := elf.NewFile(file)
	if err != nil {
		return "", fmt.Errorf("it is not a Linux program: %w", err)
	}
	defer func() { _ = program.Close() }()
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

// ensureImage returns the id of the binary's image, and loads it into the engine if it is missing. The image depends
// only on the binary, so two servers that load it at the same time load the same image.
func (b *binary) ensureImage(ctx context.Context, engine *client.Client) (id string, err error) {
	seen, err := engine.ImageInspect(ctx, b.tag())
	if errdefs.IsNotFound(err) {
		if err := b.load(ctx, engine); err != nil {
			return "", fmt.Errorf("load the image of this program: %w", engineapi.Error(err))
		}
		if err := b.tagSample(ctx, engine); err != nil {
			return "", fmt.Errorf("tag the image of this program as %s: %w", Sample, engineapi.Error(err))
		}
		seen, err = engine.ImageInspect(ctx, b.tag())
	}
	if err != nil {
		return "", engineapi.Error(err)
	}
	return seen.ID, nil
}

// tagSample tags the image as [Sample], for users who look at the engine's images. It leaves an image alone that has
// the name and was not made by Rollcall.
func (b *binary) tagSample(ctx context.Context, engine *client.Client) error {
	seen, err := engine.ImageInspect(ctx, Sample)
	switch {
	case err == nil && (seen.Config == nil || seen.Config.Labels[engineapi.LabelBinary] == ""):
		return nil
	case err != nil && !errdefs.IsNotFound(err):
		return err
	}
	_, err = engine.ImageTag(ctx, client.ImageTagOptions{Source: b.tag(), Target: Sample + ":latest"})
	return err
}

// load sends the image to the engine in the format of docker save (Docker Image Specification v1.2, "Combined Image
// JSON + Filesystem Changeset Format"). It writes the archive straight to the engine, not to memory or disk.
func (b *binary) load(ctx context.Context, engine *client.Client) error {
	bundle := certificates()
	layer := sha256.New()
	var size counter
	if err := b.writeLayer(io.MultiWriter(layer, &size), bundle); err != nil {
		return err
	}
	config, err := json.Marshal(b.config("sha256:" + hex.EncodeToString(layer.Sum(nil))))
	if err != nil {
		return err
	}
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := b.writeArchive(w, config, int64(size), bundle)
		w.CloseWithError(err)
		written <- err
	}()
	err = loadArchive(ctx, engine, r)
	r.CloseWithError(errors.New("the engine stopped reading the image")) // ends the writer
	if writeErr := <-written; err == nil {
		err = writeErr
	}
	return err
}

// loadArchive sends an archive to the engine and returns the error that the engine reports.
func loadArchive(ctx context.Context, engine *client.Client, archive io.Reader) error {
	response, err := engine.ImageLoad(ctx, archive, client.ImageLoadWithQuiet(true))
	if err != nil {
		return err
	}
	defer response.Close()
	for decoder := json.NewDecoder(response); ; {
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

// config returns the configuration of an image with one layer.
func (b *binary) config(layerDigest string) any {
	created := b.info.ModTime().UTC().Truncate(time.Second)
	return map[string]any{
		"architecture": b.arch, "os": "linux", "created": created,
		"config": map[string]any{
			"Env":        []string{"PATH=/usr/local/bin"},
			"WorkingDir": "/",
			"Cmd":        []string{"rollcall", "help"},
			"Labels":     map[string]string{engineapi.LabelBinary: b.sum},
		},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{layerDigest}},
		"history": []any{map[string]any{"created": created, "comment": "this binary of Rollcall, and nothing else"}},
	}
}

// writeArchive writes an image with one layer of the given size.
func (b *binary) writeArchive(to io.Writer, config []byte, layerSize int64, bundle []byte) error {
	sum := sha256.Sum256(config)
	configName := hex.EncodeToString(sum[:]) + ".json"
	manifest, err := json.Marshal([]any{map[string]any{
		"Config": configName, "RepoTags": []string{b.tag()}, "Layers": []string{"layer.tar"},
	}})
	if err != nil {
		return err
	}
	t := tar.NewWriter(to)
	if err := b.writeFile(t, "manifest.json", manifest); err != nil {
		return err
	}
	if err := b.writeFile(t, configName, config); err != nil {
		return err
	}
	if err := t.WriteHeader(&tar.Header{Name: "layer.tar", Mode: 0o644, Size: layerSize}); err != nil {
		return err
	}
	if err := b.writeLayer(t, bundle); err != nil {
		return err
	}
	return t.Close()
}

// writeLayer writes the files of the image.
func (b *binary) writeLayer(to io.Writer, bundle []byte) error {
	t := tar.NewWriter(to)
	for _, d := range []struct {
		name string
		mode int64
	}{
		{"etc/", 0o755}, {"etc/ssl/", 0o755}, {"etc/ssl/certs/", 0o755}, {"tmp/", 0o1777},
		{"usr/", 0o755}, {"usr/local/", 0o755}, {"usr/local/bin/", 0o755},
	} {
		header := tar.Header{Name: d.name, Typeflag: tar.TypeDir, Mode: d.mode, ModTime: b.modTime()}
		if err := t.WriteHeader(&header); err != nil {
			return err
		}
	}
	files := []struct{ name, text string }{ // as in every distribution: passwd(5), group(5)
		{"etc/passwd", "root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n"},
		{"etc/group", "root:x:0:\nnobody:x:65534:\n"},
	}
	if bundle != nil {
		files = append(files, struct{ name, text string }{"etc/ssl/certs/ca-certificates.crt", string(bundle)})
	}
	for _, f := range files {
		if err := b.writeFile(t, f.name, []byte(f.text)); err != nil {
			return err
		}
	}
	header := tar.Header{Name: "usr/local/bin/rollcall", Mode: 0o755, Size: b.info.Size(), ModTime: b.modTime()}
	if err := t.WriteHeader(&header); err != nil {
		return err
	}
	if _, err := io.Copy(t, io.NewSectionReader(b.file, 0, b.info.Size())); err != nil {
		return err
	}
	return t.Close()
}

func (b *binary) writeFile(t *tar.Writer, name string, text []byte) error {
	header := tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), ModTime: b.modTime()}
	if err := t.WriteHeader(&header); err != nil {
		return err
	}
	_, err := io.Copy(t, bytes.NewReader(text))
	return err
}

// modTime returns the modification time of all files in the image.
func (b *binary) modTime() time.Time { return b.info.ModTime().Truncate(time.Second) }

// certificates returns this machine's trusted certificate authorities, or nil if it has none. The file names are those
// of Go's crypto/x509/root_linux.go.
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

// counter counts the bytes that are written to it.
type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}
