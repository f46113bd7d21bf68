package training

import (
	"bytes"
	"context"
	"slices"

	"go.yaml.in/yaml/v3"

	"relish/ranker"
	"relish/ranker/bundle"
	served "relish/ranker/signals"
	"relish/training/twotower"
)

// gbdtFile is the blend's file in a bundle.
const gbdtFile = "gbdt.txt"

// Bundle returns the bundle's files of the training, without a report, and the manifest's part that names them. The
// probe's cases are replayed lists; text says what the items' texts are composed of.
func (t *Trained) Bundle(ctx context.Context, text ranker.TextSpec) (m bundle.Manifest, files map[string][]byte, err error) {
	files = map[string][]byte{gbdtFile: t.Trees.Model}
	m.Scorer = bundle.ScorerFile{Kind: bundle.ScorerGBDT, File: gbdtFile}
	for _, x := range t.Signals {
		f := bundle.SignalFile{Kind: x.kind}
		if x.file != nil {
			f.File = x.kind + ".bin"
			files[f.File] = x.file
		}
		if n, ok := x.Signal.(*served.TwoTower); ok {
			if files[served.UserTowerFile], err = twotower.ExportUserTower(n); err != nil {
				return m, nil, err
			}
		}
		m.Signals = append(m.Signals, f)
	}
	if files[bundle.SchemaFile], err = t.schemaFile(); err != nil {
		return m, nil, err
	}
	var cases []bundle.ProbeCase
	for _, in := range t.Probes {
		c, err := bundle.RecordProbe(ctx, t.Model, in)
		if err != nil {
			return m, nil, err
		}
		cases = append(cases, c)
	}
	files[bundle.ProbeFile], err = bundle.EncodeProbe(text, cases)
	return m, files, err
}

// SignalKinds names the matchers that were trained, in their order.
func (t *Trained) SignalKinds() (kinds []string) {
	for _, m := range t.Signals {
		kinds = append(kinds, m.kind)
	}
	return kinds
}

// schemaFile is features.yaml with the reasons as comments.
func (t *Trained) schemaFile() ([]byte, error) {
	plain, err := bundle.FormatSchema(t.Model.Schema)
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(plain, &doc); err != nil {
		return nil, err
	}
	why := map[string]string{}
	for _, r := range t.Reasons {
		why[r.Feature] = r.Why
	}
	list := doc.Content[0].Content[1] // the value of the key features
	for i, f := range t.Model.Schema.Features() {
		list.Content[i].HeadComment = why[f.Name]
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	err = enc.Encode(&doc)
	return out.Bytes(), err
}

// columnRecorder notes the columns as they were read, since Assemble works on them in place.
type columnRecorder struct {
	ranker.Features
	columns []float32
}

// Read implements ranker.Features.
func (r *columnRecorder) Read(ctx context.Context, q *ranker.FeatureQuery) (*ranker.RequestState, error) {
	s, err := r.Features.Read(ctx, q)
	if err == nil {
		r.columns = slices.Clone(s.Columns)
	}
	return s, err
}

// addProbe keeps the newest lists as probes. They name no user: a bundle outlives whom it learned from.
func (t *Trained) addProbe(in *ranker.SignalInput, columns []float32) {
	request, state := *in.Request, *in.State
	request.User, request.Session = "", ""
	state.Columns = columns
	t.Probes = append(t.Probes, &ranker.SignalInput{Request: &request, State: &state, Now: in.Now, ItemVectors: in.ItemVectors,
		RecentVectors: in.RecentVectors, Query: in.Query, QueryVector: in.QueryVector})
	t.Probes = t.Probes[max(0, len(t.Probes)-bundle.MaxProbeCases):]
}
