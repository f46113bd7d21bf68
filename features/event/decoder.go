package event

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"relish/ranker"
)

// Decoder decodes events as Decode does, but reads their times by another rule. Files of other
// systems have other units than the API. It is safe for concurrent use if its rule is.
type Decoder struct{ opt json.Options }

// NewDecoder returns a Decoder. parse converts the text or the number of a time to Unix
// milliseconds.
func NewDecoder(parse func(string) (int64, error)) *Decoder {
	read := func(dec *jsontext.Decoder, s *timestamp) error {
		tok, err := dec.ReadToken()
		if err != nil {
			return err
		}
		*s = 0
		if tok.Kind() == 'n' {
			return nil
		}
		if k := tok.Kind(); k != '0' && k != '"' {
			return fmt.Errorf("must be a time, not %s", jsonKindName(k))
		}
		ms, err := parse(tok.String())
		*s = timestamp(ms)
		return err
	}
	times := json.WithUnmarshalers(json.UnmarshalFromFunc(read))
	return &Decoder{json.JoinOptions(strict, times)}
}

// Decode reads one event, native or in Metarank's form. It does not call Validate.
func (d *Decoder) Decode(data []byte) (ranker.Event, *ranker.EventError) {
	return decode(data, d.opt)
}

// DecodeMetarank reads one event in Metarank's form. It does not call Validate.
func (d *Decoder) DecodeMetarank(data []byte) (ranker.Event, *ranker.EventError) {
	return decodeMetarank(data, d.opt)
}
