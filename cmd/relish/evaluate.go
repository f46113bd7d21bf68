package main

import (
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"

	"github.com/jedib0t/go-pretty/v6/table"

	"relish/embeddings"
	"relish/features"
	"relish/features/event"
	"relish/features/eventlog"
	"relish/features/journal"
	"relish/features/tables"
	"relish/internal/config"
	"relish/ranker"
	"relish/ranker/blend"
	"relish/training/evaluate"
)

type evaluateCmd struct {
	dataFlags
	bundleFlags
	encoderFlags
	logFlags
	Bundle      string  `help:"Version of the bundle to measure, or prior. Default: the active one." placeholder:"VERSION"`
	Last        float64 `help:"The newest share of the lists (of the interactions where there are no lists) that is scored." default:"0.1"`
	Prequential bool    `help:"Rank each list, then feed its clicks: what a live server would have done. Without it the state stands still where the scored part begins."`
	K           int     `help:"NDCG@K." default:"10"`
	Negatives   int     `help:"Sampled negatives per list where the log has no impressions." default:"19"`
	Seed        uint64  `help:"Seed of ties, negatives and intervals." default:"1"`
	JSON        bool    `help:"Print the table as JSON."`
}

// Run reads the log beside a running server and prints the table.
func (c *evaluateCmd) Run(ctx context.Context, cfg *config.Config) error {
	log := c.logger()
	var vectors *embeddings.Service
	encoder := ""
	if !c.NoText {
		enc, err := c.loadEncoder(log)
		if err != nil {
			return err
		}
		defer enc.Close()
		encoder = enc.Digest()
		vectors, err = embeddings.New(enc, embeddings.Options{Dir: filepath.Join(c.Data, "vectors"), ReadOnly: true, CacheBytes: c.CacheBytes, Log: log})
		if err != nil {
			return err
		}
		defer vectors.Close(ctx)
	}
	model, _, err := loadModel(c.root(c.Data), c.Bundle, encoder, cfg)
	if err != nil {
		return err
	}
	cfg.State.Text = cfg.Text
	state := features.New(cfg.State)
	state.OpenTable = tables.Opener(c.Data, log)
	scorers, err := c.scorers(state, vectors, model, cfg)
	if err != nil {
		return err
	}
	p := newProgress("evaluate")
	src := func() iter.Seq2[event.Record, error] { return eventlog.Read(journal.LogDir(c.Data), 1) }
	t, err := evaluate.Run(ctx, src, state, evaluate.Options{
		Last: c.Last, Prequential: c.Prequential, K: c.K, Negatives: c.Negatives, Seed: c.Seed, Progress: p.set,
	}, scorers...)
	p.end()
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(t)
	}
	c.print(t)
	return nil
}

// scorers are the model with and without its text columns, so that the worth of the text
// stands in the table.
func (c *evaluateCmd) scorers(state *features.State, v *embeddings.Service, model *ranker.Model, cfg *config.Config) ([]evaluate.Scorer, error) {
	models := blend.Models(model)
	withText, err := ranker.New(ranker.Options{Features: replayed{state}, Vectors: ranksWith(v), Models: models, TextSpec: cfg.Text})
	if err != nil {
		return nil, err
	}
	scorers := []evaluate.Scorer{evaluate.Pipeline(model.Version, withText)}
	if v != nil {
		without, err := ranker.New(ranker.Options{Features: replayed{state}, Models: models, TextSpec: cfg.Text})
		if err != nil {
			return nil, err
		}
		scorers = append(scorers, evaluate.Pipeline(model.Version+" without text", without))
	}
	return scorers, nil
}

// replayed lets the pipeline read the state that the walk has replayed so far.
type replayed struct{ state *features.State }

// Read implements ranker.Features.
func (r replayed) Read(_ context.Context, q *ranker.Query) (*ranker.State, error) {
	return r.state.Read(q)
}

func (c *evaluateCmd) print(t *evaluate.Table) {
	w := table.NewWriter()
	w.SetOutputMirror(os.Stdout)
	w.SetTitle(fmt.Sprintf("%d lists with clicks, the newest %g of the log, %s", t.Lists, c.Last, map[bool]string{true: "prequential", false: "state frozen at the split"}[c.Prequential]))
	w.AppendHeader(table.Row{"scorer", "lists", "n", fmt.Sprintf("NDCG@%d [95 %%]", t.K), "MRR [95 %]"})
	slice := ""
	for _, r := range t.Rows {
		if slice != "" && slice != r.Slice {
			w.AppendSeparator()
		}
		slice = r.Slice
		w.AppendRow(table.Row{r.Scorer, r.Slice, r.NDCG.N, r.NDCG, r.MRR})
	}
	w.Render()
}
