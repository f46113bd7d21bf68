package embeddings_test

import (
	"context"
	"fmt"

	"relish/embeddings"
	"relish/ranker"
)

// toyModel is an encoder whose vectors have two components: the share of vowels, and the rest.
type toyModel struct{}

func (toyModel) Tokenize(dst []int32, text string) []int32 {
	for _, b := range []byte(text) {
		dst = append(dst, int32(b))
	}
	return dst
}

func (toyModel) Run(_ context.Context, batch [][]int32, out [][]float32) error {
	for i, ids := range batch {
		for _, id := range ids {
			switch id {
			case 'a', 'e', 'i', 'o', 'u':
				out[i][0] += 1 / float32(len(ids))
			default:
				out[i][1] += 1 / float32(len(ids))
			}
		}
	}
	return nil
}

func (toyModel) Bucket(n int) int   { return n }
func (toyModel) MixesBuckets() bool { return true }
func (toyModel) Dim() int           { return 2 }
func (toyModel) MaxTokens() int     { return 64 }
func (toyModel) Parallel() int      { return 1 }
func (toyModel) BatchTokens() int   { return 256 }
func (toyModel) Digest() string     { return "toy" }

// Fetch waits for the encoder. Lookup returns only what has been encoded before.
func ExampleService() {
	ctx := context.Background()
	service, err := embeddings.New(toyModel{}, embeddings.Options{})
	if err != nil {
		panic(err)
	}
	defer service.Close(ctx)

	soup := ranker.NewItemInfo(ranker.Item{ID: "1", Title: "soup"}, ranker.DefaultTextSpec)
	tea := ranker.NewItemInfo(ranker.Item{ID: "2", Title: "tea!"}, ranker.DefaultTextSpec)
	vectors := make([][]float32, 1)

	service.Fetch(ctx, []*ranker.ItemInfo{soup}, vectors)
	fmt.Println(vectors[0])
	fmt.Println("missing:", service.Lookup([]*ranker.ItemInfo{soup}, vectors))
	fmt.Println("missing:", service.Lookup([]*ranker.ItemInfo{tea}, vectors))
	// Output:
	// [0.5 0.5]
	// missing: 0
	// missing: 1
}
