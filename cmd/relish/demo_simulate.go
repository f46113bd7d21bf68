package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/jedib0t/go-pretty/v6/table"

	"relish/embeddings"
	"relish/features/embedded"
	"relish/internal/config"
	"relish/internal/demo"
	"relish/internal/stats"
	"relish/ranker"
	"relish/ranker/scorer"
	"relish/training"
	"relish/training/replay"
)

// donePath is the file that says which world a data folder was filled from.
func (c *demoCmd) donePath() string { return filepath.Join(c.Data, "demo.done") }

// filled reads which world the folder was filled from; ok is false where it was not.
func (c *demoCmd) filled() (world demo.Options, ok bool, err error) {
	data, err := os.ReadFile(c.donePath())
	if errors.Is(err, fs.ErrNotExist) {
		return world, false, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &world)
	}
	if err != nil {
		return world, false, fmt.Errorf("%s: %w; remove the folder and fill it again", c.donePath(), err)
	}
	return world, true, nil
}

// clickShare says how close a ranker comes to the best order.
type clickShare struct {
	Ranker string         `json:"ranker"`
	Share  stats.Interval `json:"share"` // of the best order's clicks
}

// simulate has the world's users come back, ranks for them by chance, by the prior and by the active bundle, and compares
// the clicks that they would make, in the mean, with those on the best order, which only the simulator knows.
func (c *demoCmd) simulate(ctx context.Context, cfg *config.Config, options demo.Options) error {
	cfg.State.Text = cfg.Text
	state, err := embedded.LoadState(c.Data, cfg.State)
	if err != nil {
		return err
	}
	opt := ranker.Options{Features: training.ReplayedState{State: state}, TextSpec: cfg.Text}
	encoder := ""
	var texts *ownTexts
	if !c.NoText {
		enc, err := c.loadEncoder(c.logger())
		if err != nil {
			return err
		}
		defer enc.Close()
		encoder = enc.Digest()
		vectors, err := embeddings.New(enc, embeddings.Options{Dir: filepath.Join(c.Data, "vectors"), ReadOnly: true, CacheBytes: c.CacheBytes, Log: c.logger()})
		if err != nil {
			return err
		}
		defer vectors.Close(ctx)
		opt.Vectors = vectors
		if texts, err = c.openOwnTexts(c.Data, enc); err != nil {
			return err
		}
		defer texts.close()
	}
	world := demo.New(options)
	visits := world.Visits(c.Visits, options.Seed)
	chance := make([]float64, len(visits))
	best := make([]float64, len(visits))
	for i, v := range visits {
		best[i] = world.ExpectedClicks(v.User, world.BestOrder(v.User, v.Items))
		chance[i] = world.RandomOrderClicks(v.User, v.Items) / best[i]
	}
	rows := []clickShare{{Ranker: "chance"}}
	if rows[0].Share, err = stats.Bootstrap(chance, 1); err != nil {
		return err
	}
	for _, version := range []string{ranker.PriorVersion, ""} {
		model, _, err := loadModel(c.root(c.Data), version, encoder, texts, cfg)
		if err != nil {
			return err
		}
		if version == "" && model.Version == ranker.PriorVersion {
			continue
		}
		opt.Models = scorer.SingleModel(model)
		r := clickShare{Ranker: model.Version}
		if r.Share, err = shareOf(ctx, opt, world, visits, best); err != nil {
			return err
		}
		rows = append(rows, r)
	}
	return c.printReached(rows)
}

// shareOf ranks the visits and returns the share of the best order's clicks, in the mean over visits.
func shareOf(ctx context.Context, opt ranker.Options, world *demo.World, visits []demo.Visit, best []float64) (stats.Interval, error) {
	p, err := ranker.New(opt)
	if err != nil {
		return stats.Interval{}, err
	}
	shares := make([]float64, len(visits))
	for i, v := range visits {
		req := &ranker.Request{User: v.User, Time: v.Time, Deadline: replay.OfflineDeadline}
		for _, id := range v.Items {
			req.Candidates = append(req.Candidates, ranker.Candidate{ID: id})
		}
		resp, err := p.Rank(ctx, req)
		if err != nil {
			return stats.Interval{}, err
		}
		order := make([]string, len(resp.Items))
		for k, it := range resp.Items {
			order[k] = it.ID
		}
		shares[i] = world.ExpectedClicks(v.User, order) / best[i]
	}
	return stats.Bootstrap(shares, 1)
}

func (c *demoCmd) printReached(rows []clickShare) error {
	if c.JSON {
		return printJSON(map[string]any{"visits": c.Visits, "rows": rows})
	}
	w := newTable(fmt.Sprintf("clicks of %d visits, as a share of those on the best order", c.Visits), table.Row{"ranker", "share [95 %]"})
	for _, r := range rows {
		w.AppendRow(table.Row{r.Ranker, r.Share})
	}
	w.Render()
	return nil
}
