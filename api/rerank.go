package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

// Bounds of /rerank.
const (
	maxRerankTexts = 1000
	rerankTimeout  = 20 * time.Second // to encode all texts of one request
)

// rerankBody has the fields of three APIs: TEI (texts), Jina (/v1) and Cohere (/v2). Fields that
// only tune the other services are accepted and ignored.
type rerankBody struct {
	Query               string         `json:"query"`
	Texts               []string       `json:"texts"`
	Documents           []documentText `json:"documents"`
	Model               string         `json:"model"`
	TopN                *int           `json:"top_n"`
	ReturnDocuments     bool           `json:"return_documents"`
	ReturnText          bool           `json:"return_text"`
	RawScores           bool           `json:"raw_scores"`
	Truncate            *bool          `json:"truncate"`
	TruncationDirection string         `json:"truncation_direction"`
	MaxTokensPerDoc     *int           `json:"max_tokens_per_doc"`
	MaxChunksPerDoc     *int           `json:"max_chunks_per_doc"`
	RankFields          []string       `json:"rank_fields"`
	Priority            *int           `json:"priority"`
}

// EachName implements event.Named. Texts have no names.
func (b *rerankBody) EachName(yield func(string)) { yield(b.Model) }

// documentText is a document's text. The document is a string, or an object with the field text.
type documentText string

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (d *documentText) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() == '{' {
		var o struct {
			Text string `json:"text"`
		}
		err := json.UnmarshalDecode(dec, &o)
		*d = documentText(o.Text)
		return err
	}
	var s string
	err := json.UnmarshalDecode(dec, &s)
	*d = documentText(s)
	return err
}

// scoredText is one text of a request with its score.
type scoredText struct {
	index int // position in the request
	score float64
	text  string
}

// rerank answers in TEI's form if the body has texts, else in Cohere's form under /v2 and in Jina's
// under the other paths.
//
// It never reports that it ran short of time: it waits for the encoder, and computes little.
func (s *Server) rerank(c *gin.Context, b body) (shortOfTime bool) {
	var fields rerankBody
	if err := decode(b.data, &fields); err != nil {
		fail(c, err)
		return false
	}
	texts, tei := fields.Texts, fields.Texts != nil
	if !tei {
		for _, d := range fields.Documents {
			texts = append(texts, string(d))
		}
	}
	infoOf(c).candidates = len(texts)
	ranked, err := s.scoreTexts(c.Request.Context(), &fields, texts)
	if err != nil {
		fail(c, err)
		return false
	}
	switch {
	case tei:
		writeJSON(c, teiResponse(ranked, fields.ReturnText))
	case strings.HasPrefix(c.FullPath(), "/v2"):
		writeJSON(c, cohereResponse(ranked))
	default:
		writeJSON(c, jinaResponse(ranked, &fields, texts))
	}
	return false
}

// scoreTexts returns the texts with their cosine similarity to the query, best first and at most
// top_n. A score is mapped from -1..1 to 0..1 unless raw_scores is set. A text in which the encoder
// finds no token has similarity 0.
func (s *Server) scoreTexts(
	ctx context.Context, b *rerankBody, texts []string,
) ([]scoredText, error) {
	switch {
	case strings.TrimSpace(b.Query) == "":
		return nil, errMissingField.at("/query", "query is required: send the text to rank by")
	case len(texts) == 0:
		return nil, errMissingField.at("/documents",
			"documents is required: send at least one text, in documents or in texts")
	case len(texts) > maxRerankTexts:
		return nil, errTooManyItems.at("/documents",
			"%d texts; at most 1,000 are allowed: split them into several requests", len(texts))
	case b.TopN != nil && *b.TopN < 1:
		return nil, errInvalidField.at("/top_n", "must be at least 1, not %d", *b.TopN)
	case s.opt.TextEncoder == nil:
		return nil, errNoTextEncoder
	}
	ctx, cancel := context.WithTimeout(ctx, rerankTimeout)
	defer cancel()
	vectors, err := s.opt.TextEncoder.Texts(ctx, append([]string{b.Query}, texts...))
	if errors.Is(err, context.Canceled) {
		return nil, err
	}
	if err != nil {
		return nil, errNoTextEncoder
	}
	if vectors[0] == nil {
		return nil, errInvalidField.at("/query",
			"the text encoder finds no word in it: send the text to rank by")
	}
	ranked := make([]scoredText, len(texts))
	for i, t := range texts {
		score := 0.0
		for k, x := range vectors[i+1] {
			score += float64(x) * float64(vectors[0][k])
		}
		if !b.RawScores {
			score = (score + 1) / 2
		}
		ranked[i] = scoredText{index: i, text: t, score: score}
	}
	slices.SortStableFunc(ranked, func(a, b scoredText) int {
		return cmp.Compare(b.score, a.score)
	})
	if b.TopN != nil {
		ranked = ranked[:min(*b.TopN, len(ranked))]
	}
	return ranked, nil
}

func teiResponse(ranked []scoredText, withText bool) any {
	out := make([]gin.H, len(ranked))
	for i, s := range ranked {
		out[i] = gin.H{"index": s.index, "score": s.score}
		if withText {
			out[i]["text"] = s.text
		}
	}
	return out
}

func cohereResponse(ranked []scoredText) any {
	out := make([]gin.H, len(ranked))
	for i, s := range ranked {
		out[i] = gin.H{"index": s.index, "relevance_score": s.score}
	}
	return gin.H{"id": uuid.NewString(), "results": out, "meta": gin.H{
		"api_version":  gin.H{"version": "2", "is_experimental": false},
		"billed_units": gin.H{"search_units": 1},
	}}
}

// jinaResponse counts white-space separated words as tokens: clients want a number, nobody bills by
// it.
func jinaResponse(ranked []scoredText, b *rerankBody, texts []string) any {
	tokens := len(strings.Fields(b.Query)) * len(texts)
	for _, t := range texts {
		tokens += len(strings.Fields(t))
	}
	out := make([]gin.H, len(ranked))
	for i, s := range ranked {
		out[i] = gin.H{"index": s.index, "relevance_score": s.score}
		if b.ReturnDocuments {
			out[i]["document"] = gin.H{"text": s.text}
		}
	}
	return gin.H{"model": b.Model, "usage": gin.H{"total_tokens": tokens}, "results": out}
}

// writeJSON answers 200 with v.
func writeJSON(c *gin.Context, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		fail(c, fmt.Errorf("encode the answer: %w", err))
		return
	}
	c.Data(http.StatusOK, "application/json", data)
}
