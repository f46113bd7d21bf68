package event_test

import (
	"fmt"
	"strings"
	"testing"

	"relish/features/event"
	"relish/ranker"
)

// now is the time of arrival in these tests.
const now = 1_777_629_600_000 // 2026-05-01T10:00:00Z

// A time in another unit than milliseconds is refused, and the error says what it seems to be.
func TestCheckTime(t *testing.T) {
	for ms, want := range map[int64]string{
		now:                       "",
		event.MinTime:             "",
		now + 600_000:             "",
		now + 600_001:             "must not be more than 10 minutes ahead of now",
		event.MinTime - 1:         "after 1990, not 631151999999 (1989-12-31T23:59:59Z)",
		-5:                        "after 1990, not -5 (1969-12-31T23:59:59Z)",
		1_769_725_482:             "Unix seconds (2026-01-29T22:24:42Z); multiply by 1000",
		20260501:                  "a date written as a number; send 2026-05-01T00:00:00Z",
		202605:                    "a date written as a number; send 2026-05-01T00:00:00Z",
		2026:                      "a date written as a number; send 2026-01-01T00:00:00Z",
		20260501103000:            "a date written as a number; send 2026-05-01T10:30:00Z",
		46143:                     "a spreadsheet's day number; send 2026-05-01T00:00:00Z",
		20574:                     "a number of days since 1970; send 2026-05-01T00:00:00Z",
		1_777_629_600_000_000:     "Unix microseconds (2026-05-01T10:00:00Z); divide by 1000",
		1_777_629_600_000_000_000: "Unix nanoseconds (2026-05-01T10:00:00Z); divide by 1000000",
	} {
		err := event.CheckTime(ms, now)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%d: %v, want %q", ms, err, want)
		}
	}
}

// Both forms of JSON refuse such times.
func TestTimesInOtherUnits(t *testing.T) {
	decode := func(time string) (times []int64, errs []*ranker.EventError) {
		for _, in := range []string{
			fmt.Sprintf(`{"type":"interaction","id":"e","user":"u","item":"i",`+
				`"action":"click","time":%s}`, time),
			fmt.Sprintf(`{"event":"interaction","id":"e","user":"u","item":"i",`+
				`"type":"click","timestamp":%s}`, time),
		} {
			e, err := event.Decode([]byte(in))
			if err == nil {
				err = event.Validate(&e)
			}
			times, errs = append(times, e.Time), append(errs, err)
		}
		return times, errs
	}
	for _, value := range []string{"1769725482", "20260501", `"46143"`, "1777629600000000"} {
		_, errs := decode(value)
		for _, err := range errs {
			if err == nil || !strings.Contains(err.Message, "seems to be") {
				t.Errorf("%s: %v", value, err)
			}
		}
	}
	for _, value := range []string{"1.7776296e12", `"1777629600000"`, `"2026-05-01T10:00:00Z"`} {
		times, errs := decode(value)
		for i, err := range errs {
			if err != nil || times[i] != now {
				t.Errorf("%s: time %d, %v", value, times[i], err)
			}
		}
	}
}
