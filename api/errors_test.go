package api_test

import (
	"strings"
	"testing"
)

// A message says what is wrong, with which value, and what to do.
func TestErrorMessages(t *testing.T) {
	s := start(t, nil)
	for _, c := range []struct{ body, want string }{
		{`{"user":"u","candidates":["a"]}`, `unknown field "user"; did you mean "user_id"?`},
		{with(`"Deadline-MS":1`), `unknown field "Deadline-MS"; did you mean "deadline_ms"?`},
		{withCandidates(`[{"id":"a","tag":["x"]}]`), `unknown field "tag"; did you mean "tags"?`},
		{withCandidates(`[{"id":"a","colour":1}]`),
			`unknown field "colour": known are id, title, text, tags, fields, score`},
		{with(`"user_id":"v"`), `field "user_id" is given twice: keep one`},
		{`{"user_id":7,"candidates":["a"]}`, `must be a string, not a number`},
		{withCandidates(`"a"`), `must be a list of item ids or of objects with an id`},
		{withCandidates(`[1]`), `must be an object, not a number`},
		{withCandidates(`[{"id":"a","score":1e39}]`), `score must be within ±3.4e38, not 1e+39`},
		{withCandidates(`[{"id":"a","score":1e999}]`), `must be a 64-bit number, not 1e999`},
		{with(`"limit":1.5`), `must be a whole number of at most 64 bits, not 1.5`},
		{with(`"limit":0`), `must be at least 1, not 0`},
		{with(`"deadline_ms":20000`), `must be 1 to 10,000 ms, not 20000`},
		{with(`"explain":"yes"`), `must be true, false or a whole number from 1 to 100, not yes`},
		{with(`"record":"no"`), `must be true or false, not a string`},
		{with(`"context":[]`), `must be an object, not a list`},
		{with(`"time":"noon"`),
			`must be a time after 1970 like 2026-05-01T10:00:00Z or Unix milliseconds, not noon`},
		{`{"candidates":["a"]}`, `is required: for an anonymous user send the session id`},
		{with(`"model":"best"`),
			`unknown model, or it is not loaded: ` +
				`see GET /models, or leave model out for the active one`},
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

// A message repeats only the beginning of a long value.
func TestErrorMessagesAreBounded(t *testing.T) {
	s := start(t, nil)
	body := with(`"` + strings.Repeat("ü", 10_000) + `":1`)
	message := decodeFailure(t, s.call("POST", "/recommend", body)).Error.Message
	if len(message) > 300 || !strings.HasPrefix(message, `unknown field "üü`) {
		t.Errorf("%d bytes: %.100s", len(message), message)
	}
}
