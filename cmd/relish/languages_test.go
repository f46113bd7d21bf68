package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// chineseCatalogue has 40 items with Chinese titles: item-01 to item-40, five of each kind.
var chineseCatalogue = filepath.Join("testdata", "chinese", "items.jsonl")

// chineseQuery is a search text and the items that should come first.
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
// reports queries whose items do not come first.
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
		got := s.rank(t, "user", q.text, candidates)[:len(q.want)]
		slices.Sort(got)
		if !slices.Equal(got, q.want) {
			t.Errorf("%s: the first items are %v, want %v", q.text, got, q.want)
		}
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
