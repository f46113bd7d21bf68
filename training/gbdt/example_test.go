package gbdt_test

import (
	"context"
	"fmt"
	"log"

	"relish/training/gbdt"
)

// Trees learn from ranking lists that users choose the row with the larger value of column 0.
func Example() {
	library, err := gbdt.Open("../../.cache/lightgbm/lib_lightgbm.so")
	if err != nil {
		log.Fatal(err)
	}
	train := &gbdt.Dataset{NumFeatures: 1}
	for i := range 200 {
		low, high := float32(i%10), float32(10+i%10)
		if i%2 == 0 {
			train.Rows, train.Labels = append(train.Rows, low, high), append(train.Labels, 0, 1)
		} else {
			train.Rows, train.Labels = append(train.Rows, high, low), append(train.Labels, 1, 0)
		}
		train.Groups = append(train.Groups, 2)
	}
	params := gbdt.DefaultParams()
	params.MaxRounds = 20
	result, err := library.Train(context.Background(), train, nil, params, nil)
	if err != nil {
		log.Fatal(err)
	}

	booster, err := library.LoadBooster(result.Model)
	if err != nil {
		log.Fatal(err)
	}
	defer booster.Close()
	scores, err := booster.Predict([]float32{3, 17}, 1)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("trees:", result.Rounds)
	fmt.Println("17 ranks above 3:", scores[1] > scores[0])
	// Output:
	// trees: 20
	// 17 ranks above 3: true
}
