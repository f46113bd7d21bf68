package tokenizer_test

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"relish/embeddings/tokenizer"
)

// unigramFile is a tokenizer.json with the 16,000 most likely pieces of XLM-RoBERTa in some 100
// languages, see testdata/unigram.py.
const unigramFile = "testdata/unigram.json.gz"

// otherUnigram is the environment's path of another Unigram tokenizer.json to compare with the
// reference library, such as the whole one of XLM-RoBERTa.
const otherUnigram = "RELISH_UNIGRAM_TOKENIZER"

// unigramJSON returns the tokenizer.json.
func unigramJSON(t testing.TB) []byte {
	t.Helper()
	f, err := os.Open(unigramFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func loadUnigram(t testing.TB) tokenizer.Tokenizer {
	t.Helper()
	tok, err := tokenizer.Load(unigramJSON(t))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// multilingual returns n strings of random pieces of the vocabulary, which are of some 100
// languages, with and without spaces between them.
func multilingual(t *testing.T, data []byte, n int) []string {
	t.Helper()
	var f struct {
		Model struct{ Vocab [][2]any }
	}
	if err := json.Unmarshal(data, &f); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(11, 11))
	out := make([]string, n)
	for i := range out {
		var b strings.Builder
		for range 1 + rng.IntN(15) {
			piece := f.Model.Vocab[5+rng.IntN(len(f.Model.Vocab)-6)][0].(string)
			b.WriteString(strings.ReplaceAll(piece, "▁", " "))
			switch rng.IntN(12) {
			case 0, 1, 2:
				b.WriteByte(' ')
			case 3:
				spaces := []string{"  ", "\t", "\n", "\u3000", "▁", ". ", "\u200b"}
				b.WriteString(spaces[rng.IntN(len(spaces))])
			case 4:
				marks := []rune("\u0301\u0308\u0323\u3099\u093c\u0e48\ufe0f\u200d½ﬁⅧＡｶ🙂𠮷")
				b.WriteRune(marks[rng.IntN(len(marks))])
			}
		}
		out[i] = b.String()
	}
	return out
}

// everyCharacter returns texts that have every character, alone and within words.
func everyCharacter() (texts []string) {
	for from := rune(0); from <= utf8.MaxRune; from += 64 {
		var b strings.Builder
		for r := from; r < from+64; r++ {
			if utf8.ValidRune(r) {
				fmt.Fprintf(&b, "a%cb %c\u0301 ", r, r)
			}
		}
		texts = append(texts, b.String())
	}
	return texts
}

// compareUnigram compares the ids of n strings and of edge cases with those of the reference
// library.
func compareUnigram(t *testing.T, data []byte, file string, n int) {
	t.Helper()
	tok, err := tokenizer.Load(data)
	if err != nil {
		t.Fatal(err)
	}
	texts := append(multilingual(t, data, n*2/3), generated(n/3)...)
	if n >= 100_000 {
		texts = append(texts, everyCharacter()...)
	}
	texts = append(texts, "", " ", "\n", "<s> a</s><mask><unk>", "▁", "▁▁a ▁ b", "  a  b  ",
		"a\r\nb\u0000c", "\u0600123", "e\u0301\u0302", "½\u0301", strings.Repeat("你好", 300),
		strings.Repeat("x", 500), strings.Repeat("🙂🚀", 50), strings.Repeat("\u0301", 300),
		"🇩🇪🇫🇷", "👩‍👩‍👧‍👦", "각", "각\u11a8")
	compareWith(t, tok, file, texts)
}

// The ids agree with the reference library for the forms that encoders of the family have: files of
// older and of newer converters.
func TestUnigramAgreesWithReference(t *testing.T) {
	metaspace := func(scheme string, split bool) object {
		return object{
			"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split,
		}
	}
	preTokenizer := func(scheme string, split bool) func(object) {
		return func(m object) { m["pre_tokenizer"] = metaspace(scheme, split) }
	}
	newer := func(content string) func(object) {
		return func(m object) {
			strip := object{"type": "Strip", "strip_left": false, "strip_right": true}
			spaces := object{"Regex": " {2,}"}
			replace := object{"type": "Replace", "pattern": spaces, "content": content}
			m["normalizer"] = object{"type": "Sequence",
				"normalizers": []any{m["normalizer"], strip, replace}}
			m["pre_tokenizer"] = metaspace("always", true)
		}
	}
	for name, c := range map[string]struct {
		change func(object)
		texts  int
	}{
		"older converters":      {func(object) {}, 100_000},
		"newer converters":      {newer("▁"), 2000},
		"two spaces become one": {newer(" "), 2000},
		"no space in front":     {preTokenizer("never", true), 2000},
		"words are not split":   {preTokenizer("always", false), 2000},
		"another unknown token": {func(m object) { m["model"].(object)["unk_id"] = 20 }, 2000},
		"no special tokens":     {func(m object) { m["post_processor"] = nil }, 2000},
	} {
		t.Run(name, func(t *testing.T) {
			var m object
			if err := json.Unmarshal(unigramJSON(t), &m); err != nil {
				t.Fatal(err)
			}
			c.change(m)
			data, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "tokenizer.json")
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
			compareUnigram(t, data, file, c.texts)
		})
	}
}

// TestOtherUnigram compares the file that the environment names.
func TestOtherUnigram(t *testing.T) {
	file := os.Getenv(otherUnigram)
	if file == "" {
		t.Skipf("%s names no tokenizer.json", otherUnigram)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	compareUnigram(t, data, file, 100_000)
}

// A limit gives the first ids of the whole text and the special tokens. It bounds what is read.
func TestUnigramLimits(t *testing.T) {
	tok := loadUnigram(t)
	texts := append(multilingual(t, unigramJSON(t), 300), strings.Repeat("你好世界", 50_000))
	for _, text := range texts {
		full := tok.Encode(nil, text, 1<<30)
		for _, limit := range []int{2, 3, 8, 128} {
			want := full
			if len(full) > limit {
				want = append(slices.Clone(full[:limit-1]), full[len(full)-1])
			}
			if got := tok.Encode(nil, text, limit); !slices.Equal(got, want) {
				t.Fatalf("%.100q at %d: got %v, want %v", text, limit, got, want)
			}
		}
	}
	for _, limit := range []int{-1, 0, 1, 2} {
		if got := tok.Encode([]int32{7}, "text", limit); !slices.Equal(got, []int32{7, 0, 2}) {
			t.Errorf("limit %d: %v", limit, got)
		}
	}
}

func TestUnigramUnknownShare(t *testing.T) {
	tok := loadUnigram(t)
	for text, want := range map[string]float64{
		"": 0, "The weather 🙂": 0, "你好世界": 0, "Вернувшись в город": 0, "ꔀꔁꔂ": 1, "ab ꔀꔁ": .5,
	} {
		if got := tok.UnknownShare(text); got != want {
			t.Errorf("%q: %g, want %g", text, got, want)
		}
	}
}

// A text of any length costs a bounded time, and Encode keeps its memory.
func TestUnigramEncodeAllocations(t *testing.T) {
	tok := loadUnigram(t)
	dst := make([]int32, 0, 256)
	for _, text := range []string{
		"The weather is lovely today.", "Вернувшись в родной город", "日本語の小説と映画",
		strings.Repeat("long text ", 200_000), strings.Repeat("你", 1<<20),
	} {
		if n := testing.AllocsPerRun(20, func() { dst = tok.Encode(dst[:0], text, 128) }); n > 0 {
			t.Errorf("%.20q: %v allocations", text, n)
		}
	}
}

// A setting that would make ids differ, or that is damaged, is refused.
func TestUnigramRefuses(t *testing.T) {
	for _, c := range []struct {
		part, field string
		value       any
		want        string
	}{
		{"model", "byte_fallback", true, "byte_fallback"},
		{"model", "unk_id", nil, "unk_id"},
		{"model", "unk_id", 1 << 20, "unk_id"},
		{"model", "vocab", object{"a": 1}, "model.vocab"},
		{"model", "vocab", []any{[]any{1, "a"}}, "model.vocab"},
		{"normalizer", "type", "NFKC", `"NFKC" is not supported`},
		{"normalizer", "precompiled_charsmap", "AAAA", "precompiled_charsmap"},
		{"normalizer", "precompiled_charsmap", "/////w==", "precompiled_charsmap"},
		{"pre_tokenizer", "pretokenizers", []any{}, "only Metaspace is"},
		{"pre_tokenizer", "pretokenizers", []any{object{"type": "Metaspace", "replacement": "▁",
			"prepend_scheme": "first"}}, "prepend_scheme"},
	} {
		var m object
		if err := json.Unmarshal(unigramJSON(t), &m); err != nil {
			t.Fatal(err)
		}
		set(c.part, c.field, c.value)(m)
		data, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tokenizer.Load(data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s.%s: error %v, want one with %q", c.part, c.field, err, c.want)
		}
	}
}

func FuzzUnigram(f *testing.F) {
	tok := loadUnigram(f)
	f.Add("a <s> b\xff\u0301你好", 16)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		limit = 2 + abs(limit)%200
		ids := tok.Encode(nil, text, limit)
		if len(ids) < 2 || len(ids) > limit || ids[0] != 0 || ids[len(ids)-1] != 2 {
			t.Fatalf("%v", ids)
		}
		if share := tok.UnknownShare(text); share < 0 || share > 1 {
			t.Fatalf("share %g", share)
		}
	})
}

// FuzzCharsMap loads damaged charsmaps, which must not make Load or Encode panic.
func FuzzCharsMap(f *testing.F) {
	f.Add([]byte{4, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f, 'a', 0}, "aé")
	f.Fuzz(func(t *testing.T, charsMap []byte, text string) {
		data, err := json.Marshal(object{
			"normalizer":    object{"type": "Precompiled", "precompiled_charsmap": charsMap},
			"pre_tokenizer": object{"type": "Metaspace", "replacement": "▁"},
			"model": object{"type": "Unigram", "unk_id": 0,
				"vocab": []any{[]any{"<unk>", 0}, []any{"a", -1}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if tok, err := tokenizer.Load(data); err == nil {
			tok.Encode(nil, text, 100)
		}
	})
}

func BenchmarkUnigram(b *testing.B) {
	tok := loadUnigram(b)
	for _, c := range []struct{ name, text string }{
		{"title", "The Adventures of Tom Sawyer and Huckleberry Finn, illustrated edition"},
		{"cyrillic", "Вернувшись в родной город, детектив ищет брата."},
		{"cjk", "日本語の小説と映画"},
		{"megabyte", strings.Repeat("A retired detective returns to the town. ", 25_000)},
		{"megabyte-word", strings.Repeat("é", 1<<19)},
	} {
		b.Run(c.name, func(b *testing.B) {
			dst := make([]int32, 0, 256)
			b.ReportAllocs()
			b.SetBytes(int64(len(c.text)))
			for b.Loop() {
				dst = tok.Encode(dst[:0], c.text, 128)
			}
		})
	}
}
