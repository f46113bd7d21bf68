package api_test

import (
	"strings"
	"testing"
)

// A message says what is wrong, with which value, and what to do.
func TestErrorMessages(t *testing.T) {
	s := start(t, nil)
	for body, want := range map[string]string{
		`{"user":"u","candidates":["a"]}`:                               `unknown field "user"; did you mean "user_id"?`,
		`{"user_id":"u","candidates":["a"],"Deadline-MS":1}`:            `unknown field "Deadline-MS"; did you mean "deadline_ms"?`,
		`{"user_id":"u","candidates":[{"id":"a","tag":["x"]}]}`:         `unknown field "tag"; did you mean "tags"?`,
		`{"user_id":"u","candidates":[{"id":"a","colour":1}]}`:          `unknown field "colour": known are id, title, text, tags, fields, score`,
		`{"user_id":"u","user_id":"v","candidates":["a"]}`:              `field "user_id" is given twice: keep one`,
		`{"user_id":7,"candidates":["a"]}`:                              `must be a string, not a number`,
		`{"user_id":"u","candidates":"a"}`:                              `must be a list of item ids or of objects with an id`,
		`{"user_id":"u","candidates":[1]}`:                              `must be an object, not a number`,
		`{"user_id":"u","candidates":["a"],"limit":1.5}`:                `must be a whole number of at most 64 bits, not 1.5`,
		`{"user_id":"u","candidates":["a"],"limit":0}`:                  `must be at least 1, not 0`,
		`{"user_id":"u","candidates":["a"],"deadline_ms":20000}`:        `must be 1 to 10,000 ms, not 20000`,
		`{"user_id":"u","candidates":["a"],"explain":"yes"}`:            `must be true, false or a whole number from 1 to 100, not yes`,
		`{"user_id":"u","candidates":["a"],"record":"no"}`:              `must be true or false, not a string`,
		`{"user_id":"u","candidates":["a"],"context":[]}`:               `must be an object, not a list`,
		`{"user_id":"u","candidates":["a"],"time":"noon"}`:              `must be a time after 1970 like 2026-05-01T10:00:00Z or Unix milliseconds, not noon`,
		`{"user_id":"u","candidates":[{"id":"a","score":1e39}]}`:        `score must be within ±3.4e38, not 1e+39`,
		`{"user_id":"u","candidates":[{"id":"a","score":1e999}]}`:       `must be a 64-bit number, not 1e999`,
		`{"candidates":["a"]}`:                                          `is required: for an anonymous user send the session id`,
		`{"user_id":"u","candidates":["a"],"model":"best"}`:             `unknown model, or it is not loaded: see GET /models, or leave model out for the active one`,
		`{"user_id":"u","candidates":["a"],"` + strings.Repeat("x", 50): `not valid JSON at byte 85: unexpected EOF`,
		`hello`:                                `not valid JSON at byte 0: invalid character 'h' at start of value`,
		`{"user_id":"u","candidates":["a"]} x`: `not valid JSON at byte 35: invalid character 'x' after top-level value`,
	} {
		if got := decodeFailure(t, s.call("POST", "/recommend", body)).Error.Message; got != want {
			t.Errorf("%s:\n got %s\nwant %s", body, got, want)
		}
	}
}

// A long value is cut in a message.
func TestErrorMessagesAreBounded(t *testing.T) {
	s := start(t, nil)
	body := `{"user_id":"u","candidates":["a"],"` + strings.Repeat("ü", 10_000) + `":1}`
	message := decodeFailure(t, s.call("POST", "/recommend", body)).Error.Message
	if len(message) > 300 || !strings.HasPrefix(message, `unknown field "üü`) {
		t.Errorf("%d bytes: %.100s", len(message), message)
	}
}
