package tokenizer_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"relish/embeddings/tokenizer"
)

const (
	model  = "../../.cache/encoder/int8/tokenizer.json"
	python = "../../.cache/venv/bin/python"

	// datasets are benchmark data sets in a folder beside the checkout. Tests use their texts if
	// they exist.
	datasets = "../../../shared/data"
)

func load(t testing.TB) tokenizer.Tokenizer {
	t.Helper()
	data, err := os.ReadFile(model)
	if err != nil {
		t.Fatalf("%v: run make build first", err)
	}
	tok, err := tokenizer.Load(data)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// reference returns the ids that the reference library gives each text, with the given
// tokenizer.json.
func reference(t *testing.T, file string, texts []string) [][]int32 {
	t.Helper()
	if _, err := os.Stat(python); err != nil {
		t.Fatalf("%v: run make test-setup first", err)
	}
	var in bytes.Buffer
	enc := json.NewEncoder(&in)
	for _, s := range texts {
		if err := enc.Encode(s); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(python, "reference.py", file)
	cmd.Stdin = &in
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	var ids [][]int32
	sc := bufio.NewScanner(bytes.NewReader(out))
	sc.Buffer(nil, 64<<20)
	for sc.Scan() {
		var list []int32
		if err := json.Unmarshal(sc.Bytes(), &list); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, list)
	}
	if len(ids) != len(texts) {
		t.Fatalf("the reference library answered %d of %d texts: %v",
			len(ids), len(texts), sc.Err())
	}
	return ids
}

// compare checks that the ids of the texts are those of the reference library.
func compare(t *testing.T, texts []string) {
	t.Helper()
	compareWith(t, load(t), model, texts)
}

func compareWith(t *testing.T, tok tokenizer.Tokenizer, file string, texts []string) {
	t.Helper()
	wrong := 0
	for i, want := range reference(t, file, texts) {
		if got := tok.Encode(nil, texts[i], 1<<30); !slices.Equal(got, want) {
			if wrong++; wrong <= 10 {
				t.Errorf("%.200q:\n got %v\nwant %v",
					texts[i], got[:min(40, len(got))], want[:min(40, len(want))])
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d texts differ", wrong, len(texts))
	}
}

// Every code point: alone between two words, and within a word.
func TestEveryCodePoint(t *testing.T) {
	var texts []string
	for from := rune(0); from <= utf8.MaxRune; from += 64 {
		var b strings.Builder
		for r := from; r < from+64; r++ {
			if utf8.ValidRune(r) {
				fmt.Fprintf(&b, "a%cb %c ", r, r)
			}
		}
		texts = append(texts, b.String())
	}
	compare(t, texts)
}

func TestEdges(t *testing.T) {
	compare(t, []string{
		"", " ", "\t\n", "Café crème", "ΟΔΥΣΣΕΥΣ Σ", "İstanbul ıı", "[SEP] [CLS] a[MASK]b [UNK]",
		"日本語テキスト", "한국어 텍스트", "हिन्दी पाठ", "a\u0301\u0302\u0323b", "e\u200d\u0301",
		"👩‍👩‍👧‍👦 family", "a\u00a0b\u3000c\u2028d", "\ufffd\u0000x\u0001y",
		strings.Repeat("x", 100), strings.Repeat("x", 101), strings.Repeat("é", 100) + " ok",
		strings.Repeat("ab", 5000), "don't stop-me... $5 ^ ~ `", "ﬁ ﬂ ½ ² Ⅷ", "Ǆ ǅ ß ẞ",
		"x\u0345y", strings.Repeat("\u0301", 200) + "a" + strings.Repeat("\u0316\u0301", 100),
		"𝔘𝔫𝔦", "\U0010ffff",
	})
}

var alphabets = []string{
	"abcdefghijklmnopqrstuvwxyz", "ABCXYZ0123456789", " \t\n.,;:!?-_'\"()[]{}@#$%&*/\\",
	"äöüßéèçñåøÄÖÉ", "\u0300\u0301\u0302\u0308\u0323\u0327\u0345\u05b0",
	"日本語中文字漢", "あいうカキクガギ", "가나다한글", "अआइकखग़ि्", "אבגשׁ", "ءآأبت",
	"🙂🚀👩👍🏽\u200d\ufe0f", "\u0000\u0001\u007f\u0085\u200b\u200e\ufeff\ufffd",
	"ΑΒΓΣσςάέ", "ИЙйёЁ", "ıİŞşğ",
	"\u00a0\u2003\u3000\u2028", "½²ⅧﬁﬀǄ",
}

// generated returns n random strings over mixed alphabets, many of them like words of the
// vocabulary.
func generated(n int) []string {
	rng := rand.New(rand.NewPCG(7, 7))
	out := make([]string, n)
	for i := range out {
		var b strings.Builder
		for range 1 + rng.IntN(12) {
			letters := []rune(alphabets[0])
			if rng.IntN(3) > 0 {
				letters = []rune(alphabets[rng.IntN(len(alphabets))])
			}
			length := 1 + rng.IntN(8)
			if rng.IntN(200) == 0 {
				length = 90 + rng.IntN(30)
			}
			for range length {
				b.WriteRune(letters[rng.IntN(len(letters))])
			}
			if rng.IntN(2) == 0 {
				b.WriteByte(' ')
			}
			if rng.IntN(50) == 0 {
				b.WriteRune(rune(rng.IntN(0xd800)))
			}
		}
		out[i] = strings.ToValidUTF8(b.String(), "")
	}
	return out
}

// datasetTexts returns all titles and overviews of the benchmark data sets, none of a missing one.
func datasetTexts(t *testing.T) (out []string) {
	open := func(name string) io.Reader {
		data, err := os.ReadFile(filepath.Join(datasets, name))
		if err != nil {
			return strings.NewReader("")
		}
		zr, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		return zr
	}
	for _, name := range []string{"ranklens/items.jsonl.gz", "beauty/items.jsonl.gz"} {
		dec := json.NewDecoder(open(name))
		for {
			var it struct{ Title, Overview string }
			if err := dec.Decode(&it); err != nil {
				break
			}
			out = append(out, it.Title, it.Overview)
		}
	}
	for name, column := range map[string]int{
		"movielens-small/movies.csv.gz":    1,
		"movielens-small/overviews.csv.gz": 2,
	} {
		rows, err := csv.NewReader(open(name)).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			out = append(out, row[column])
		}
	}
	sc := bufio.NewScanner(open("games/items.tsv.gz"))
	for sc.Scan() {
		_, title, _ := strings.Cut(sc.Text(), "\t")
		out = append(out, title)
	}
	return out
}

func TestAgreesWithReference(t *testing.T) {
	texts := datasetTexts(t)
	t.Logf("%d texts from data sets", len(texts))
	texts = append(texts, generated(max(20_000, 100_000-len(texts)))...)
	compare(t, texts)
}

func TestTruncation(t *testing.T) {
	tok := load(t)
	for _, text := range append(generated(300), strings.Repeat("unbelievable ", 100)) {
		full := tok.Encode(nil, text, 1<<30)
		for _, limit := range []int{2, 3, 8, 128} {
			got := tok.Encode(nil, text, limit)
			want := full
			if len(full) > limit {
				want = append(slices.Clone(full[:limit-1]), full[len(full)-1])
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%q at %d: got %v, want %v", text, limit, got, want)
			}
		}
	}
}

func TestEncodeAllocations(t *testing.T) {
	tok := load(t)
	dst := make([]int32, 0, 256)
	for _, text := range []string{
		"The weather is lovely today.", "Café crème à Genève, 日本語", "한국어 텍스트",
		"a\u302e\u302f\U0001d165", strings.Repeat("long text ", 2000),
		strings.Repeat("\u0301", 1<<16), strings.Repeat("é", 1<<16), strings.Repeat("x", 1<<16),
	} {
		if n := testing.AllocsPerRun(100, func() { dst = tok.Encode(dst[:0], text, 128) }); n > 0 {
			t.Errorf("%.20q: %v allocations", text, n)
		}
	}
}

func TestUnknownShare(t *testing.T) {
	tok := load(t)
	for text, want := range map[string]float64{
		"":                         0,
		"🎉🎉 !!":                    0,
		"A party 🎉 ❤️":             0,
		"The weather":              0,
		"刘慈欣":                      1,
		"手机壳":                      2. / 3,
		"iPhone 手机壳":               2. / 9,
		"แมวดำ":                    1,
		strings.Repeat("刘", 1<<20): 1,
	} {
		if got := tok.UnknownShare(text); got != want {
			t.Errorf("%.20q: %g, want %g", text, got, want)
		}
	}
}

func FuzzEncode(f *testing.F) {
	tok := load(f)
	f.Add("a [SEP] b\xff\u0301", 16)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		limit = 2 + abs(limit)%200
		ids := tok.Encode(nil, text, limit)
		if len(ids) < 2 || len(ids) > limit || ids[0] != 101 || ids[len(ids)-1] != 102 {
			t.Fatalf("%v", ids)
		}
		for _, id := range ids[1 : len(ids)-1] {
			if id < 0 || id >= 30522 || id == 101 || id == 102 {
				t.Fatalf("id %d out of %q", id, text)
			}
		}
	})
}

func abs(x int) int { return max(x, -(x + 1)) }

func BenchmarkEncode(b *testing.B) {
	tok := load(b)
	for _, c := range []struct{ name, text string }{
		{"title", "The Adventures of Tom Sawyer and Huckleberry Finn, illustrated edition"},
		{"prose", "A retired detective returns to the small coastal town where she grew up, only " +
			"to find that her brother has vanished."},
		{"rare", "zyxgorbath quuxlification unbelievabilityness hyperparathyroidism " +
			"xenotransplantational"},
		{"accents", "Café crème à Genève, naïve façade über Straßen"},
		{"cyrillic", "Вернувшись в родной город, детектив ищет брата."},
		{"cjk", "日本語の小説と映画"},
		{"hangul", "한국어 텍스트 영화"},
		{"megabyte",
			strings.Repeat("A retired detective returns to the small coastal town. ", 20_000)},
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
