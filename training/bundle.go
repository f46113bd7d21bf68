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

// gbdtFile is the scorer's file in a bundle.
const gbdtFile = "gbdt.txt"

// Bundle returns the bundle's files and the part of the manifest that names them, without a model
// card. text is how an item's text is composed.
func (t *Trained) Bundle(
	ctx context.Context, text ranker.TextSpec,
) (m bundle.Manifest, files map[string][]byte, err error) {
	files = map[string][]byte{gbdtFile: t.Trees.Model}
	m.Scorer = bundle.ScorerFile{Kind: bundle.ScorerGBDT, File: gbdtFile}
	for _, s := range t.Signals {
		f := bundle.SignalFile{Kind: s.kind}
		if s.file != nil {
			f.File = s.kind + ".bin"
			files[f.File] = s.file
		}
		if model, ok := s.Signal.(*served.TwoTower); ok {
			if files[served.UserTowerFile], err = twotower.ExportUserTower(model); err != nil {
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

// SignalKinds returns the kinds of the trained signals, in order.
func (t *Trained) SignalKinds() (kinds []string) {
	for _, s := range t.Signals {
		kinds = append(kinds, s.kind)
	}
	return kinds
}

// LeavesOutTwoTower reports that a two-tower model was trained and is no part of the bundle,
// because it ranks no better than item popularity.
func (t *Trained) LeavesOutTwoTower() bool {
	return t.TwoTower != nil && !slices.Contains(t.SignalKinds(), served.KindTwoTower)
}

// schemaFile returns features.yaml with the reasons as comments.
func (t *Trained) schemaFile() ([]byte, error) {
	plain, err := bundle.FormatSchema(t.Model.Schema)
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(plain, &doc); err != nil {
		return nil, err
	}
	reasons := map[string]string{}
	for _, r := range t.Reasons {
		reasons[r.Feature] = r.Why
	}
	list := doc.Content[0].Content[1] // the value of the key features
	for i, f := range t.Model.Schema.Features() {
		list.Content[i].HeadComment = reasons[f.Name]
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	err = enc.Encode(&doc)
	return out.Bytes(), err
}
