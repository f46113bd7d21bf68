// Package games reads the Games set as it comes, for the benchmarks that train on it: titles, what users bought in order,
// and lists of 20 with the one item that was bought next.
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

// Dataset is the set, read.
type Dataset struct {
	Titles   []string
	Users    []signals.UserHistory
	ListUser []int // of the lists, into Users
	Lists    [][]int32
	Positive []int32 // of the lists: the item that was bought next
}

// ReadGames reads the set's folder.
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
			g.ListUser, g.Lists, g.Positive = append(g.ListUser, byUser[c[0]]), append(g.Lists, list), append(g.Positive, int32(positive))
			return err
		}},
	} {
		if err := readTable(filepath.Join(dir, f.name), f.row); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// readTable reads a gzipped table. A first line whose first cell is no number is its head.
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
			return fmt.Errorf("%s:%d: %d cells", path, n, len(cells))
		}
		if err := use(cells); err != nil {
			return fmt.Errorf("%s:%d: %w", path, n, err)
		}
	}
	return lines.Err()
}

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

// Corpus is what was bought, to be learned from; vectors are the titles', or nil.
func (g *Dataset) Corpus(vectors [][]float32) *signals.Corpus {
	c := &signals.Corpus{Vectors: vectors, Users: g.Users}
	ids := make([]string, len(g.Titles))
	for i, title := range g.Titles {
		ids[i] = strconv.Itoa(i)
		c.ItemInfos = append(c.ItemInfos, ranker.NewItemInfo(ranker.Item{ID: ids[i], Title: title}, nil))
	}
	c.Items = ranker.NewItemTable(ids)
	return c
}

// NDCG is the mean NDCG at 10 over the lists that among takes (nil: all), by the scores that score gives a list's items; ties
// are in random order.
func (g *Dataset) NDCG(score func(list int) ([]float64, error), among func(list int) bool) (float64, error) {
	r := rand.New(rand.NewPCG(1, 1))
	sum, n := 0.0, 0
	for i, list := range g.Lists {
		if among != nil && !among(i) {
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

// PurchaseCounts counts how often each item was bought.
func (g *Dataset) PurchaseCounts() []int {
	out := make([]int, len(g.Titles))
	for _, u := range g.Users {
		for _, s := range u.Interactions {
			out[s.Item]++
		}
	}
	return out
}
