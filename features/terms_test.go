package features_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"relish/features"
	"relish/ranker"
)

// chineseFeed returns a state with one item, whose title is Chinese.
func chineseFeed() *feed {
	f := newFeed(features.DefaultConfig())
	e, title := item("book", "小说"), "红楼梦珍藏版"
	e.Title = &title
	f.add(e)
	return f
}

// A checkpoint has the tokens of items. Those of an earlier version, in which an unpunctuated
// Chinese title was one word, are found again.
func TestTokensOfOlderCheckpoints(t *testing.T) {
	f := chineseFeed()
	file, err := os.Open(filepath.Join("testdata", "chinese.v5"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	got, err := features.ReadCheckpoint(f.Config(), file)
	if err != nil {
		t.Fatal(err)
	}
	want := ranker.NewItemInfo(f.Item("book").Item(), f.Config().Text)
	if tokens := got.Item("book").Tokens; !slices.Equal(tokens, want.Tokens) || len(tokens) != 6 {
		t.Errorf("the item has the tokens %v, want the 6 tokens %v", tokens, want.Tokens)
	}
}
