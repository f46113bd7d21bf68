// Package demo is a small world to try Relish on: a catalogue of invented items described in prose, and
// simulated users whose interests are hidden, some of them readable from the prose alone.
//
// The world knows the truth (who likes what, how places bias clicks, which items are new); only tests
// and the demo command may import this package, so that the product cannot peek.
package demo

import (
	"bytes"
	"embed"
	"fmt"
	"io"
	"io/fs"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"relish/ranker"
)

//go:embed catalogue/*.jsonl
var catalogueFiles embed.FS

type catalogueLine struct {
	ID     string                       `json:"id"`
	Title  string                       `json:"title"`
	Text   string                       `json:"text"`
	Tags   []string                     `json:"tags"`
	Fields map[string]ranker.FieldValue `json:"fields"`
}

// Catalogue returns the items, in the order of their files and lines. The caller owns them.
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
			var e catalogueLine
			err := json.UnmarshalDecode(dec, &e, json.RejectUnknownMembers(true))
			if err == io.EOF {
				break
			}
			if err != nil {
				panic(fmt.Sprintf("%s: %v", name, err)) // a test reads all of it
			}
			out = append(out, ranker.Item{ID: e.ID, Title: e.Title, Text: e.Text, Tags: e.Tags, Fields: e.Fields})
		}
	}
	return out
}
