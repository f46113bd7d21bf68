package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// chineseCatalogue has 40 items with Chinese titles: i01 to i40, five of each kind.
var chineseCatalogue = filepath.Join("testdata", "chinese", "items.jsonl")

// chineseQuery is a search text and the items one of which should come first.
type chineseQuery struct {
	text string
	want []string
}

// readChineseQueries reads the file, which has a text and item ids a line.
func readChineseQueries(t *testing.T, name string) (queries []chineseQuery) {
	t.Helper()
	lines := strings.TrimSpace(readFile(t, filepath.Join("testdata", "chinese", name)))
	for line := range strings.Lines(lines) {
		text, ids, _ := strings.Cut(strings.TrimSpace(line), "\t")
		queries = append(queries, chineseQuery{text, strings.Fields(ids)})
	}
	return queries
}

// rankChinese imports the catalogue and ranks it for each query by a service with the flags. It
// reports queries for which another item comes first.
func rankChinese(t *testing.T, file string, flags ...string) {
	t.Helper()
	data := t.TempDir()
	output(t, append([]string{"import", "--data", data, chineseCatalogue}, flags...)...)
	s := serve(t, append([]string{"--data", data}, flags...)...)
	var candidates []candidate
	for i := range 40 {
		candidates = append(candidates, candidate{ID: fmt.Sprintf("i%02d", i+1)})
	}
	for _, q := range readChineseQueries(t, file) {
		if got := s.rank(t, "user", q.text, candidates)[0]; !slices.Contains(q.want, got) {
			t.Errorf("%s: the first item is %s, want one of %v", q.text, got, q.want)
		}
	}
}

// Search texts find Chinese titles by their meaning with the encoder that relish encoder pull
// downloads.
func TestChineseMeaning(t *testing.T) {
	encoder := filepath.Join(assets(t), "encoder", "bge-small-zh")
	if _, err := os.Stat(encoder); err != nil {
		t.Fatalf("%v: run make fetch-zh first", err)
	}
	for _, file := range []string{"queries.tsv", "meanings.tsv"} {
		rankChinese(t, file, "--encoder", encoder)
	}
}

// With --encoder auto a Chinese catalogue gets the Chinese encoder if that was pulled. Until then
// doctor says how to pull it. Other commands take the encoder of the service that runs.
func TestEncoderOfCatalogue(t *testing.T) {
	folder := t.TempDir()
	for _, name := range []string{"onnxruntime", "lightgbm", "encoder/int8"} {
		link := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(assets(t), name), link); err != nil {
			t.Fatal(err)
		}
	}
	chinese, english := t.TempDir(), t.TempDir()
	output(t, "import", "--data", chinese, "--no-text", chineseCatalogue)
	output(t, "demo", "--data", english, "--no-text", "--users", "2", "--lists", "2")
	doctor := func(data string, flags ...string) string {
		args := append([]string{"doctor", "--data", data, "--assets", folder}, flags...)
		return output(t, args...)
	}
	const advice = "relish encoder pull bge-small-zh"
	out := doctor(chinese)
	if !strings.Contains(out, "int8, 384") || !strings.Contains(out, advice) {
		t.Errorf("without the Chinese encoder doctor prints %s", out)
	}
	// Whatever is in the folder: only its name matters here.
	err := os.Symlink(filepath.Join(assets(t), "encoder", "int8"),
		filepath.Join(folder, "encoder", "bge-small-zh"))
	if err != nil {
		t.Fatal(err)
	}
	if out := doctor(chinese); !strings.Contains(out, "bge-small-zh, 384") {
		t.Errorf("with the Chinese encoder doctor prints %s", out)
	}
	out = doctor(english)
	if !strings.Contains(out, "int8, 384") || strings.Contains(out, advice) {
		t.Errorf("of an English catalogue doctor prints %s", out)
	}
	if out := doctor(chinese, "--encoder", "int8"); !strings.Contains(out, "int8, 384") {
		t.Errorf("with --encoder int8 doctor prints %s", out)
	}
	output(t, "embed", "--data", chinese, "--assets", folder)
	if got := readFile(t, filepath.Join(chinese, "encoder")); got != "bge-small-zh\n" {
		t.Errorf("the data folder names the encoder %q", got)
	}
}

// Search texts find Chinese titles that contain their words, without a text encoder and with the
// default one, which does not know Chinese.
func TestChineseQueries(t *testing.T) {
	for name, flags := range map[string][]string{
		"without encoder": {"--no-text"}, "default encoder": nil,
	} {
		t.Run(name, func(t *testing.T) { rankChinese(t, "queries.tsv", flags...) })
	}
}
