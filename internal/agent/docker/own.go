package docker

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

// SampleImage is the image that the examples name: this very binary. Nobody has to build or to pull it.
const SampleImage = "rollcall/sample"

// labelBinary is on images of ours: the SHA-256 of the binary that they are made of.
const labelBinary = "com.bakingclouds.rollcall.binary"

// pauseImage is the name of the image of one binary.
func pauseImage(sum string) string { return "rollcall/pause:" + sum[:12] }

// own is the id of the image of this binary, which is made, FROM scratch, when the engine does not have it. It is also
// what [SampleImage] names.
func (i *images) own(ctx context.Context) (string, error) {
	id, err, _ := i.calls.Do("own", func() (any, error) {
		sum, err := i.sum()
		if err != nil {
			return "", err
		}
		name := pauseImage(sum)
		have, err := i.engine.ImageInspect(ctx, name)
		if errdefs.IsNotFound(err) {
			if err := i.importOwn(ctx, name, sum); err != nil {
				return "", err
			}
			have, err = i.engine.ImageInspect(ctx, name)
		}
		if err != nil {
			return "", engineError(err)
		}
		if _, err := i.engine.ImageTag(ctx, client.ImageTagOptions{Source: have.ID, Target: SampleImage + ":latest"}); err != nil {
			return "", engineError(err)
		}
		return have.ID, nil
	})
	if err != nil {
		return "", err
	}
	return id.(string), nil
}

// binarySum is the SHA-256 of a static program.
func binarySum(binary string) (string, error) {
	f, err := elf.Open(binary)
	if err != nil {
		return "", fmt.Errorf("docker: read this program: %w", err)
	}
	defer f.Close()
	if slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		return "", fmt.Errorf("docker: %s is not a static program, so it cannot run in an image of its own; build it with CGO_ENABLED=0 (make build)", binary)
	}
	file, err := os.Open(binary)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// importOwn makes the image out of an archive that is written as the engine reads it.
func (i *images) importOwn(ctx context.Context, name, sum string) error {
	read, write := io.Pipe()
	go func() { write.CloseWithError(writeImage(write, i.binary)) }()
	defer read.Close()
	done, err := i.engine.ImageImport(ctx, client.ImageImportSource{Source: read, SourceName: "-"}, name,
		client.ImageImportOptions{Message: "Rollcall", Changes: []string{"LABEL " + labelBinary + "=" + sum, "ENV PATH=/usr/local/bin:/usr/bin:/bin"}})
	if err != nil {
		return engineError(err)
	}
	said, err := io.ReadAll(io.LimitReader(done, 64<<10))
	err = errors.Join(err, done.Close())
	if err == nil && strings.Contains(string(said), `"error"`) {
		err = fmt.Errorf("docker: make the image %s: %s", name, said)
	}
	return err
}

// certificates are what programs trust that check whom they talk to.
const certificates = "/etc/ssl/certs/ca-certificates.crt"

// writeImage writes the files of the image: the program, and the few that programs in a container look for.
func writeImage(to io.Writer, binary string) error {
	t := tar.NewWriter(to)
	program, err := os.Open(binary)
	if err != nil {
		return err
	}
	defer program.Close()
	info, err := program.Stat()
	if err != nil {
		return err
	}
	if err := t.WriteHeader(&tar.Header{Name: "usr/local/bin/rollcall", Mode: 0o755, Size: info.Size()}); err != nil {
		return err
	}
	if _, err := io.Copy(t, program); err != nil {
		return err
	}
	if err := t.WriteHeader(&tar.Header{Name: "tmp/", Mode: 0o1777, Typeflag: tar.TypeDir}); err != nil {
		return err
	}
	files := map[string]string{
		"etc/passwd": "root:x:0:0:root:/:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n",
		"etc/group":  "root:x:0:\nnobody:x:65534:\n",
	}
	if trusted, err := os.ReadFile(certificates); err == nil {
		files[certificates[1:]] = string(trusted)
	}
	for name, text := range files {
		if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			return err
		}
		if _, err := io.WriteString(t, text); err != nil {
			return err
		}
	}
	return t.Close()
}
