package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"relish/features/event"
	"relish/ranker"
)

// rerankBody takes the requests of TEI (texts), Jina (/v1) and Cohere (/v2).
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

// documentText is a text, or an object with one.
type documentText string

// UnmarshalJSONFrom implements json's interface.
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

const (
	maxRerankTexts = 1000
	rerankTimeout  = 20 * time.Second
)

// scoredText is one text with its score.
type scoredText struct {
	index int
	score float64
	text  string
}

func (s *Server) rerank(c *gin.Context) {
	var b rerankBody
	if err := readBody(c, jsonMediaType, func(data []byte) error { return decode(data, &b) }); err != nil {
		fail(c, err)
		return
	}
	texts, tei := b.Texts, b.Texts != nil
	if !tei {
		for _, d := range b.Documents {
			texts = append(texts, string(d))
		}
	}
	c.Set(contextCandidates, len(texts))
	list, err := s.scoreTexts(c.Request.Context(), &b, texts)
	if err != nil {
		fail(c, err)
		return
	}
	switch {
	case tei:
		writeJSON(c, teiResponse(list, b.ReturnText))
	case strings.HasPrefix(c.FullPath(), "/v2"):
		writeJSON(c, cohereResponse(list))
	default:
		writeJSON(c, jinaResponse(list, &b, texts))
	}
}

// scoreTexts scores every text against the query, best first.
func (s *Server) scoreTexts(ctx context.Context, b *rerankBody, texts []string) ([]scoredText, error) {
	switch {
	case strings.TrimSpace(b.Query) == "":
		return nil, errInvalidField.with("is required", "/query")
	case len(texts) == 0:
		return nil, errInvalidField.with("must hold at least one text", "/documents")
	case len(texts) > maxRerankTexts:
		return nil, errTooManyItems.with("more than 1,000 texts", "/documents")
	case b.TopN != nil && *b.TopN < 1:
		return nil, errInvalidField.with("must be at least 1", "/top_n")
	case s.opt.TextEncoder == nil:
		return nil, errNoTextEncoder
	}
	ctx, cancel := context.WithTimeout(ctx, rerankTimeout)
	defer cancel()
	vectors, err := s.encodeTexts(ctx, append([]string{b.Query}, texts...))
	if err != nil {
		return nil, errNoTextEncoder
	}
	list := make([]scoredText, len(texts))
	for i, t := range texts {
		score := 0.0
		for k, x := range vectors[i+1] { // none for a text without a visible character
			score += float64(x) * float64(vectors[0][k])
		}
		if !b.RawScores {
			score = (score + 1) / 2
		}
		list[i] = scoredText{index: i, text: t, score: score}
	}
	slices.SortStableFunc(list, func(a, b scoredText) int { return cmp.Compare(b.score, a.score) })
	if b.TopN != nil {
		list = list[:min(*b.TopN, len(list))]
	}
	return list, nil
}

// encodeTexts asks for all texts at once, so that the encoder can batch them.
func (s *Server) encodeTexts(ctx context.Context, texts []string) ([][]float32, error) {
	out, errs := make([][]float32, len(texts)), make([]error, len(texts))
	var wg sync.WaitGroup
	for i, t := range texts {
		wg.Go(func() { out[i], errs[i] = s.opt.TextEncoder.Text(ctx, t) })
	}
	wg.Wait()
	return out, errors.Join(errs...)
}

func teiResponse(list []scoredText, withText bool) any {
	out := make([]gin.H, len(list))
	for i, s := range list {
		out[i] = gin.H{"index": s.index, "score": s.score}
		if withText {
			out[i]["text"] = s.text
		}
	}
	return out
}

func cohereResponse(list []scoredText) any {
	out := make([]gin.H, len(list))
	for i, s := range list {
		out[i] = gin.H{"index": s.index, "relevance_score": s.score}
	}
	return gin.H{"id": uuid.NewString(), "results": out, "meta": gin.H{
		"api_version": gin.H{"version": "2", "is_experimental": false}, "billed_units": gin.H{"search_units": 1}}}
}

func jinaResponse(list []scoredText, b *rerankBody, texts []string) any {
	words := len(strings.Fields(b.Query)) * len(texts)
	for _, t := range texts {
		words += len(strings.Fields(t))
	}
	out := make([]gin.H, len(list))
	for i, s := range list {
		out[i] = gin.H{"index": s.index, "relevance_score": s.score}
		if b.ReturnDocuments {
			out[i]["document"] = gin.H{"text": s.text}
		}
	}
	return gin.H{"model": b.Model, "usage": gin.H{"total_tokens": words}, "results": out}
}

// rankMetarank answers Metarank's ranking call with the pipeline.
func (s *Server) rankMetarank(c *gin.Context) {
	start := time.Now()
	var req *ranker.Request
	err := readBody(c, jsonMediaType, func(data []byte) error {
		if err := checkDepth(data); err != nil {
			return err
		}
		e, bad := event.DecodeMetarank(data)
		if bad != nil {
			return bad
		}
		if e.Kind != event.EventImpression {
			return errInvalidField.with("must be a ranking", "/event")
		}
		if len(e.Shown) > maxCandidates {
			return errTooManyItems
		}
		req = &ranker.Request{ID: e.ID, User: e.UserID, Session: e.Session, Context: e.Context, Model: c.Param("model"), Record: true}
		for i, id := range e.Shown {
			cand := ranker.Candidate{ID: id}
			if e.Scores != nil && e.Scores[i] != 0 {
				cand.Score, cand.HasScore = float32(e.Scores[i]), true
			}
			req.Candidates = append(req.Candidates, cand)
		}
		if req.ID == "" {
			req.ID = c.GetString(contextRequestID)
		}
		if req.User == "" {
			return errInvalidField.with("user or session is required", "/user")
		}
		var err error
		req.Candidates, err = deduplicate(req.Candidates)
		return err
	})
	if err != nil {
		fail(c, err)
		return
	}
	if c.Query("explain") == "true" {
		req.Explain = maxExplain
	}
	resp, err := s.runRanking(c, req)
	if err != nil {
		fail(c, err)
		return
	}
	items := make([]gin.H, len(resp.Items))
	for i, it := range resp.Items {
		items[i] = gin.H{"id": it.ID, "score": it.Score, "features": metarankFeatures(it.Explain)}
	}
	writeJSON(c, gin.H{"state": nil, "items": items, "took": time.Since(start).Milliseconds()})
}

// metarankFeatures is null without an explanation, as Metarank has it.
func metarankFeatures(x *ranker.Explanation) any {
	if x == nil {
		return nil
	}
	out := []gin.H{}
	for _, f := range x.Contributions {
		if f.Value == f.Value {
			out = append(out, gin.H{"name": f.Feature, "value": f.Value})
		}
	}
	return out
}

// writeJSON answers 200 with v.
func writeJSON(c *gin.Context, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		fail(c, fmt.Errorf("encoding the answer: %w", err))
		return
	}
	c.Data(http.StatusOK, "application/json", data)
}
