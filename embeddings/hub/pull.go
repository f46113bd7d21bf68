// Package hub downloads encoders from the Hugging Face hub or a mirror.
//
// An encoder's folder appears complete or not at all. The files are downloaded into a folder next
// to it, where an interrupted download resumes. They are checked by size, and by SHA-256 if the
// hub gives one, and their digests go into SHA256SUMS. At the end the folder is renamed into place.
package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"relish/internal/sha256sums"
)

// Options configure Pull. Name and Dir are required.
type Options struct {
	Endpoint string // "" means the environment's HF_ENDPOINT, or else the hub itself
	Token    string // "" means the environment's HF_TOKEN; sent as a bearer token, never printed
	Name     string // OWNER/MODEL
	Revision string // branch, tag or commit; "" means main
	Dir      string // the folder to create or to replace
	// Progress (may be nil) is called while a file is downloaded, with its bytes so far and in
	// total.
	Progress func(file string, done, total int64)
	Client   *http.Client // nil means http.DefaultClient
}

const defaultEndpoint = "https://huggingface.co"

// The files of an encoder. The first of modelFiles that the repository has becomes model.onnx.
var (
	modelFiles    = []string{"model.onnx", "onnx/model.onnx"}
	tokenizerFile = "tokenizer.json"
	optionalFiles = []string{
		"modules.json", "1_Pooling/config.json", "sentence_bert_config.json",
		"config_sentence_transformers.json",
	}
)

// repoFile is a file of the repository, as the hub lists it.
type repoFile struct {
	Name string `json:"rfilename"`
	Size int64  `json:"size"`
	LFS  *struct {
		SHA256 string `json:"sha256"`
		Size   int64  `json:"size"`
	} `json:"lfs"`
}

type repoListing struct {
	Commit string     `json:"sha"`
	Files  []repoFile `json:"siblings"`
}

var (
	namePattern   = regexp.MustCompile(`^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$`)
	commitPattern = regexp.MustCompile(`^[0-9a-f]{7,64}$`)
)

// revisionFile holds the commit that a folder was downloaded from.
const revisionFile = "revision"

// Pull downloads the encoder. It does nothing if the folder holds the wanted commit already. After
// an error, what was downloaded so far stays for the next try, and the old folder stays in place.
func Pull(ctx context.Context, opt Options) error {
	opt.setDefaults()
	if !namePattern.MatchString(opt.Name) {
		return fmt.Errorf("%q names no encoder; write OWNER/MODEL", opt.Name)
	}
	list, err := opt.listFiles(ctx)
	if err != nil {
		return err
	}
	if !commitPattern.MatchString(list.Commit) {
		return fmt.Errorf("%s: the hub names the commit %q, which is not a hash; check "+
			"HF_ENDPOINT", opt.Name, list.Commit)
	}
	have, err := os.ReadFile(filepath.Join(opt.Dir, revisionFile))
	if err == nil && string(have) == list.Commit {
		return nil
	}
	files, err := selectFiles(list)
	if err != nil {
		return fmt.Errorf("%s: %w", opt.Name, err)
	}
	// The commit is in the name, so that files of two revisions do not mix.
	part := opt.Dir + "." + list.Commit[:7] + ".part"
	for to, f := range files {
		path := filepath.Join(part, filepath.FromSlash(to))
		if err := opt.fetchFile(ctx, list.Commit, f, path); err != nil {
			return fmt.Errorf("%s: %s: %w", opt.Name, f.Name, err)
		}
	}
	if err := sha256sums.Write(part, slices.Collect(maps.Keys(files))); err != nil {
		return err
	}
	revision := filepath.Join(part, revisionFile)
	if err := os.WriteFile(revision, []byte(list.Commit), 0o644); err != nil {
		return err
	}
	return replaceFolder(opt.Dir, part)
}

// replaceFolder replaces dir by the complete download in part.
func replaceFolder(dir, part string) error {
	old := dir + ".old"
	if err := os.RemoveAll(old); err != nil {
		return err
	}
	if err := os.Rename(dir, old); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Rename(part, dir); err != nil {
		return err
	}
	return os.RemoveAll(old)
}

func (o *Options) setDefaults() {
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

// maxListingBytes bounds the hub's list of files.
const maxListingBytes = 16 << 20

func (o *Options) listFiles(ctx context.Context) (*repoListing, error) {
	path := fmt.Sprintf("/api/models/%s/revision/%s?blobs=true", o.Name, url.PathEscape(o.Revision))
	resp, err := o.get(ctx, path, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Name, err)
	}
	defer resp.Body.Close()
	var l repoListing
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxListingBytes)).Decode(&l); err != nil {
		return nil, fmt.Errorf("%s: the hub's list of files cannot be read: %w; "+
			"check HF_ENDPOINT", o.Name, err)
	}
	return &l, nil
}

// selectFiles returns the encoder's files by the name that they get.
func selectFiles(l *repoListing) (map[string]repoFile, error) {
	inRepo := map[string]repoFile{}
	for _, f := range l.Files {
		inRepo[f.Name] = f
	}
	out := map[string]repoFile{}
	for _, name := range modelFiles {
		if f, ok := inRepo[name]; ok {
			out["model.onnx"] = f
			break
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("the repository has none of the files %s: "+
			"export the model to ONNX first", strings.Join(modelFiles, ", "))
	}
	f, ok := inRepo[tokenizerFile]
	if !ok {
		return nil, fmt.Errorf("the repository has no %s: choose a model with a fast tokenizer",
			tokenizerFile)
	}
	out[tokenizerFile] = f
	for _, name := range optionalFiles {
		if f, ok := inRepo[name]; ok {
			out[name] = f
		}
	}
	return out, nil
}
