package tokenizer_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"relish/embeddings/tokenizer"
)

// object is a decoded JSON object.
type object = map[string]any

// withChange returns the shipped tokenizer.json after a change.
func withChange(t *testing.T, change func(object)) []byte {
	t.Helper()
	data, err := os.ReadFile(model)
	if err != nil {
		t.Fatalf("%v: run make build first", err)
	}
	var m object
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	change(m)
	if data, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	return data
}

// set returns a change that sets one field.
func set(part, field string, value any) func(object) {
	return func(m object) { m[part].(object)[field] = value }
}

// The ids agree with the reference for every setting that other encoders of the family use.
func TestConfigurations(t *testing.T) {
	texts := append(generated(4000), "The weather\x0bis\x0clovely\u0085today",
		"a[SEP]b", "İI", "漢\uf900字", "\u1fef\u037e\u2000x")
	for name, change := range map[string]func(object){
		"not cleaned": set("normalizer", "clean_text", false),
		"cased":       set("normalizer", "lowercase", false),
		"cased, stripped": func(m object) {
			set("normalizer", "lowercase", false)(m)
			set("normalizer", "strip_accents", true)(m)
		},
		"lower case, accents":   set("normalizer", "strip_accents", false),
		"ideographs in words":   set("normalizer", "handle_chinese_chars", false),
		"short words":           set("model", "max_input_chars_per_word", 5),
		"no prefix":             set("model", "continuing_subword_prefix", ""),
		"another unknown token": set("model", "unk_token", "[MASK]"),
		"no special tokens":     func(m object) { m["post_processor"] = nil },
		"BertProcessing": func(m object) {
			m["post_processor"] = object{
				"type": "BertProcessing",
				"cls":  []any{"[MASK]", 103},
				"sep":  []any{"[SEP]", 102},
			}
		},
		"RobertaProcessing": func(m object) {
			m["post_processor"] = object{
				"type":             "RobertaProcessing",
				"cls":              []any{"[CLS]", 101},
				"sep":              []any{"[SEP]", 102},
				"trim_offsets":     true,
				"add_prefix_space": false,
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			data := withChange(t, change)
			file := filepath.Join(t.TempDir(), "tokenizer.json")
			if err := os.WriteFile(file, data, 0o644); err != nil {
				t.Fatal(err)
			}
			tok, err := tokenizer.Load(data)
			if err != nil {
				t.Fatal(err)
			}
			compareWith(t, tok, file, texts)
		})
	}
}

// A setting that would make ids differ is refused, and the error names it.
func TestLoadRefuses(t *testing.T) {
	if _, err := tokenizer.Load([]byte(`{`)); err == nil ||
		!strings.Contains(err.Error(), "tokenizer.json") {
		t.Errorf("truncated JSON: %v", err)
	}
	template := func(single ...any) func(object) { return set("post_processor", "single", single) }
	text := object{"Sequence": object{"id": "A", "type_id": 0}}
	for _, c := range []struct {
		change func(object)
		want   string
	}{
		{set("model", "type", "BPE"), `model.type "BPE"`},
		{set("normalizer", "type", "NFC"), `normalizer.type "NFC"`},
		{func(m object) { m["normalizer"] = nil }, `normalizer.type ""`},
		{set("pre_tokenizer", "type", "Whitespace"), `pre_tokenizer.type "Whitespace"`},
		{set("model", "unk_token", "<unk>"), `"<unk>" is missing`},
		{set("model", "vocab", object{}), "is missing"},
		{set("model", "vocab", object{"[UNK]": -1}), "negative"},
		{set("model", "max_input_chars_per_word", 1<<30), "max_input_chars_per_word"},
		{set("post_processor", "type", "ByteLevel"), `post_processor.type "ByteLevel"`},
		{set("post_processor", "special_tokens", object{}), `special_tokens has no "[CLS]"`},
		{template(), "contains the text 0 times"},
		{template(text, text), "contains the text 2 times"},
		{template(object{"Sequence": object{"id": "A", "type_id": 1}}), "single[0]"},
		{func(m object) { m["post_processor"] = object{"type": "BertProcessing"} }, "cls and sep"},
		{func(m object) {
			ordinary := object{"id": 30522, "content": "new", "special": false}
			m["added_tokens"] = append(m["added_tokens"].([]any), ordinary)
		}, `"new" is not special`},
	} {
		if _, err := tokenizer.Load(withChange(t, c.change)); err == nil ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one with %q", err, c.want)
		}
	}
}

// The special tokens are there even if maxTokens is smaller.
func TestTinyLimits(t *testing.T) {
	tok := load(t)
	for _, limit := range []int{-1, 0, 1, 2} {
		if got := tok.Encode(nil, "some text", limit); !slices.Equal(got, []int32{101, 102}) {
			t.Errorf("limit %d: %v", limit, got)
		}
	}
	if got := tok.Encode([]int32{7}, "", 128); !slices.Equal(got, []int32{7, 101, 102}) {
		t.Errorf("got %v, want the contents of dst and the special tokens", got)
	}
}
