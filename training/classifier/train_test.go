package classifier_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	served "relish/embeddings/classifier"
	"relish/features/importfile"
	"relish/ranker/bundle"
	"relish/training/classifier"
)

// encode gives each text a vector of length 1 that is mostly noise and depends on the text alone.
// The first component tells whether the text is about the sea.
func encode(_ context.Context, texts []string) ([][]float32, error) {
	out := make([][]float32, len(texts))
	for i, text := range texts {
		seed := uint64(len(text))
		for _, b := range []byte(text) {
			seed = seed*31 + uint64(b)
		}
		r := rand.New(rand.NewPCG(seed, 1))
		v, norm := make([]float32, 8), 0.0
		for k := range v {
			v[k] = float32(r.NormFloat64())
		}
		if v[0] = -2; strings.Contains(text, "sea") {
			v[0] = 2
		}
		for _, x := range v {
			norm += float64(x) * float64(x)
		}
		for k := range v {
			v[k] /= float32(math.Sqrt(norm))
		}
		out[i] = v
	}
	return out, nil
}

// examples of three labels: the vector tells the first, and words separate the two others.
func examples(n int, seed uint64) (out []classifier.Example) {
	r := rand.New(rand.NewPCG(seed, 2))
	about := map[string]string{
		"sea": "sailing at sea", "bread": "a loaf of rye", "tax": "law of tax",
	}
	for _, label := range []string{"sea", "bread", "tax"} {
		for range n {
			out = append(out, classifier.Example{
				Text:  fmt.Sprintf("%s %d", about[label], r.IntN(1e9)),
				Label: label,
			})
		}
	}
	return out
}

func input(examples []classifier.Example) classifier.Input {
	return classifier.Input{
		Name: "topic", Examples: examples, Encode: encode, Encoder: bundle.Encoder{Digest: "d"},
	}
}

func TestTrain(t *testing.T) {
	r, err := classifier.Train(t.Context(), input(examples(20, 1)))
	if err != nil {
		t.Fatal(err)
	}
	if r.Metrics.N != 60 || r.Metrics.Accuracy < 0.95 || !r.BetterThanBaseline() ||
		len(r.Warnings) > 0 {
		t.Errorf("%+v, warnings %q", r.Metrics, r.Warnings)
	}
	model := &served.Model{Head: r.Head}
	var texts, truth, predicted []string
	for _, e := range examples(50, 3) {
		texts, truth = append(texts, e.Text), append(truth, e.Label)
	}
	vectors, _ := encode(t.Context(), texts)
	for _, l := range model.Classify(texts, vectors) {
		predicted = append(predicted, l.Label)
	}
	if m := classifier.Measure(truth, predicted); m.Accuracy < 0.95 {
		t.Errorf("on new texts: %+v", m)
	}
	card := string(r.Files[served.CardFile])
	for _, want := range []string{"Confusion matrix", "macro-F1", "Most worth labelling", "bread"} {
		if !strings.Contains(card, want) {
			t.Errorf("the card lacks %q", want)
		}
	}
}

// The order of the examples and repetitions of them change nothing.
func TestTrainIsDeterministic(t *testing.T) {
	e := examples(10, 1)
	first, err := classifier.Train(t.Context(), input(e))
	if err != nil {
		t.Fatal(err)
	}
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(e), func(i, j int) { e[i], e[j] = e[j], e[i] })
	second, err := classifier.Train(t.Context(), input(append(e, e[:7]...)))
	if err != nil {
		t.Fatal(err)
	}
	a, errA := first.Head.Encode()
	b, errB := second.Head.Encode()
	if string(a) != string(b) || errA != nil || errB != nil {
		t.Errorf("the heads differ: %v, %v", errA, errB)
	}
}

// The vectors of all texts have much in common. What they differ by says which label they have.
func TestVectorsWithMuchInCommon(t *testing.T) {
	in := input(examples(20, 1))
	common := func(ctx context.Context, texts []string) ([][]float32, error) {
		out, err := encode(ctx, texts)
		for i, v := range out {
			for k := range v {
				v[k] *= 0.01
			}
			out[i] = append(v, 0.9999)
		}
		return out, err
	}
	in.Encode = common
	r, err := classifier.Train(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	// The texts have no words of the examples.
	texts := []string{"the sea", "no water", "seagull", "mountain", "undersea", "a valley"}
	vectors, _ := common(t.Context(), texts)
	model := &served.Model{Head: r.Head}
	for i, l := range model.Classify(texts, vectors) {
		if (l.Label == "sea") != strings.Contains(texts[i], "sea") || l.Probability < 0.4 {
			t.Errorf("%q is %+v", texts[i], l)
		}
	}
}

// The names of labels count as examples if their vectors say what the label is about.
func TestNamesOfLabels(t *testing.T) {
	for _, speaking := range []bool{true, false} {
		in := input(nil)
		topics := []string{"card", "loan", "rate", "cash"}
		// A text has the vector of its topic with much noise, a name the same vector without noise
		// or that of the next label.
		in.Encode = func(_ context.Context, texts []string) ([][]float32, error) {
			out := make([][]float32, len(texts))
			for i, text := range texts {
				n, err := strconv.Atoi(text)
				isText := err == nil
				k := n % 4
				if !isText {
					k = max(0, slices.Index(topics, text))
				}
				v := make([]float32, 32)
				v[k] = 1
				if !isText && !speaking {
					v[k], v[(k+1)%4] = 0, 1
				}
				if isText {
					r := rand.New(rand.NewPCG(uint64(n), uint64(k)))
					for j := range v {
						v[j] += float32(r.NormFloat64() * 0.5)
					}
				}
				out[i] = v
			}
			return out, nil
		}
		for i := range 20 {
			in.Examples = append(in.Examples, classifier.Example{
				Text: strconv.Itoa(i), Label: topics[i%4],
			})
		}
		r, err := classifier.Train(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(r.Manifest.Method, "label names as examples") != speaking {
			t.Errorf("names that say something: %v: %s", speaking, r.Manifest.Method)
		}
		if r.Metrics.N != 20 {
			t.Errorf("%d examples were measured, want 20", r.Metrics.N)
		}
	}
}

// Texts of the pool that are unlike each other and between two labels are worth labelling; those
// of a clear label are not.
func TestWorthLabelling(t *testing.T) {
	in := input(examples(20, 1))
	for i := range 40 {
		in.Pool = append(in.Pool, fmt.Sprintf("sailing at sea %d", i))
	}
	in.Pool = append(in.Pool, "a rye law")
	r, err := classifier.Train(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(r.Files[served.CardFile]), "Most worth labelling")
	first := strings.Index(table, "a rye law")
	if other := strings.Index(table, "sailing"); first < 0 || other >= 0 && other < first {
		t.Errorf("the unclear text is not first: %s", table)
	}
}

func TestTooFewExamples(t *testing.T) {
	some := examples(10, 1)
	for name, c := range map[string]struct {
		examples []classifier.Example
		want     string
	}{
		"none":      {nil, "0 different examples of 0 labels"},
		"one label": {some[:10], "10 different examples of 1 label;"},
		"a rare label": {
			append(some, classifier.Example{Text: "x", Label: "rare"}),
			`"rare" has 1. Each label needs 5`,
		},
		"repetitions": {
			append(some[:20:20], classifier.Example{Text: "x", Label: "same"},
				classifier.Example{Text: "x", Label: "same"}), `"same" has 1.`,
		},
	} {
		_, err := classifier.Train(t.Context(), input(c.examples))
		if !errors.Is(err, classifier.ErrExamples) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r, err := classifier.Train(t.Context(), input(examples(6, 1)))
	if err != nil || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], `"bread" has 6`) {
		t.Errorf("with 6 examples: %v", err)
	}
}

func TestMeasure(t *testing.T) {
	truth := []string{"a", "a", "a", "b", "b", "c"}
	predicted := []string{"a", "a", "b", "b", "a", "d"}
	m := classifier.Measure(truth, predicted)
	// F1 of a is 4/6, of b 2/4, of c and d 0.
	if m.N != 6 || m.Accuracy != 0.5 || math.Abs(m.MacroF1-(4.0/6+0.5)/4) > 1e-12 {
		t.Errorf("%+v", m)
	}
}

func TestReadExamples(t *testing.T) {
	read := func(file string, columns map[string]string) ([]classifier.Example, error) {
		return classifier.ReadExamples("f.csv", strings.NewReader(file),
			importfile.Options{Columns: columns})
	}
	want := []classifier.Example{{"a, b", "x"}, {"c\nd", "y"}}
	for name, c := range map[string]struct {
		file    string
		columns map[string]string
	}{
		"csv": {"text,label\n\"a, b\",x\n\"c\nd\", y \n", nil},
		"other name": {
			"id;body;kind\n1;a, b;x\n2;\"c\nd\";y\n",
			map[string]string{"text": "body", "label": "kind"},
		},
		"json": {`{"text":"a, b","label":"x"}` + "\n" + `{"label":"y","text":"c\nd"}`, nil},
	} {
		got, err := read(c.file, c.columns)
		if err != nil || len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
	for file, message := range map[string]string{
		"text,category\na,x\n": `there is no column "label"; the columns are text, category`,
		"text,label\na,\n":     "line 2 has no text or no label",
		"text,label\na,x\nb\n": "line 3",
		"":                     "the file is empty",
		"text,label\na," + strings.Repeat("x", 257): "label of 257 bytes",
	} {
		if _, err := read(file, nil); err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("%.40q: %v, want %q", file, err, message)
		}
	}
	if _, err := read("text,label\na,x\n", map[string]string{"txt": "a"}); err == nil ||
		!strings.Contains(err.Error(), `did you mean "text"`) {
		t.Error(err)
	}
}
