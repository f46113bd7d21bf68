package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"

	"relish/ranker"
)

// schemaDocument is the contents of features.yaml.
type schemaDocument struct {
	Features []ranker.Feature `yaml:"features"`
}

// FormatSchema encodes a schema as features.yaml.
func FormatSchema(s *ranker.Schema) ([]byte, error) {
	return yaml.Marshal(schemaDocument{s.Features()})
}

// ParseSchema decodes features.yaml: one document with the key features, a list of ranker.Feature.
// Unknown and repeated keys are errors.
func ParseSchema(data []byte) (*ranker.Schema, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	var form schemaDocument
	if err := dec.Decode(&form); err != nil {
		return nil, fmt.Errorf("%s: %w", SchemaFile, err)
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: only one YAML document is allowed", SchemaFile)
	}
	if len(form.Features) == 0 {
		return nil, fmt.Errorf("%s: features is empty; a schema has at least one feature",
			SchemaFile)
	}
	s, err := ranker.NewSchema(form.Features)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", SchemaFile, err)
	}
	return s, nil
}
