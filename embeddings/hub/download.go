package hub

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
)

// get sends a request for a path of the endpoint. With from > 0 it leaves out the first from bytes.
// The status of the response is 200 or 206, or 416 if the file has no more bytes than that. The
// caller closes the body.
func (o *Options) get(ctx context.Context, path string, from int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.Endpoint+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	if o.Token != "" {
		req.Header.Set("Authorization", "Bearer "+o.Token)
	}
	if from > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	resp, err := o.Client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("the hub cannot be reached: %w; name a mirror with HF_ENDPOINT", err)
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusPartialContent:
		return resp, nil
	case http.StatusRequestedRangeNotSatisfiable:
		if from > 0 {
			return resp, nil
		}
		err = fmt.Errorf("the hub answered %s: try again later", resp.Status)
	case http.StatusUnauthorized, http.StatusForbidden:
		err = errors.New("the hub refuses access: check the name, or set HF_TOKEN to a token " +
			"that may read the repository")
	case http.StatusNotFound:
		err = fmt.Errorf("not found on the hub at revision %s: check the name and the revision",
			o.Revision)
	default:
		err = fmt.Errorf("the hub answered %s: try again later", resp.Status)
	}
	_ = resp.Body.Close()
	return nil, err
}

// fetchFile downloads a file of a commit to path and verifies it. It resumes where an earlier try
// ended.
func (o *Options) fetchFile(ctx context.Context, commit string, f repoFile, path string) error {
	size, sum := f.Size, ""
	if f.LFS != nil {
		size, sum = f.LFS.Size, f.LFS.SHA256
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	have, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if have < size || size == 0 {
		urlPath := fmt.Sprintf("/%s/resolve/%s/%s", o.Name, url.PathEscape(commit), f.Name)
		if err := o.download(ctx, urlPath, out, have, f.Name, size); err != nil {
			return err
		}
	}
	err = verifyFile(out, size, sum)
	if errors.Is(err, errDamaged) {
		err = errors.Join(err, os.Remove(path)) // resuming would not repair it
	}
	return errors.Join(err, out.Sync())
}

// download appends what is missing to out, which holds the first have bytes.
func (o *Options) download(
	ctx context.Context, urlPath string, out *os.File, have int64, name string, size int64,
) error {
	resp, err := o.get(ctx, urlPath, have)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK && have > 0 { // the server sends the file from its start
		have = 0
		if err := out.Truncate(0); err != nil {
			return err
		}
		if _, err := out.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
	if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return nil // nothing is missing
	}
	_, err = io.Copy(out, &progressReader{resp.Body, func(n int) {
		have += int64(n)
		o.Progress(name, have, size)
	}})
	return err
}

// progressReader calls onRead with the number of bytes of each read.
type progressReader struct {
	r      io.Reader
	onRead func(int)
}

// Read implements io.Reader.
func (p *progressReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.onRead(n)
	return n, err
}

var errDamaged = errors.New("the file was damaged during the download")

// verifyFile compares a file with its expected size (0: unknown) and SHA-256 ("": unknown).
func verifyFile(f *os.File, size int64, sum string) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	d := sha256.New()
	n, err := io.Copy(d, f)
	if err != nil {
		return err
	}
	if size > 0 && n != size {
		return fmt.Errorf("got %d of %d bytes: run the command again to resume", n, size)
	}
	if got := hex.EncodeToString(d.Sum(nil)); sum != "" && got != sum {
		return fmt.Errorf("%w: its SHA-256 is %s, the hub says %s; run the command again",
			errDamaged, got, sum)
	}
	return nil
}
