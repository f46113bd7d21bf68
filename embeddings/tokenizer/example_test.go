package tokenizer_test

import (
	"fmt"

	"relish/embeddings/tokenizer"
)

// A word is cut into the longest pieces of the vocabulary. An unknown word is one token.
func ExampleTokenizer_Encode() {
	tok, err := tokenizer.Load([]byte(`{
		"normalizer": {"type": "BertNormalizer", "lowercase": true},
		"pre_tokenizer": {"type": "BertPreTokenizer"},
		"post_processor": {"type": "BertProcessing", "cls": ["[CLS]", 1], "sep": ["[SEP]", 2]},
		"model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab":
			{"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "play": 3, "##ing": 4, "##ers": 5, "chess": 6}}
	}`))
	if err != nil {
		panic(err)
	}
	fmt.Println(tok.Encode(nil, "Playing chess", 128))
	fmt.Println(tok.Encode(nil, "Players play go", 128))
	fmt.Println(tok.Encode(nil, "Players play go", 4))
	// Output:
	// [1 3 4 6 2]
	// [1 3 5 3 0 2]
	// [1 3 5 2]
}
