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

// DataFile is the report's data in the bundle: the next training compares itself with it.
const DataFile = "report.json"

// story is all that a finished training has to tell.
type story struct {
	plan            *plan
	measured, final *training.Trained // the same where nothing was trained again
	results         *results
	gate            *modelcard.Gate
	parity          *parity
}

// write makes the bundle's files and writes it.
func (r *run) write(ctx context.Context, s *story) (version string, d *modelcard.Data, err error) {
	m, files, err := s.final.Bundle(ctx, r.State.Text)
	if err != nil {
		return "", nil, err
	}
	m.Created, m.Revision, m.Encoder = r.created, r.Revision, r.Encoder
	if r.vectors == nil {
		m.Encoder = bundle.Encoder{}
	}
	if m.Encoder.FineTuned {
		encoder, err := r.encoderFiles(ctx)
		if err != nil {
			return "", nil, err
		}
		maps.Copy(files, encoder)
	}
	if r.parent != nil {
		m.Parent = r.parent.Model.Version
	}
	if s.gate.Forced {
		m.Forced = s.gate.Reason
	}
	if m.Data, err = r.data(s.final); err != nil {
		return "", nil, err
	}
	if !s.plan.again {
		m.Data.Holdout = s.plan.measured.Holdout
	}
	m.Metrics = metricsOf(s.results.table)
	d, err = r.report(ctx, s)
	if err != nil {
		return "", nil, err
	}
	var page bytes.Buffer
	if err := modelcard.HTML(&page, d); err != nil {
		return "", nil, err
	}
	files[bundle.ReportFile] = page.Bytes()
	if files[DataFile], err = json.Marshal(d); err != nil {
		return "", nil, fmt.Errorf("%s: %w", DataFile, err)
	}
	version, err = bundle.Write(r.Root, m, files)
	return version, d, err
}

// data says what was learned from.
func (r *run) data(t *training.Trained) (d bundle.TrainingData, err error) {
	ranges, counts, err := r.source.ranges(t.HoldoutStart)
	d.Logs, d.Counts = ranges, map[string]int64{"lists": int64(t.Lists)}
	for kind, n := range counts {
		d.Counts["events "+string(kind)] = n
	}
	return d, err
}

// metricsOf are the new bundle's results on the lists that were left out.
func metricsOf(t *evaluation.Table) map[string]stats.Interval {
	row, ok := t.Row(thisBundle, evaluation.AllLists)
	if !ok {
		return nil
	}
	out := map[string]stats.Interval{}
	for _, m := range metricsIn(t, row) {
		out[strings.ToLower(m.name)] = m.value
	}
	return out
}

type named struct {
	name  string
	value stats.Interval
}

// metricsIn are a row's metrics with their names, the one that decides first.
func metricsIn(t *evaluation.Table, row evaluation.Row) []named {
	at := fmt.Sprintf("@%d", t.K)
	out := []named{{"NDCG" + at, row.NDCG}, {"MRR", row.MRR}, {"MAP" + at, row.MAP}, {"HR" + at, row.HitRate}}
	if row.AUC != nil {
		out = append(out, named{"AUC", *row.AUC})
	}
	return out
}

// readReport reads the report's data of a bundle, nil where there is none that can be read.
func readReport(dir string) *modelcard.Data {
	data, err := os.ReadFile(filepath.Join(dir, DataFile))
	if err != nil {
		return nil
	}
	var d modelcard.Data
	if json.Unmarshal(data, &d) != nil {
		return nil
	}
	return &d
}
