package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"relish/features/importfile"
	"relish/internal/app"
	"relish/training/classifier"
)

type classifierCmd struct {
	Train    classifierTrainCmd    `cmd:"" help:"Learn to label texts from examples, and activate the classifier."`
	Evaluate classifierEvaluateCmd `cmd:"" help:"Measure the active version of a classifier on labelled texts."`
	List     classifierListCmd     `cmd:"" help:"List the classifiers of a data folder and their versions."`
}

// classifierFlags name a classifier and a file of labelled texts.
type classifierFlags struct {
	dataFlags    `group:"Data:"`
	encoderFlags `group:"Text encoder:"`
	logFlags     `group:"Logging:"`
	Name         string            `help:"Name of the classifier: lower-case letters, digits and underscores." required:"" placeholder:"NAME"`
	Examples     string            `help:"CSV or JSON with the columns text and label, plain, gzip or zstd; - is standard input." required:"" placeholder:"FILE"`
	Columns      map[string]string `help:"Columns of the file for text and label." mapsep:"," placeholder:"NAME=COLUMN,..."`
}

// read checks the data folder and reads the labelled texts.
func (f *classifierFlags) read() ([]classifier.Example, error) {
	if f.NoText {
		return nil, app.Usagef("a classifier needs a text encoder; leave out --no-text")
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	in := io.Reader(os.Stdin)
	if f.Examples != "-" {
		file, err := os.Open(f.Examples)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no file %s", f.Examples)
		}
		if err != nil {
			return nil, err
		}
		defer file.Close()
		in = file
	}
	return classifier.ReadExamples(f.Examples, in, importfile.Options{Columns: f.Columns})
}

func (f *classifierFlags) classifierOptions(stages *stageProgress) app.ClassifierOptions {
	return app.ClassifierOptions{
		Data: f.Data, Name: f.Name, Encoder: f.options(), Log: f.logger(),
		Progress: func(stage string, done, total int) {
			stages.set("classifier: "+stage, done, total)
		},
	}
}

type classifierTrainCmd struct {
	classifierFlags
	JSON bool `help:"Print only the result as JSON, without warnings."`
}

// Run trains a classifier and prints the outcome as JSON.
func (c *classifierTrainCmd) Run(ctx context.Context) error {
	examples, err := c.read()
	if err != nil {
		return err
	}
	var stages stageProgress
	out, err := app.TrainClassifier(ctx, c.classifierOptions(&stages), examples)
	stages.end()
	if err != nil {
		return err
	}
	if !c.JSON {
		for _, w := range out.Warnings {
			fmt.Fprintln(os.Stderr, "warning:", printable(w))
		}
		fmt.Fprintln(os.Stderr, "report:", out.Card)
	}
	return printJSON(out)
}

type classifierEvaluateCmd struct {
	classifierFlags
	JSON bool `help:"Print the metrics as JSON."`
}

// Run labels the texts and prints how many labels are right.
func (c *classifierEvaluateCmd) Run(ctx context.Context) error {
	examples, err := c.read()
	if err != nil {
		return err
	}
	var stages stageProgress
	m, err := app.EvaluateClassifier(ctx, c.classifierOptions(&stages), examples)
	stages.end()
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(m)
	}
	fmt.Printf("accuracy %.1f %%, macro-F1 %.3f on %d texts\n", 100*m.Accuracy, m.MacroF1, m.N)
	return nil
}

type classifierListCmd struct {
	dataFlags
	JSON bool `help:"Print the list as JSON."`
}

// Run prints the versions of all classifiers.
func (c *classifierListCmd) Run() error {
	if err := c.check(); err != nil {
		return err
	}
	list, err := app.ListClassifiers(c.Data)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(list)
	}
	w := newTable("classifiers", table.Row{
		"name", "version", "state", "labels", "accuracy", "macro-F1", "method",
	})
	for _, s := range list {
		state := ""
		switch {
		case s.Error != "":
			state = "damaged: " + strings.TrimSpace(s.Error)
		case s.Active:
			state = "active"
		}
		w.AppendRow(table.Row{
			s.Name, s.Version, state, s.Labels, fmt.Sprintf("%.3f", s.Metrics["accuracy"]),
			fmt.Sprintf("%.3f", s.Metrics["macro_f1"]), s.Method,
		})
	}
	w.Render()
	return nil
}
