// Package benchdata reads the Games data set for benchmarks that train on it. The set has titles of
// video games and what each user bought, in order. Its lists have 20 items, one of which the user
// bought next.
package benchdata

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"relish/evaluation"
	"relish/ranker"
	"relish/training/signals"
)

// Dataset is the whole set. Items are numbered by their position in Titles.
type Dataset struct {
	Titles   []string              // by item
	Users    []signals.UserHistory // what each user bought, in order
	Lists    [][]int32             // the items of each list
	ListUser []int                 // by list: the user, as a position in Users
	Positive []int32               // by list: the item that was bought next
}

// ReadGames reads the folder of the set: items.tsv.gz, train_sequences.tsv.gz and
// valid_candidates.tsv.gz.
func ReadGames(dir string) (*Dataset, error) {
	g, byUser := &Dataset{}, map[string]int{}
	for _, f := range []struct {
		name string
		row  func(cells []string) error
	}{
		{"items.tsv.gz", func(c []string) error {
			g.Titles = append(g.Titles, c[1])
			return nil
		}},
		{"train_sequences.tsv.gz", func(c []string) error {
			items, err := parseIDs(c[1])
			var u signals.UserHistory
			for _, item := range items {
				u.Interactions = append(u.Interactions, signals.Interaction{Item: item, Gain: 1})
			}
			byUser[c[0]] = len(g.Users)
			g.Users = append(g.Users, u)
			return err
		}},
		{"valid_candidates.tsv.gz", func(c []string) error {
			list, err := parseIDs(c[1])
			if err != nil {
				return err
			}
			positive, err := strconv.Atoi(c[2])
			g.ListUser = append(g.ListUser, byUser[c[0]])
			g.Lists = append(g.Lists, list)
			g.Positive = append(g.Positive, int32(positive))
			return err
		}},
	} {
		if err := readTable(filepath.Join(dir, f.name), f.row); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// readTable calls use with the cells of each line of a gzipped table. A first line is skipped as
// the header if it does not begin with a number.
func readTable(path string, use func(cells []string) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		cells := strings.Split(lines.Text(), "\t")
		if _, err := strconv.Atoi(cells[0]); err != nil && n == 1 {
			continue
		}
		if len(cells) < 2 {
			return fmt.Errorf("%s:%d: %d columns, want at least 2", path, n, len(cells))
		}
		if err := use(cells); err != nil {
			return fmt.Errorf("%s:%d: %w", path, n, err)
		}
	}
	return lines.Err()
}

// parseIDs parses item numbers separated by spaces.
func parseIDs(s string) (out []int32, err error) {
	for f := range strings.FieldsSeq(s) {
		n, err := strconv.Atoi(f)
		if err != nil {
			return nil, err
		}
		out = append(out, int32(n))
	}
	return out, nil
}

// Corpus returns the purchases as a training corpus. vectors are the text vectors of the titles by
// item, or nil.
func (g *Dataset) Corpus(vectors [][]float32) *signals.Corpus {
	c := &signals.Corpus{Vectors: vectors, Users: g.Users}
	ids := make([]string, len(g.Titles))
	for i, title := range g.Titles {
		ids[i] = strconv.Itoa(i)
		item := ranker.Item{ID: ids[i], Title: title}
		c.ItemInfos = append(c.ItemInfos, ranker.NewItemInfo(item, nil))
	}
	c.Items = ranker.NewItemTable(ids)
	return c
}

// NDCG returns the mean NDCG@10 over the lists that include selects; nil selects all. score returns
// the scores of a list's items. Items with equal scores are put in random order.
func (g *Dataset) NDCG(
	score func(list int) ([]float64, error), include func(list int) bool,
) (float64, error) {
	r := rand.New(rand.NewPCG(1, 1))
	sum, n := 0.0, 0
	for i, list := range g.Lists {
		if include != nil && !include(i) {
			continue
		}
		scores, err := score(i)
		if err != nil {
			return 0, err
		}
		gains := make([]float64, len(list))
		for k, item := range list {
			if item == g.Positive[i] {
				gains[k] = 1
			}
		}
		order, err := evaluation.Order(scores, r)
		if err != nil {
			return 0, err
		}
		sum += evaluation.NDCG(order, gains, 10)
		n++
	}
	return sum / float64(max(1, n)), nil
}

// PurchaseCounts returns how often each item was bought.
func (g *Dataset) PurchaseCounts() []int {
	out := make([]int, len(g.Titles))
	for _, u := range g.Users {
		for _, in := range u.Interactions {
			out[in.Item]++
		}
	}
	return out
}
