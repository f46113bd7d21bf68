package event_test

import (
	"fmt"
	"strings"
	"testing"

	"relish/features/event"
	"relish/ranker"
)

// The bounds of a context hold for its names and values together: every ranking logs it.
func TestContextIsBounded(t *testing.T) {
	type fields = map[string]ranker.FieldValue
	full := fields{}
	value := ranker.StringValue(strings.Repeat("x", 128-len("key-00")))
	for i := range event.MaxContextKeys {
		full[fmt.Sprintf("key-%02d", i)] = value
	}
	if err := event.CheckContext(full); err != nil {
		t.Errorf("a context of exactly %d bytes: %v", event.MaxContextBytes, err)
	}
	full["key-00"] = ranker.StringValue(strings.Repeat("x", 128))
	long := ranker.StringValue(strings.Repeat("x", event.MaxContextBytes))
	tags := make([]string, 300)
	for i := range tags {
		tags[i] = "a long list of tags"
	}
	for name, context := range map[string]fields{
		"many values":     full,
		"one long value":  {"query": long},
		"a long list":     {"tags": ranker.StringsValue(tags)},
		"too many values": manyFields(event.MaxContextKeys + 1),
	} {
		impression := &ranker.Event{
			Kind: ranker.EventImpression, ID: "e", UserID: "u",
			Impression: &ranker.Impression{Items: []string{"a"}, Context: context},
		}
		err := event.Validate(impression)
		if err == nil || err.Code != "too_large" || err.Pointer != "/context" {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func manyFields(n int) map[string]ranker.FieldValue {
	fields := map[string]ranker.FieldValue{}
	for i := range n {
		fields[fmt.Sprintf("key-%d", i)] = ranker.NumberValue(1)
	}
	return fields
}
