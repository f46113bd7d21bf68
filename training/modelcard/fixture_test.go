package modelcard_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"relish/evaluation"
	"relish/internal/stats"
	"relish/training/modelcard"
)

func ptr(x float64) *float64 { return &x }

func interval(mean, half float64, n int) stats.Interval {
	return stats.Interval{Mean: mean, Low: mean - half, High: mean + half, N: n}
}

// full returns the data of a training with every part. The figures are made up, but of realistic
// size.
func full() *modelcard.Data {
	day := func(d int) time.Time { return time.Date(2026, 3, d, 8, 30, 0, 0, time.UTC) }
	d := &modelcard.Data{
		Version: "20260314-083000-5f2a", Previous: "20260307-083000-91bc", Created: day(14),
		Revision: "e440273",
		Encoder:  "all-MiniLM-L6-v2 (int8, 3f9a…)", Command: "relish train --data D --holdout 0.1",
		Gate: &modelcard.Gate{
			Activated: true,
			Reason: "NDCG@10 on the newest data is better than the active bundle's by 0.006 " +
				"[0.001, 0.011]",
		},
		Log: &modelcard.Log{
			From:            day(1),
			To:              day(14),
			ParityChecked:   4120,
			ParityDiffering: 58,
			Counts: []modelcard.Count{
				{Name: "events", N: 1204331}, {Name: "users", N: 20744}, {Name: "items", N: 8912},
				{Name: "lists shown", N: 96120}, {Name: "lists with a click", N: 40310}},
			Distributions: []modelcard.Distribution{
				{
					Name:   "interactions in the user's history",
					Edges:  []float64{0, 10, 20, 30, 40, 50},
					Counts: []float64{21000, 9800, 5100, 2600, 1810},
				},
			},
		},
		Parts: []modelcard.LogPart{
			{
				Name:  "early part",
				From:  day(1),
				To:    day(10),
				Lists: 32250,
				Use:   "trains the cross-fitted signals",
			},
			{Name: "late part", From: day(10), To: day(13), Lists: 4030, Use: "trains the scorer"},
			{
				Name:  "newest part",
				From:  day(13),
				To:    day(14),
				Lists: 4030,
				Use:   "held out for measuring",
			}},
		Steps: []modelcard.FlowStep{
			{
				Name: "cross-fitted signals",
				Note: "residual, factorization, …",
				From: []string{"early part"},
			},
			{
				Name: "scorer",
				Note: "LambdaMART, 143 trees",
				From: []string{"cross-fitted signals", "late part"},
			},
			{
				Name: "final signals",
				Note: "the same kinds, on all users",
				From: []string{"early part", "late part"},
			},
			{Name: "bundle", From: []string{"scorer", "final signals"}, Kind: modelcard.StepResult},
			{
				Name: "metrics",
				From: []string{"bundle", "newest part"},
				Kind: modelcard.StepMeasures,
			}},
		Calibration: &modelcard.Calibration{
			Error: 0.011,
			Note:  "The sigmoid was fitted on the late part.",
		},
	}
	fillScores(d)
	fillModel(d)
	d.Changes = []modelcard.Change{
		{
			What:   "feature item.genre.rate",
			Change: "added",
			Detail: "the log has the field genre for 96 % of the items",
		},
		{What: "feature item.votes", Change: "removed", Detail: "missing for every candidate"},
		{What: "NDCG@10", Change: "changed", Detail: "0.624 to 0.630 on the same lists"},
	}
	d.Warnings = []modelcard.Warning{
		{
			Text: "3 % of the clicks name an impression that is not in the log. They update " +
				"state and histories only.",
		},
	}
	d.Notes = []string{
		"40 of 4,160 served lists cannot be computed again: the answer was degraded.",
	}
	d.Tables = []modelcard.Table{
		{
			Title: "Fine-tuned text encoder",
			Note:  "NDCG@10 by text alone, on items held out of the fine-tuning.",
			Head:  []string{"encoder", "all", "rare items", "ms per text"},
			Rows: [][]string{
				{"pretrained", "0.556", "0.482", "1.9"},
				{"fine-tuned, fp32", "0.703", "0.663", "1.9"},
				{"fine-tuned, int8 per channel", "0.705", "0.667", "0.9"},
			},
		},
	}
	d.Settings = []modelcard.Setting{
		{Name: "train.scorer.leaves", Value: "7", Default: "7"},
		{Name: "train.scorer.learning_rate", Value: "0.05", Default: "0.05"},
		{Name: "train.holdout", Value: "0.1", Default: "0"},
	}
	d.Stages = []modelcard.Stage{
		{Name: "replay", Seconds: 61.4, PeakBytes: 1 << 30},
		{Name: "cross-fitted signals", Seconds: 92, PeakBytes: 2900 << 20},
		{Name: "scorer", Seconds: 48.2, PeakBytes: 2100 << 20},
		{
			Name:      "final signals",
			Seconds:   104,
			PeakBytes: 3100 << 20,
		},
		{Name: "evaluation", Seconds: 37, PeakBytes: 1200 << 20},
	}
	return d
}

func fillScores(d *modelcard.Data) {
	add := func(slice string, n int, scorer, role string, ndcg float64) {
		half := 0.5 / math.Sqrt(float64(n))
		for _, m := range []struct {
			name  string
			scale float64
		}{{"NDCG@10", 1}, {"MRR", 1.09}, {"HR@5", 1.3}, {"AUC", 1.15}} {
			d.Scores = append(
				d.Scores,
				modelcard.Score{
					Scorer: scorer,
					Role:   role,
					Metric: m.name,
					Slice:  slice,
					Value:  interval(ndcg*m.scale, half, n),
				},
			)
		}
		d.Scores = append(
			d.Scores,
			modelcard.Score{
				Scorer: scorer,
				Role:   role,
				Metric: "coverage",
				Slice:  slice,
				Value:  interval(1-ndcg, 0, n),
			},
		)
	}
	for i, slice := range []string{
		evaluation.AllLists, "new users", "new items", "rare items", "long history",
	} {
		n, shift := []int{4030, 610, 240, 900, 1100}[i], []float64{0, -0.03, -0.05, -0.02, 0.04}[i]
		add(slice, n, "this bundle", modelcard.RoleThis, 0.630+shift)
		add(slice, n, "previous bundle", modelcard.RolePrevious, 0.624+shift*1.2)
		for k, name := range []string{
			"random", "logged order", "popularity", "live click rate", "text only",
		} {
			add(
				slice,
				n,
				name,
				modelcard.RoleBaseline,
				[]float64{0.325, 0.371, 0.537, 0.596, 0.455}[k]+shift/2,
			)
		}
		d.Differences = append(
			d.Differences,
			modelcard.Difference{
				Against: d.Previous,
				Metric:  "NDCG@10",
				Slice:   slice,
				Value:   interval(0.006-shift*0.2, 0.3/math.Sqrt(float64(n)), n),
			},
			modelcard.Difference{
				Against: "live click rate",
				Metric:  "NDCG@10",
				Slice:   slice,
				Value:   interval(0.034+shift/2, 0.4/math.Sqrt(float64(n)), n),
			},
		)
	}
	for i := range 10 {
		p := 0.02 + 0.035*float64(i)
		o := p + 0.012*math.Sin(float64(i)*2)
		d.Calibration.Bins = append(
			d.Calibration.Bins,
			evaluation.Bin{Predicted: p, Observed: o, Low: o - 0.01, High: o + 0.01, N: 9672},
		)
	}
}

func fillModel(d *modelcard.Data) {
	trees := modelcard.Curve{
		Name:   "Scorer",
		X:      "tree",
		Y:      "NDCG@10",
		Kept:   ptr(143),
		Series: []modelcard.Series{{Name: "training"}, {Name: "validation"}},
	}
	loss := modelcard.Curve{
		Name:   "Two-tower model: loss",
		X:      "epoch",
		Y:      "softmax loss",
		Series: []modelcard.Series{{Name: "training loss"}},
	}
	for i := 0; i <= 160; i += 5 {
		x := float64(i)
		trees.Series[0].X, trees.Series[0].Y = append(
			trees.Series[0].X,
			x,
		), append(
			trees.Series[0].Y,
			0.68-0.09*math.Exp(-x/60),
		)
		trees.Series[1].X, trees.Series[1].Y = append(
			trees.Series[1].X,
			x,
		), append(
			trees.Series[1].Y,
			0.645-0.06*math.Exp(-x/40)-x*x*4e-7,
		)
	}
	for e := range 15 {
		loss.Series[0].X, loss.Series[0].Y = append(
			loss.Series[0].X,
			float64(e+1),
		), append(
			loss.Series[0].Y,
			3.1+2.2*math.Exp(-float64(e)/4),
		)
	}
	d.Curves = []modelcard.Curve{trees, loss}
	d.Signals = []modelcard.Signal{
		{
			Name:         "residual",
			Enabled:      true,
			Microseconds: 96,
			Benefit:      "+0.021 NDCG@10",
			Reason:       "the largest single gain for users with three or more lists",
		},
		{
			Name:         "text",
			Enabled:      true,
			Microseconds: 31,
			Benefit:      "+0.003, new items +0.060",
			Reason:       "ranks items without any interaction",
		},
		{
			Name:         "factorization",
			Enabled:      true,
			Microseconds: 22,
			Benefit:      "+0.004 NDCG@10",
			Reason:       "cheap, and better than co-occurrence alone",
		},
		{
			Name:         "cooccurrence",
			Microseconds: 44,
			Benefit:      "+0.000 NDCG@10",
			Reason:       "adds nothing to factorization on this log",
		}}
	rng := rand.New(rand.NewPCG(1, 2))
	for i, f := range []struct{ name, group, kind string }{
		{"residual.learned", "residual", "signal"}, {"item.click.rate", "behaviour", "rate"},
		{"text.mean", "text", "signal"}, {"factorization.score", "factorization", "signal"},
		{"item.genre.rate", "behaviour", "rate"},
		{"lexical.bm25", "lexical", "signal"}, {"item.age", "item", "age"},
		{"user.history", "user", "history"}, {"item.votes.zscore", "item", "number"}} {
		weight := math.Exp(-float64(i) / 2.5)
		d.Importances = append(
			d.Importances,
			modelcard.Importance{
				Feature:      f.name,
				Group:        f.group,
				Gain:         41000 * weight,
				Contribution: 0.31 * weight,
			},
		)
		feature := modelcard.Feature{
			Name:          f.name,
			Kind:          f.kind,
			Group:         f.group,
			Missing:       0.04 * float64(i%4),
			MissingBefore: ptr(0.04 * float64(i%4)),
			Reason:        "the log has what it needs for nearly all candidates",
		}
		if f.name == "item.genre.rate" {
			feature.MissingBefore = nil
		}
		d.Features = append(d.Features, feature)
		if i > 5 {
			continue
		}
		s := modelcard.ContributionSample{Feature: f.name}
		for range 120 {
			v := rng.NormFloat64()
			p := modelcard.ContributionPoint{
				Value:        &v,
				Contribution: math.Round(1000*weight*0.3*math.Tanh(v)+60*rng.NormFloat64()) / 1000,
			}
			if rng.IntN(15) == 0 {
				p = modelcard.ContributionPoint{Contribution: p.Contribution / 5}
			}
			s.Points = append(s.Points, p)
		}
		d.ContributionSamples = append(d.ContributionSamples, s)
	}
}

// hostile returns data in which every name tries to inject markup.
func hostile() *modelcard.Data {
	const evil = `"><img src=x onerror=alert(1)><script>alert('x')</script></style></title>{{.}}`
	d := full()
	d.Version, d.Previous, d.Encoder, d.Command, d.Revision = evil, evil, evil, evil, evil
	d.Gate.Reason, d.Calibration.Note = evil, evil
	d.Log.Counts[0].Name, d.Log.Distributions[0].Name = evil, evil
	d.Parts[0].Name, d.Parts[0].Use = evil, evil
	d.Steps[0].Name, d.Steps[0].Note, d.Steps[0].From = evil, evil, []string{evil}
	d.Curves[0].Name, d.Curves[0].X, d.Curves[0].Y = evil, evil, evil
	d.Curves[0].Series[0].Name = evil
	d.Signals[0] = modelcard.Signal{Name: evil, Microseconds: 1, Benefit: evil, Reason: evil}
	d.Features[0] = modelcard.Feature{
		Name:          evil,
		Kind:          evil,
		Group:         evil,
		Reason:        evil,
		Missing:       0.9,
		MissingBefore: ptr(0),
	}
	d.Importances[0] = modelcard.Importance{Feature: evil, Group: evil, Gain: 1e9, Contribution: 1}
	d.ContributionSamples[0].Feature = evil
	d.Changes[0] = modelcard.Change{What: evil, Change: evil, Detail: evil}
	d.Warnings[0].Text = evil
	d.Tables[0] = modelcard.Table{
		Title: evil,
		Note:  evil,
		Head:  []string{evil, evil},
		Rows:  [][]string{{evil, evil}},
	}
	d.Settings[0] = modelcard.Setting{Name: evil, Value: evil, Default: evil + "!"}
	d.Stages[0].Name = evil
	for i := range d.Scores {
		d.Scores[i].Scorer = fmt.Sprint(evil, d.Scores[i].Scorer)
	}
	return d
}
