package lint

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// replaced maps words of an earlier vocabulary to the term that stands for them now.
// docs/glossary.md defines the terms.
var replaced = map[string]string{
	"matcher":    "signal",
	"matchers":   "signals",
	"blend":      "scorer",
	"blended":    "combined",
	"keeper":     "what it does: Watcher, Syncer, EncoderPool",
	"taste":      "residual, ResidualGP",
	"apart":      "sandbox, separate",
	"post-step":  "rule",
	"post-steps": "rules",
	"made list":  "sampled list",
	"made lists": "sampled lists",
	"rival":      "negative",
	"rivals":     "negatives",
	"suspect":    "SRM cause",
	"duel":       "interleaving trial",
	"spared":     "encoder split",
	"shelf":      "repository",
	"elsewhere":  "the place itself, remote",
	"anew":       "again",
	"whom":       "which users",
	"he":         "they",
	"him":        "them",
	"his":        "their",
}

// skipped are tracked files whose words are not ours: stories in the demo's catalogue, licences,
// checksums, and the glossary and this file, which list the old words with the new ones.
var skipped = regexp.MustCompile(`^(internal/demo/catalogue/.*|NOTICE|go\.sum|docs/glossary\.md|` +
	`internal/lint/words_test\.go)$`)

// TestWords fails if a tracked file uses a word that the vocabulary replaced.
func TestWords(t *testing.T) {
	out, err := exec.Command("git", "-C", root, "ls-files", "-z").Output()
	if err != nil {
		t.Fatal("git ls-files: ", err)
	}
	var words []string
	for word := range replaced {
		words = append(words, regexp.QuoteMeta(word))
	}
	old := regexp.MustCompile(`(?i)\b(` + strings.Join(words, "|") + `)\b`)
	for _, path := range strings.Split(strings.Trim(string(out), "\x00"), "\x00") {
		if skipped.MatchString(path) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, path))
		if os.IsNotExist(err) {
			continue // deleted, not yet committed
		}
		if err != nil {
			t.Fatal(err)
		}
		if bytes.ContainsRune(text, 0) {
			continue // not text
		}
		for i, line := range strings.Split(string(text), "\n") {
			for _, word := range old.FindAllString(line, -1) {
				t.Errorf("%s:%d: %q: say %s",
					path, i+1, word, replaced[strings.ToLower(word)])
			}
		}
	}
}
