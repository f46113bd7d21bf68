// Package demo simulates a small shop to try Relish on: a catalogue of invented items with
// descriptions, and users who see lists and click.
//
// A World knows what Relish has to learn: what each user is interested in, how the position in a
// list biases clicks, and which items are new. Most users' interests show in the descriptions only.
// Tests and simulations compare a ranking with this truth. Serving and training must not import the
// package.
package demo

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"relish/ranker"
)

//go:embed catalogue/*.jsonl
var catalogueFiles embed.FS

// catalogueLine is one item in a file of the catalogue.
type catalogueLine struct {
	ID     string                       `json:"id"`
	Title  string                       `json:"title"`
	Text   string                       `json:"text"`
	Tags   []string                     `json:"tags"`
	Fields map[string]ranker.FieldValue `json:"fields"`
}

// Catalogue returns the items in the order of their files and lines. The caller owns them.
func Catalogue() []ranker.Item {
	var out []ranker.Item
	names, err := fs.Glob(catalogueFiles, "catalogue/*.jsonl")
	if err != nil {
		panic(err) // the pattern is constant
	}
	for _, name := range names {
		data, err := catalogueFiles.ReadFile(name)
		if err != nil {
			panic(err) // the file is part of the binary
		}
		dec := jsontext.NewDecoder(bytes.NewReader(data))
		for {
			var line catalogueLine
			err := json.UnmarshalDecode(dec, &line, json.RejectUnknownMembers(true))
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				panic(fmt.Sprintf("%s: %v", name, err)) // a test reads every line
			}
			out = append(out, ranker.Item(line))
		}
	}
	return out
}
