package signals_test

import (
	"fmt"

	"relish/ranker"
	"relish/training/signals"
)

// Three users interacted with milk and then with bread, so bread is a neighbour of milk.
func ExampleTrainCooccurrence() {
	items := ranker.NewItemTable([]string{"milk", "bread", "soap"})
	corpus := &signals.Corpus{
		Items: items, ItemInfos: make([]*ranker.ItemInfo, 3), Vectors: make([][]float32, 3),
	}
	for range 3 {
		corpus.Users = append(corpus.Users, signals.UserHistory{
			Interactions: []signals.Interaction{{Item: 0, Gain: 1}, {Item: 1, Gain: 1}},
		})
	}
	model := signals.TrainCooccurrence(corpus)
	for i := model.First[0]; i < model.First[1]; i++ {
		fmt.Println("item", model.Neighbors[i], "came next", model.NextCounts[i], "times")
	}
	// Output:
	// item 1 came next 3 times
}
