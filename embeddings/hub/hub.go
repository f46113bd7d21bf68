// Package hub fetches encoder folders from the Hugging Face hub, or a mirror of it.
//
// A folder appears whole or not at all: files are fetched into a folder beside it, resumed where an
// earlier try broke off, checked by size and SHA-256 where the hub gives one, and the folder is renamed
// into place at the end.
package hub

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Options of Pull. Name and Dir are required.
type Options struct {
	Endpoint string // "" = HF_ENDPOINT, or the hub itself
	Token    string // "" = HF_TOKEN; sent as a bearer key, never printed
	Name     string // owner/model
	Revision string // branch, tag or commit; "" = main
	Dir      string // where the encoder's folder shall be
	Progress func(file string, done, total int64)
	Client   *http.Client // nil = http.DefaultClient
}

const defaultEndpoint = "https://huggingface.co"

// wanted are the files of an encoder. One of the models is needed, and the tokenizer; the first model
// that the repository has is taken, as model.onnx.
var (
	modelFiles    = []string{"model.onnx", "onnx/model.onnx"}
	tokenizerFile = "tokenizer.json"
	optionalFiles = []string{"modules.json", "1_Pooling/config.json", "sentence_bert_config.json", "config_sentence_transformers.json"}
)

// repoFile is a file of the repository.
type repoFile struct {
	Name string `json:"rfilename"`
	Size int64  `json:"size"`
	LFS  *struct {
		SHA256 string `json:"sha256"`
		Size   int64  `json:"size"`
	} `json:"lfs"`
}

type repoListing struct {
	SHA   string     `json:"sha"`
	Files []repoFile `json:"siblings"`
}

var (
	namePattern   = regexp.MustCompile(`^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$`)
	commitPattern = regexp.MustCompile(`^[0-9a-f]{7,64}$`)
)

// revisionFile holds the commit that a folder was made of.
const revisionFile = "revision"

// Pull fetches the encoder, or nothing when the folder is there at the wanted commit. What was fetched
// of it stays for the next try when it fails.
func Pull(ctx context.Context, opt Options) error {
	opt.defaults()
	if !namePattern.MatchString(opt.Name) {
		return fmt.Errorf("%q is no name of an encoder: it is OWNER/MODEL", opt.Name)
	}
	list, err := opt.listFiles(ctx)
	if err != nil {
		return err
	}
	if !commitPattern.MatchString(list.SHA) {
		return fmt.Errorf("%s: the hub names no commit", opt.Name)
	}
	if have, err := os.ReadFile(filepath.Join(opt.Dir, revisionFile)); err == nil && string(have) == list.SHA {
		return nil
	}
	files, err := selectFiles(list)
	if err != nil {
		return fmt.Errorf("%s: %w", opt.Name, err)
	}
	// By commit: parts of two revisions must not meet.
	part := opt.Dir + "." + list.SHA[:7] + ".part"
	for to, f := range files {
		if err := opt.fetchFile(ctx, list.SHA, f, filepath.Join(part, filepath.FromSlash(to))); err != nil {
			return fmt.Errorf("%s: %s: %w", opt.Name, f.Name, err)
		}
	}
	if err := os.WriteFile(filepath.Join(part, revisionFile), []byte(list.SHA), 0o644); err != nil {
		return err
	}
	old := opt.Dir + ".old"
	if err := os.RemoveAll(old); err != nil {
		return err
	}
	if err := os.Rename(opt.Dir, old); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Rename(part, opt.Dir); err != nil {
		return err
	}
	return os.RemoveAll(old)
}

func (o *Options) defaults() {
	if o.Endpoint == "" {
		o.Endpoint = os.Getenv("HF_ENDPOINT")
	}
	if o.Endpoint == "" {
		o.Endpoint = defaultEndpoint
	}
	o.Endpoint = strings.TrimSuffix(o.Endpoint, "/")
	if o.Token == "" {
		o.Token = os.Getenv("HF_TOKEN")
	}
	if o.Revision == "" {
		o.Revision = "main"
	}
	if o.Client == nil {
		o.Client = http.DefaultClient
	}
	if o.Progress == nil {
		o.Progress = func(string, int64, int64) {}
	}
}

func (o *Options) get(ctx context.Context, path string, from int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.Endpoint+path, nil)
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
	case http.StatusUnauthorized, http.StatusForbidden:
		err = errors.New("the hub refuses access: set HF_TOKEN to a token that may read it, or check the name")
	case http.StatusNotFound:
		err = errors.New("the hub does not have it: check name and revision")
	default:
		err = fmt.Errorf("the hub answered %s: try again later", resp.Status)
	}
	_ = resp.Body.Close()
	return nil, err
}

// maxListing bounds what is read of the hub's answer.
const maxListing = 16 << 20

func (o *Options) listFiles(ctx context.Context) (*repoListing, error) {
	resp, err := o.get(ctx, fmt.Sprintf("/api/models/%s/revision/%s?blobs=true", o.Name, url.PathEscape(o.Revision)), 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Name, err)
	}
	defer resp.Body.Close()
	var l repoListing
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxListing)).Decode(&l); err != nil {
		return nil, fmt.Errorf("%s: the hub's answer cannot be read: %w", o.Name, err)
	}
	return &l, nil
}

// selectFiles picks the encoder's files, by the name they get.
func selectFiles(l *repoListing) (map[string]repoFile, error) {
	has := map[string]repoFile{}
	for _, f := range l.Files {
		has[f.Name] = f
	}
	out := map[string]repoFile{}
	for _, m := range modelFiles {
		if f, ok := has[m]; ok {
			out["model.onnx"] = f
			break
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("it has none of the files %s: export it to ONNX first", strings.Join(modelFiles, ", "))
	}
	f, ok := has[tokenizerFile]
	if !ok {
		return nil, fmt.Errorf("it has no %s", tokenizerFile)
	}
	out[tokenizerFile] = f
	for _, name := range optionalFiles {
		if f, ok := has[name]; ok {
			out[name] = f
		}
	}
	return out, nil
}

// fetchFile fetches one file to path, going on where an earlier try ended.
func (o *Options) fetchFile(ctx context.Context, sha string, f repoFile, path string) error {
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
		if err := o.download(ctx, fmt.Sprintf("/%s/resolve/%s/%s", o.Name, url.PathEscape(sha), f.Name), out, have, f.Name, size); err != nil {
			return err
		}
	}
	err = verifyFile(out, size, sum)
	if errors.Is(err, errDamaged) {
		err = errors.Join(err, os.Remove(path)) // going on from it would not help
	}
	return errors.Join(err, out.Sync())
}

func (o *Options) download(ctx context.Context, path string, out *os.File, have int64, name string, size int64) error {
	resp, err := o.get(ctx, path, have)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK && have > 0 { // the server does not resume
		have = 0
		if err := out.Truncate(0); err != nil {
			return err
		}
		if _, err := out.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
	if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return nil // all of it is there
	}
	_, err = io.Copy(out, &progressReader{resp.Body, func(n int) {
		have += int64(n)
		o.Progress(name, have, size)
	}})
	return err
}

// progressReader tells how much was read.
type progressReader struct {
	r      io.Reader
	onRead func(int)
}

// Read implements io.Reader.
func (c *progressReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.onRead(n)
	return n, err
}

var errDamaged = errors.New("it was damaged on the way")

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
		return fmt.Errorf("%d bytes arrived of %d: run it again to go on", n, size)
	}
	if got := hex.EncodeToString(d.Sum(nil)); sum != "" && got != sum {
		return fmt.Errorf("%w: its SHA-256 is %s, the hub says %s; run it again", errDamaged, got, sum)
	}
	return nil
}
