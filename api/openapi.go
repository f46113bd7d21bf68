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

func objectOf(required string, members map[string]*openapi3.Schema) *openapi3.Schema {
	s := openapi3.NewObjectSchema().WithProperties(members).WithoutAdditionalProperties()
	s.Required = strings.Fields(required)
	return s
}

func arrayOf(of *openapi3.Schema) *openapi3.Schema { return openapi3.NewArraySchema().WithItems(of) }

func mapOf(of *openapi3.Schema) *openapi3.Schema {
	return openapi3.NewObjectSchema().WithAdditionalProperties(of)
}

func anyOf(s ...*openapi3.Schema) *openapi3.Schema { return openapi3.NewAnyOfSchema(s...) }

func stringSchema() *openapi3.Schema { return openapi3.NewStringSchema() }
func idSchema() *openapi3.Schema {
	return openapi3.NewStringSchema().WithMinLength(1).WithMaxLength(256)
}
func numberSchema() *openapi3.Schema  { return openapi3.NewFloat64Schema() }
func integerSchema() *openapi3.Schema { return openapi3.NewIntegerSchema() }
func booleanSchema() *openapi3.Schema { return openapi3.NewBoolSchema() }
func scalarSchema() *openapi3.Schema  { return anyOf(stringSchema(), numberSchema(), booleanSchema()) }
func valueSchema() *openapi3.Schema {
	return anyOf(stringSchema(), numberSchema(), booleanSchema(), arrayOf(stringSchema()), arrayOf(numberSchema()))
}
func timeSchema() *openapi3.Schema { return anyOf(stringSchema(), integerSchema()) }
func anyObject() *openapi3.Schema  { return openapi3.NewObjectSchema().WithAnyAdditionalProperties() }
func nullable(s *openapi3.Schema) *openapi3.Schema {
	s.Nullable = true
	return s
}

var itemSchema = objectOf("id", map[string]*openapi3.Schema{"id": idSchema(), "title": stringSchema(), "text": stringSchema(), "tags": arrayOf(stringSchema()), "fields": mapOf(valueSchema())})

var feedbackSchema = objectOf("accepted duplicates rejected", map[string]*openapi3.Schema{"accepted": integerSchema(), "duplicates": integerSchema(),
	"rejected": arrayOf(objectOf("index code message pointer", map[string]*openapi3.Schema{"index": integerSchema(), "code": stringSchema(), "message": stringSchema(), "pointer": stringSchema()}))})

var (
	docRecommend = operation{
		summary: "Rank the candidates for a user",
		body: objectOf("user_id candidates", map[string]*openapi3.Schema{
			"user_id": idSchema(), "session": idSchema(), "context": mapOf(scalarSchema()), "limit": integerSchema().WithMin(1), "deadline_ms": integerSchema().WithMin(1).WithMax(10000),
			"explain": anyOf(booleanSchema(), integerSchema().WithMin(1).WithMax(100)), "model": stringSchema(), "seed": integerSchema(), "record": booleanSchema(), "time": timeSchema(),
			"candidates": arrayOf(anyOf(idSchema(), objectOf("id", map[string]*openapi3.Schema{"id": idSchema(), "title": stringSchema(), "text": stringSchema(), "tags": arrayOf(stringSchema()),
				"fields": mapOf(valueSchema()), "score": numberSchema()}))).WithMinItems(1).WithMaxItems(maxCandidates)}),
		answer: objectOf("request_id items model experiments coverage degraded timings_ms", map[string]*openapi3.Schema{
			"request_id": stringSchema(), "model": stringSchema(), "experiments": mapOf(stringSchema()), "degraded": arrayOf(stringSchema()), "timings_ms": mapOf(numberSchema()),
			"coverage": objectOf("text features", map[string]*openapi3.Schema{"text": numberSchema(), "features": numberSchema()}),
			"items": arrayOf(objectOf("id rank score", map[string]*openapi3.Schema{"id": idSchema(), "rank": integerSchema(), "score": numberSchema(),
				"explain": objectOf("base contributions rank_without_text moved_by", map[string]*openapi3.Schema{"base": numberSchema(), "rank_without_text": integerSchema(), "moved_by": arrayOf(stringSchema()),
					"contributions": arrayOf(objectOf("feature group value contribution", map[string]*openapi3.Schema{"feature": stringSchema(), "group": stringSchema(), "value": nullable(numberSchema()), "contribution": numberSchema()}))})}))}),
	}
	docFeedback     = operation{summary: "Take events: one, an array, or one a line; native or Metarank shape. Durable on answer", body: anyOf(anyObject(), arrayOf(anyObject())), answer: feedbackSchema}
	docPutItems     = operation{summary: "Put items in place of what is known of them: one, an array, or one a line", body: anyOf(itemSchema, arrayOf(itemSchema)), answer: feedbackSchema}
	docGetItem      = operation{summary: "What is known of an item", answer: itemSchema}
	docDeleteItem   = operation{summary: "Forget an item"}
	docPutUser      = operation{summary: "Set a user's fields", body: objectOf("fields", map[string]*openapi3.Schema{"fields": mapOf(valueSchema())})}
	docDeleteUser   = operation{summary: "Forget a user: his state at once, his events in the log within the configured time"}
	docRerank       = operation{summary: "Rank texts for a query: TEI's shape with texts, Jina's with documents, Cohere's under /v2", body: anyObject(), answer: anyOf(anyObject(), arrayOf(anyObject()))}
	docRankMetarank = operation{summary: "Metarank's ranking call", body: anyObject(), answer: anyObject()}
	docModels       = operation{summary: "What there is to rank with: the prior and the newest bundles, and why one is refused",
		answer: objectOf("models", map[string]*openapi3.Schema{"models": arrayOf(objectOf("version state", map[string]*openapi3.Schema{"version": stringSchema(),
			"state":  openapi3.NewStringSchema().WithEnum(ranker.ModelActive, ranker.ModelPrevious, ranker.ModelLoaded, ranker.ModelWaiting, ranker.ModelAvailable, ranker.ModelRefused),
			"reason": stringSchema(), "created": stringSchema(), "parent": stringSchema(), "forced": stringSchema(),
			"metrics": mapOf(objectOf("mean low high n", map[string]*openapi3.Schema{"mean": numberSchema(), "low": numberSchema(), "high": numberSchema(), "n": integerSchema()}))}))})}
	activeSchema = objectOf("active", map[string]*openapi3.Schema{"active": stringSchema()})
	docActivate  = operation{summary: "Try a bundle, load it, and make it the active one; the version prior goes back to the prior", answer: activeSchema}
	docRollback  = operation{summary: "Make active again what was active before", answer: activeSchema}
	docReport    = operation{summary: "A bundle's report, a page for people", answer: stringSchema(), text: "text/html"}
	docLive      = operation{summary: "The process runs", answer: anyObject()}
	docReady     = operation{summary: "It can rank; 503 while it cannot or drains", answer: anyObject()}
	docMetrics   = operation{summary: "Prometheus metrics", answer: stringSchema(), text: "text/plain"}
	docOpenAPI   = operation{summary: "This document", answer: anyObject()}
	docPage      = operation{summary: "A page for people", answer: stringSchema(), text: "text/html"}
)

var errorSchema = objectOf("error", map[string]*openapi3.Schema{
	"error": objectOf("code message pointer", map[string]*openapi3.Schema{"code": stringSchema(), "message": stringSchema(), "pointer": stringSchema()})})

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
		op.AddParameter(openapi3.NewPathParameter(m[1]).WithSchema(idSchema()))
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
