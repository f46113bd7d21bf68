package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"relish/evaluation"
	"relish/internal/stats"
	"relish/ranker/bundle"
	"relish/training"
	"relish/training/modelcard"
)

// CardFile is the model card's data in the bundle's folder. The next training compares itself with
// it.
const CardFile = "report.json"

// written is the bundle on disk.
type written struct {
	version string
	card    *modelcard.Data
}

// write writes the bundle with its model card.
func write(ctx context.Context, run *run, r *results) (*written, error) {
	m, files, err := r.final.Bundle(ctx, run.opt.State.Text)
	if err != nil {
		return nil, err
	}
	m.Created, m.Revision = run.created, run.opt.Revision
	copies, err := addEncoderFiles(ctx, run, r, &m, files)
	if err != nil {
		return nil, err
	}
	if r.plan.parent != nil {
		m.Parent = r.plan.parent.Model.Version
	}
	if r.gate.Forced {
		m.Forced = run.opt.ForceReason
	}
	if m.Data, err = trainingData(r.plan.scan.source, r.final); err != nil {
		return nil, err
	}
	if !r.plan.retrain {
		m.Data.Holdout = r.plan.holdout
	}
	m.Metrics = manifestMetrics(r.measured.table)
	if r.measured.noAnswer != nil {
		m.NoAnswer = &r.measured.noAnswer.estimate
	}
	card, err := newCard(ctx, run, r)
	if err != nil {
		return nil, err
	}
	var page bytes.Buffer
	if err := modelcard.HTML(&page, card); err != nil {
		return nil, err
	}
	files[bundle.ReportFile] = page.Bytes()
	if files[CardFile], err = json.Marshal(card); err != nil {
		return nil, fmt.Errorf("%s: %w", CardFile, err)
	}
	version, err := bundle.Write(run.opt.Root, m, files, copies...)
	if err == nil && run.opt.SigningKey != nil {
		err = bundle.Sign(run.opt.Root, version, run.opt.SigningKey)
	}
	if err != nil {
		return nil, err
	}
	return &written{version, card}, nil
}

// activate verifies the written bundle and makes it the active one if the gate allows.
func activate(ctx context.Context, run *run, r *results, w *written) (*Outcome, error) {
	if err := run.opt.Verify(ctx, filepath.Join(run.opt.Root, w.version)); err != nil {
		return nil, fmt.Errorf(
			"bundle %s was written but not activated, because it does not reproduce "+
				"the scores recorded at training: %w",
			w.version,
			err,
		)
	}
	out := &Outcome{
		Version: w.version, Activated: r.gate.Activated, Reason: r.gate.Reason,
		Encoder: r.tuning.note(), Report: w.card,
	}
	if !out.Activated {
		return out, nil
	}
	if err := ctx.Err(); err != nil {
		out.Activated = false
		return out, fmt.Errorf("bundle %s was written but not activated: %w", w.version, err)
	}
	return out, bundle.Activate(run.opt.Root, w.version, "train", out.Reason)
}

// addEncoderFiles describes the text encoder in the manifest. For a fine-tuned one it adds the
// encoder's files, and returns the path of its vectors, which are copied into the bundle.
func addEncoderFiles(
	ctx context.Context, run *run, r *results, m *bundle.Manifest, files map[string][]byte,
) (copies []string, err error) {
	encoder := r.tuning.encoder
	if encoder.vectors == nil {
		return nil, nil
	}
	if m.Encoder = encoder.manifest; !m.Encoder.FineTuned {
		return nil, nil
	}
	stored, err := encoderFiles(ctx, run.opt, r.tuning)
	if err != nil {
		return nil, err
	}
	maps.Copy(files, stored)
	vectors, err := writeVectors(run, encoder, r.plan.scan.catalogue)
	if err != nil || vectors == "" {
		return nil, err
	}
	return []string{vectors}, nil
}

// trainingData describes what the model was trained on.
func trainingData(s *source, t *training.Trained) (d bundle.TrainingData, err error) {
	d, counts, err := s.learned(t.HoldoutStart)
	d.Counts = map[string]int64{"lists": int64(t.Lists)}
	for kind, n := range counts {
		d.Counts["events "+string(kind)] = n
	}
	return d, err
}

// manifestMetrics returns the new model's metrics on the held-out lists.
func manifestMetrics(t *evaluation.Table) map[string]stats.Interval {
	row, ok := t.Row(newModelName, evaluation.AllLists)
	if !ok {
		return nil
	}
	out := map[string]stats.Interval{}
	for _, m := range rowMetrics(t, row) {
		out[strings.ToLower(m.name)] = m.value
	}
	return out
}

// namedMetric is one metric of a table's row.
type namedMetric struct {
	name  string
	value stats.Interval
}

// rowMetrics returns the metrics of a row; the gate decides by the first. The logged order has
// position-corrected ones only, because position bias flatters it.
func rowMetrics(t *evaluation.Table, row evaluation.Row) []namedMetric {
	at := fmt.Sprintf("@%d", t.K)
	var out []namedMetric
	if row.Scorer != evaluation.LoggedOrder {
		out = append(out, namedMetric{"NDCG" + at, row.NDCG}, namedMetric{"MRR", row.MRR},
			namedMetric{"MAP" + at, row.MAP}, namedMetric{"HR" + at, row.HitRate})
		if row.AUC != nil {
			out = append(out, namedMetric{"AUC", *row.AUC})
		}
	}
	if row.CorrectedNDCG != nil {
		out = append(out, namedMetric{"NDCG" + at + modelcard.CorrectedSuffix, *row.CorrectedNDCG},
			namedMetric{"MRR" + modelcard.CorrectedSuffix, *row.CorrectedMRR})
	}
	return out
}

// readCard reads the model card's data from a bundle's folder, nil if it has none or it is damaged.
func readCard(dir string) *modelcard.Data {
	data, err := os.ReadFile(filepath.Join(dir, CardFile))
	if err != nil {
		return nil
	}
	var d modelcard.Data
	if json.Unmarshal(data, &d) != nil {
		return nil
	}
	return &d
}
