package api

import (
	"regexp"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/gin-gonic/gin"

	"relish/ranker"
)

// operation documents a route. Schemas are made by the functions below; nil means none.
type operation struct {
	summary string
	body    *openapi3.Schema
	answer  *openapi3.Schema // of the 200; nil = 204 without a body
	text    string           // media type of a 200 that is not JSON
}

func obj(required string, members map[string]*openapi3.Schema) *openapi3.Schema {
	s := openapi3.NewObjectSchema().WithProperties(members).WithoutAdditionalProperties()
	s.Required = strings.Fields(required)
	return s
}

func list(of *openapi3.Schema) *openapi3.Schema { return openapi3.NewArraySchema().WithItems(of) }

func dict(of *openapi3.Schema) *openapi3.Schema {
	return openapi3.NewObjectSchema().WithAdditionalProperties(of)
}

func either(s ...*openapi3.Schema) *openapi3.Schema { return openapi3.NewAnyOfSchema(s...) }

func text() *openapi3.Schema   { return openapi3.NewStringSchema() }
func id() *openapi3.Schema     { return openapi3.NewStringSchema().WithMinLength(1).WithMaxLength(256) }
func number() *openapi3.Schema { return openapi3.NewFloat64Schema() }
func whole() *openapi3.Schema  { return openapi3.NewIntegerSchema() }
func yes() *openapi3.Schema    { return openapi3.NewBoolSchema() }
func scalar() *openapi3.Schema { return either(text(), number(), yes()) }
func value() *openapi3.Schema  { return either(text(), number(), yes(), list(text()), list(number())) }
func when() *openapi3.Schema   { return either(text(), whole()) }
func free() *openapi3.Schema   { return openapi3.NewObjectSchema().WithAnyAdditionalProperties() }
func orNull(s *openapi3.Schema) *openapi3.Schema {
	s.Nullable = true
	return s
}

var itemSchema = obj("id", map[string]*openapi3.Schema{"id": id(), "title": text(), "text": text(), "tags": list(text()), "fields": dict(value())})

var eventAnswer = obj("accepted duplicates rejected", map[string]*openapi3.Schema{"accepted": whole(), "duplicates": whole(),
	"rejected": list(obj("index code message pointer", map[string]*openapi3.Schema{"index": whole(), "code": text(), "message": text(), "pointer": text()}))})

var (
	docRecommend = operation{
		summary: "Rank the candidates for a user",
		body: obj("user_id candidates", map[string]*openapi3.Schema{
			"user_id": id(), "session": id(), "context": dict(scalar()), "limit": whole().WithMin(1), "deadline_ms": whole().WithMin(1).WithMax(10000),
			"explain": either(yes(), whole().WithMin(1).WithMax(100)), "model": text(), "seed": whole(), "record": yes(), "time": when(),
			"candidates": list(either(id(), obj("id", map[string]*openapi3.Schema{"id": id(), "title": text(), "text": text(), "tags": list(text()),
				"fields": dict(value()), "score": number()}))).WithMinItems(1).WithMaxItems(maxCandidates)}),
		answer: obj("request_id items model experiments coverage degraded timings_ms", map[string]*openapi3.Schema{
			"request_id": text(), "model": text(), "experiments": dict(text()), "degraded": list(text()), "timings_ms": dict(number()),
			"coverage": obj("text features", map[string]*openapi3.Schema{"text": number(), "features": number()}),
			"items": list(obj("id rank score", map[string]*openapi3.Schema{"id": id(), "rank": whole(), "score": number(),
				"explain": obj("base contributions rank_without_text moved_by", map[string]*openapi3.Schema{"base": number(), "rank_without_text": whole(), "moved_by": list(text()),
					"contributions": list(obj("feature group value contribution", map[string]*openapi3.Schema{"feature": text(), "group": text(), "value": orNull(number()), "contribution": number()}))})}))}),
	}
	docFeedback     = operation{summary: "Take events: one, an array, or one a line; native or Metarank shape. Durable on answer", body: either(free(), list(free())), answer: eventAnswer}
	docPutItems     = operation{summary: "Put items in place of what is known of them: one, an array, or one a line", body: either(itemSchema, list(itemSchema)), answer: eventAnswer}
	docGetItem      = operation{summary: "What is known of an item", answer: itemSchema}
	docDeleteItem   = operation{summary: "Forget an item"}
	docPutUser      = operation{summary: "Set a user's fields", body: obj("fields", map[string]*openapi3.Schema{"fields": dict(value())})}
	docDeleteUser   = operation{summary: "Forget a user: his state at once, his events in the log within the configured time"}
	docRerank       = operation{summary: "Rank texts for a query: TEI's shape with texts, Jina's with documents, Cohere's under /v2", body: free(), answer: either(free(), list(free()))}
	docRankMetarank = operation{summary: "Metarank's ranking call", body: free(), answer: free()}
	docModels       = operation{summary: "What there is to rank with: the prior and the newest bundles, and why one is refused",
		answer: obj("models", map[string]*openapi3.Schema{"models": list(obj("version state", map[string]*openapi3.Schema{"version": text(),
			"state":  openapi3.NewStringSchema().WithEnum(ranker.ModelActive, ranker.ModelPrevious, ranker.ModelLoaded, ranker.ModelWaiting, ranker.ModelAvailable, ranker.ModelRefused),
			"reason": text(), "created": text(), "parent": text(), "forced": text(),
			"metrics": dict(obj("mean low high n", map[string]*openapi3.Schema{"mean": number(), "low": number(), "high": number(), "n": whole()}))}))})}
	activeAnswer = obj("active", map[string]*openapi3.Schema{"active": text()})
	docActivate  = operation{summary: "Try a bundle, load it, and make it the active one; the version prior goes back to the prior", answer: activeAnswer}
	docRollback  = operation{summary: "Make active again what was active before", answer: activeAnswer}
	docReport    = operation{summary: "A bundle's report, a page for people", answer: text(), text: "text/html"}
	docLive      = operation{summary: "The process runs", answer: free()}
	docReady     = operation{summary: "It can rank; 503 while it cannot or drains", answer: free()}
	docMetrics   = operation{summary: "Prometheus metrics", answer: text(), text: "text/plain"}
	docOpenAPI   = operation{summary: "This document", answer: free()}
	docPage      = operation{summary: "A page for people", answer: text(), text: "text/html"}
)

var errorSchema = obj("error", map[string]*openapi3.Schema{
	"error": obj("code message pointer", map[string]*openapi3.Schema{"code": text(), "message": text(), "pointer": text()})})

var pathParam = regexp.MustCompile(`:(\w+)`)

// Spec returns the OpenAPI 3.0 document of all routes.
func (s *Server) Spec() *openapi3.T {
	doc := &openapi3.T{OpenAPI: "3.0.3", Info: &openapi3.Info{Title: "Relish", Version: "1", Description: "Ranks a user's candidates by behaviour and by what their texts say."}, Paths: openapi3.NewPaths()}
	for _, r := range s.routes() {
		path := pathParam.ReplaceAllString(r.path, "{$1}")
		item := doc.Paths.Value(path)
		if item == nil {
			item = &openapi3.PathItem{}
			doc.Paths.Set(path, item)
		}
		item.SetOperation(r.method, r.operation())
	}
	return doc
}

func (r *route) operation() *openapi3.Operation {
	op := openapi3.NewOperation()
	op.Summary = r.doc.summary
	if r.scope != "" {
		op.Description = "Scope of the key, where keys are configured: " + r.scope
	}
	for _, m := range pathParam.FindAllStringSubmatch(r.path, -1) {
		op.AddParameter(openapi3.NewPathParameter(m[1]).WithSchema(id()))
	}
	if r.doc.body != nil {
		op.RequestBody = &openapi3.RequestBodyRef{Value: openapi3.NewRequestBody().WithRequired(true).WithJSONSchema(r.doc.body)}
	}
	op.Responses = openapi3.NewResponses()
	op.Responses.Delete("default")
	switch {
	case r.doc.answer == nil:
		op.AddResponse(204, openapi3.NewResponse().WithDescription("done"))
	case r.doc.text != "":
		op.AddResponse(200, openapi3.NewResponse().WithDescription("ok").WithContent(openapi3.NewContentWithSchema(r.doc.answer, []string{r.doc.text})))
	default:
		op.AddResponse(200, openapi3.NewResponse().WithDescription("ok").WithJSONSchema(r.doc.answer))
	}
	op.AddResponse(0, openapi3.NewResponse().WithDescription("what went wrong: a code, a message, and a JSON pointer into the body").WithJSONSchema(errorSchema))
	return op
}

func (s *Server) openAPI(c *gin.Context) { c.JSON(200, s.Spec()) }
