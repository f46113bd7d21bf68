package targeting_test

import (
	"fmt"

	"go.yaml.in/yaml/v3"

	"relish/experiment/targeting"
	"relish/ranker"
)

// A condition on a context field and on a stored field of the user.
func ExampleCompile() {
	var file yaml.Node
	text := `{device: {$ne: bot}, user.country: {$in: [de, at]}}`
	if err := yaml.Unmarshal([]byte(text), &file); err != nil {
		fmt.Println(err)
		return
	}
	condition, problems := targeting.Compile(&file)
	if problems != nil {
		fmt.Println(problems)
		return
	}
	for _, country := range []string{"de", "fr"} {
		request := targeting.Attributes{
			ID:      "ann",
			Context: map[string]ranker.FieldValue{"device": ranker.StringValue("phone")},
			User:    map[string]ranker.FieldValue{"country": ranker.StringValue(country)},
		}
		value := request.Value()
		fmt.Println(country, condition.Matches(&value))
	}
	// Output:
	// de true
	// fr false
}
