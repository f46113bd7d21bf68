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

// replaced maps words of an earlier vocabulary to the term that stands for them now. The words are
// spelled backwards, so that this file passes its own test. docs/glossary.md defines the terms.
var replaced = map[string]string{
	"rehctam":    "signal",
	"srehctam":   "signals",
	"dnelb":      "scorer",
	"dednelb":    "combined",
	"repeek":     "what it does: Watcher, Syncer, EncoderPool",
	"etsat":      "residual, ResidualGP",
	"trapa":      "sandbox, separate",
	"pets-tsop":  "rule",
	"spets-tsop": "rules",
	"tsil edam":  "sampled list",
	"stsil edam": "sampled lists",
	"lavir":      "negative",
	"slavir":     "negatives",
	"tcepsus":    "SRM cause",
	"leud":       "interleaving trial",
	"deraps":     "encoder split",
	"flehs":      "repository",
	"erehwesle":  "the place itself, remote",
	"wena":       "again",
	"mohw":       "which users",
	"eh":         "they",
	"mih":        "them",
	"sih":        "their",
}

// skipped are tracked files whose words are not ours: stories in the demo's catalogue, licences,
// checksums, and the glossary, which lists the old words with the new ones.
var skipped = regexp.MustCompile(`^(internal/demo/catalogue/.*|NOTICE|docs/glossary\.md|go\.sum)$`)

// TestWords fails if a tracked file uses a word that the vocabulary replaced.
func TestWords(t *testing.T) {
	out, err := exec.Command("git", "-C", root, "ls-files", "-z").Output()
	if err != nil {
		t.Fatal("git ls-files: ", err)
	}
	var words []string
	for backwards := range replaced {
		words = append(words, regexp.QuoteMeta(reverse(backwards)))
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
					path, i+1, word, replaced[reverse(strings.ToLower(word))])
			}
		}
	}
}

func reverse(s string) string {
	r := []rune(s)
	for i, j := 0, len(r)-1; i < j; i, j = i+1, j-1 {
		r[i], r[j] = r[j], r[i]
	}
	return string(r)
}
