package api_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"relish/api"
	"relish/embeddings/classifier"
)

// labeler labels each text by its first word.
type labeler struct{ err error }

func (l labeler) Classify(
	_ context.Context, name string, texts []string,
) (string, []classifier.Label, error) {
	if l.err != nil {
		return "", nil, l.err
	}
	if name != "topic" {
		return "", nil, fmt.Errorf("%w %q; known ones are: topic", classifier.ErrUnknown, name)
	}
	var out []classifier.Label
	for _, text := range texts {
		word, _, _ := strings.Cut(text, " ")
		out = append(out, classifier.Label{Label: word, Probability: 0.75})
	}
	return "v1", out, nil
}

func TestLabels(t *testing.T) {
	s := start(t, func(o *api.Options) { o.Labeler = labeler{} })
	w := s.call("POST", "/labels/topic", `{"texts":["bread at sea","tax law"]}`)
	var got struct {
		Classifier, Version string
		Labels              []struct {
			Label       string
			Probability float64
		}
	}
	err := json.Unmarshal(w.Body.Bytes(), &got, json.MatchCaseInsensitiveNames(true))
	if w.Code != 200 || err != nil || got.Classifier != "topic" || got.Version != "v1" ||
		len(got.Labels) != 2 || got.Labels[1].Label != "tax" || got.Labels[0].Probability != 0.75 {
		t.Errorf("%d %s %v", w.Code, w.Body, err)
	}
	many := `{"texts":["a"` + strings.Repeat(`,"a"`, 1000) + `]}`
	for _, c := range []struct {
		path, body    string
		status        int
		code, pointer string
	}{
		{"/labels/topic", `{"texts":[]}`, 400, "missing_field", "/texts"},
		{"/labels/topic", `{}`, 400, "missing_field", "/texts"},
		{"/labels/topic", `{"texts":["a"],"x":1}`, 400, "unknown_field", "/x"},
		{"/labels/topic", `{"texts":[1]}`, 400, "invalid_field", "/texts/0"},
		{"/labels/topic", many, 413, "too_many_items", "/texts"},
		{"/labels/other", `{"texts":["a"]}`, 404, "unknown_classifier", ""},
	} {
		wantError(t, s.call("POST", c.path, c.body), c.status, c.code, c.pointer)
	}
}

func TestLabelsWithoutAnEncoder(t *testing.T) {
	for name, l := range map[string]api.Labeler{
		"no text encoder": nil,
		"a broken one":    labeler{errors.New("broken")},
	} {
		s := start(t, func(o *api.Options) { o.Labeler = l })
		w := s.call("POST", "/labels/topic", `{"texts":["a"]}`)
		t.Log(name)
		wantError(t, w, 503, "no_text_encoder", "")
	}
}
