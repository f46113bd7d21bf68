package api_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"relish/api"
	"relish/ranker"
)

// A message says what is wrong, with which value, and what to do.
func TestErrorMessages(t *testing.T) {
	s := start(t, nil)
	for _, c := range []struct{ body, want string }{
		{`{"user":"u","candidates":["a"]}`, `unknown field "user"; did you mean "user_id"?`},
		{with(`"Deadline-MS":1`), `unknown field "Deadline-MS"; did you mean "deadline_ms"?`},
		{withCandidates(`[{"id":"a","tag":["x"]}]`), `unknown field "tag"; did you mean "tags"?`},
		{withCandidates(`[{"id":"a","colour":1}]`),
			`unknown field "colour": the fields are id, title, text, tags, fields, score`},
		{with(`"user_id":"v"`), `field "user_id" is given twice: keep one`},
		{`{"user_id":7,"candidates":["a"]}`, `must be a string, not a number`},
		{withCandidates(`"a"`), `must be a list of item ids or of objects with an id`},
		{withCandidates(`[3]`), `must be an item id (string) or an object, not a number`},
		{withCandidates(`[{"title":"T"}]`), `id is required: send the id of the item`},
		{withCandidates(`[]`), `candidates is required: send at least one item`},
		{withCandidates(`["a",]`), `not valid JSON at byte 32: trailing comma: remove it`},
		{`{"user_id":"u","candidates":["a"],}`,
			`not valid JSON at byte 33: trailing comma: remove it`},
		{withCandidates(`[{"id":"a","score":1e39}]`), `score must be within ±3.4e38, not 1e+39`},
		{withCandidates(`[{"id":"a","score":1e999}]`), `must be a 64-bit number, not 1e999`},
		{with(`"limit":1.5`), `must be a whole number of at most 64 bits, not 1.5`},
		{with(`"limit":0`), `must be at least 1, not 0`},
		{with(`"deadline_ms":20000`), `must be 1 to 10,000 ms, not 20000`},
		{with(`"explain":"yes"`), `must be true, false or a whole number from 1 to 100, not yes`},
		{with(`"record":"no"`), `must be true or false, not a string`},
		{with(`"context":[]`), `must be an object, not a list`},
		{with(`"time":"noon"`),
			`must be a time like 2026-05-01T10:00:00Z or Unix milliseconds, not "noon"`},
		{with(`"time":1769725482`), `must be a time like 2026-05-01T10:00:00Z or Unix ` +
			`milliseconds after 1990, not 1769725482: this seems to be Unix seconds ` +
			`(2026-01-29T22:24:42Z); multiply by 1000`},
		{with(`"time":20260501`), `must be a time like 2026-05-01T10:00:00Z or Unix ` +
			`milliseconds after 1990, not 20260501: this seems to be a date written as a ` +
			`number; send 2026-05-01T00:00:00Z`},
		{`{"candidates":["a"]}`, `user_id is required: for an anonymous user send the session id`},
		{with(`"model":"best"`),
			`no loaded model "best": see GET /models, or leave model out for the active one`},
		{with(`"context":{"x":["a",1]}`), `must be a list of only strings or of only numbers`},
		{`{"user_id":"u"`, `not valid JSON at byte 14: unexpected EOF`},
		{`hello`, `not valid JSON at byte 0: invalid character 'h' at start of value`},
		{ranking + ` x`, `not valid JSON at byte 39: invalid character 'x' after top-level value`},
	} {
		got := decodeFailure(t, s.call("POST", "/recommend", c.body)).Error.Message
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.body, got, c.want)
		}
	}
}

// Messages of the other routes.
func TestOtherErrorMessages(t *testing.T) {
	fake := &models{err: fmt.Errorf("%w: v", ranker.ErrUnknownModel)}
	s := start(t, func(o *api.Options) { o.Models = fake })
	const metarank = `{"id":"r1","timestamp":1,"user":"u","items":[{"id":"a"}]}`
	for _, c := range []struct{ method, path, body, want string }{
		{"POST", "/models/nope/activate", "", `no bundle "nope": see GET /models`},
		{"GET", "/models/nope/report", "",
			`no bundle "nope", or it has no report: see GET /models`},
		{"POST", "/rank/best", metarank, `no loaded model "best": use /rank/prior, or a version ` +
			`that GET /models lists as active, previous or loaded`},
		{"POST", "/rerank", `{"texts":["a"]}`, `query is required: send the text to rank by`},
		{"GET", "/recommend", "", `this route does not have the method GET: use POST`},
		{"POST", "/items/a", "{}", `this route does not have the method POST: use GET, DELETE`},
		{"POST", "/feedback", `[{"id":"a"},]`,
			`not valid JSON at byte 12: trailing comma: remove it`},
	} {
		got := decodeFailure(t, s.call(c.method, c.path, c.body)).Error.Message
		if got != c.want {
			t.Errorf("%s %s:\n got %s\nwant %s", c.method, c.path, got, c.want)
		}
	}
}

// codeLiteral matches where the code of an error is written in the source.
var codeLiteral = regexp.MustCompile(
	`\b[cC]ode: +"([a-z_]+)"|\.Code(?:, e\.Message)? = "([a-z_]+)"`)

// The table of docs/api.md has every code of an answer and no other.
func TestErrorCodesAreDocumented(t *testing.T) {
	var inSource, inTable []string
	for _, folder := range []string{".", "../features/event", "../features/ingest"} {
		files, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", folder, len(files), err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			for _, m := range codeLiteral.FindAllStringSubmatch(readFile(t, file), -1) {
				inSource = append(inSource, m[1]+m[2])
			}
		}
	}
	code := regexp.MustCompile("`([a-z_]+)`")
	_, table, found := strings.Cut(readFile(t, "../docs/api.md"), "| status | code |")
	if !found {
		t.Fatal("docs/api.md has no table of codes")
	}
	for _, row := range strings.Split(table, "\n")[2:] {
		if cells := strings.Split(row, "|"); len(cells) > 2 {
			for _, m := range code.FindAllStringSubmatch(cells[2], -1) {
				inTable = append(inTable, m[1])
			}
		}
	}
	inSource = slices.Compact(slices.Sorted(slices.Values(inSource)))
	inTable = slices.Compact(slices.Sorted(slices.Values(inTable)))
	if !slices.Equal(inSource, inTable) {
		t.Errorf("codes in the source:\n%v\nin docs/api.md:\n%v", inSource, inTable)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// A message repeats only the beginning of a long value.
func TestErrorMessagesAreBounded(t *testing.T) {
	s := start(t, nil)
	body := with(`"` + strings.Repeat("ü", 10_000) + `":1`)
	message := decodeFailure(t, s.call("POST", "/recommend", body)).Error.Message
	if len(message) > 300 || !strings.HasPrefix(message, `unknown field "üü`) {
		t.Errorf("%d bytes: %.100s", len(message), message)
	}
}
