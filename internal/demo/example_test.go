package demo_test

import (
	"fmt"

	"relish/internal/demo"
)

func Example() {
	world := demo.New(demo.Options{Seed: 1})
	candidates := []string{"book-001", "film-001", "game-001", "recipe-001"}
	fmt.Println(world.BestOrder("user-0007", candidates))
	// Output: [game-001 recipe-001 film-001 book-001]
}
