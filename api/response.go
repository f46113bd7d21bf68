package api

import (
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"github.com/gin-gonic/gin"
	"github.com/go-json-experiment/json/jsontext"

	"relish/ranker"
)

// answerBuffers holds buffers of up to maxKeptBuffer bytes for answers of rankings.
var answerBuffers = sync.Pool{New: func() any { return new([]byte) }}

// keepAnswer gives back a buffer of answerBuffers.
func keepAnswer(buf *[]byte) {
	if cap(*buf) <= maxKeptBuffer {
		answerBuffers.Put(buf)
	}
}

// jsonContentType is the value of a header that is only read, so that answers share it.
var jsonContentType = []string{"application/json"}

// sendJSON answers 200 with a JSON document. It keeps nothing of it.
func sendJSON(c *gin.Context, data []byte) {
	h := c.Writer.Header()
	h["Content-Type"] = jsonContentType
	h.Set("Content-Length", strconv.Itoa(len(data)))
	c.Status(http.StatusOK)
	if _, err := c.Writer.Write(data); err != nil {
		c.Abort() // the client has gone
	}
}

// appendResponse appends the answer of /recommend to b. It is written by hand: with reflection,
// encoding the answer would take longer than ranking its items.
func appendResponse(b []byte, r *ranker.Response) []byte {
	b = append(b, `{"request_id":`...)
	b = appendString(b, r.RequestID)
	b = append(b, `,"items":[`...)
	for i := range r.Items {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendItem(b, &r.Items[i])
	}
	b = append(b, ']')
	if r.NoAnswer != nil {
		b = append(b, `,"no_answer":`...)
		b = appendNumber(b, *r.NoAnswer)
	}
	b = append(b, `,"model":`...)
	b = appendString(b, r.Model)
	b = append(b, `,"experiments":{`...)
	b = appendExperiments(b, r.Experiments)
	b = append(b, `},"coverage":{"text":`...)
	b = appendNumber(b, r.Coverage.Text)
	b = append(b, `,"features":`...)
	b = appendNumber(b, r.Coverage.Features)
	b = append(b, `,"known":`...)
	b = appendNumber(b, r.Coverage.Known)
	b = append(b, `},"degraded":`...)
	b = appendStrings(b, r.Degraded)
	b = append(b, `,"timings_ms":{`...)
	var merged [16]ranker.Timing // the stages are fewer
	for i, t := range mergedTimings(merged[:0], r.Timings) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, t.Stage), ':')
		b = strconv.AppendFloat(b, float64(t.Took.Microseconds())/1000, 'f', 3, 64)
	}
	return append(b, "}}"...)
}

// appendExperiments appends the members of the object of experiments and arms.
func appendExperiments(b []byte, arms map[string]string) []byte {
	if len(arms) == 0 {
		return b
	}
	for i, name := range slices.Sorted(maps.Keys(arms)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, name), ':')
		b = appendString(b, arms[name])
	}
	return b
}

// mergedTimings appends the timings to out, and adds up the times of a stage that ran twice, for
// example for a fallback, so that each name is in the answer once.
func mergedTimings(out, timings []ranker.Timing) []ranker.Timing {
	for _, t := range timings {
		same := func(o ranker.Timing) bool { return o.Stage == t.Stage }
		if i := slices.IndexFunc(out, same); i >= 0 {
			out[i].Took += t.Took
		} else {
			out = append(out, t)
		}
	}
	return out
}

func appendItem(b []byte, it *ranker.RankedItem) []byte {
	b = append(b, `{"id":`...)
	b = appendString(b, it.ID)
	b = append(b, `,"rank":`...)
	b = strconv.AppendInt(b, int64(it.Rank), 10)
	b = append(b, `,"score":`...)
	b = appendNumber(b, it.Score)
	if x := it.Explain; x != nil {
		b = append(b, `,"explain":{"base":`...)
		b = appendNumber(b, x.Base)
		b = append(b, `,"contributions":[`...)
		for i := range x.Contributions {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendContribution(b, &x.Contributions[i])
		}
		b = append(b, `],"rank_without_text":`...)
		b = strconv.AppendInt(b, int64(x.RankWithoutText), 10)
		b = append(b, `,"moved_by":`...)
		b = append(appendStrings(b, x.MovedBy), '}')
	}
	return append(b, '}')
}

func appendContribution(b []byte, c *ranker.Contribution) []byte {
	b = append(b, `{"feature":`...)
	b = appendString(b, c.Feature)
	b = append(b, `,"group":`...)
	b = appendString(b, c.Group)
	b = append(b, `,"value":`...)
	b = appendNumber(b, c.Value)
	b = append(b, `,"contribution":`...)
	return append(appendNumber(b, c.Contribution), '}')
}

// appendNumber appends a number as JSON. NaN is a missing value and becomes null, as do infinities.
func appendNumber(b []byte, x float64) []byte {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return append(b, "null"...)
	}
	format := byte('f')
	if abs := math.Abs(x); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(b, x, format, -1, 64)
}

// appendString appends s as a JSON string. Most ids need no escaping; then it is one copy.
func appendString(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= 0x7f {
			quoted, _ := jsontext.AppendQuote(b, s) // fails only for invalid UTF-8, replaces it
			return quoted
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

func appendStrings(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, s)
	}
	return append(b, ']')
}
