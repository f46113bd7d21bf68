package api

import (
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"relish/ranker"
)

// fields are the schemas of an object's fields, by name.
type fields = map[string]*openapi3.Schema

// objectOf returns the schema of an object with these fields and no others. required lists the
// names of the required ones, separated by spaces.
func objectOf(required string, of fields) *openapi3.Schema {
	s := openapi3.NewObjectSchema().WithProperties(of).WithoutAdditionalProperties()
	s.Required = strings.Fields(required)
	return s
}

func arrayOf(of *openapi3.Schema) *openapi3.Schema { return openapi3.NewArraySchema().WithItems(of) }

func mapOf(of *openapi3.Schema) *openapi3.Schema {
	return openapi3.NewObjectSchema().WithAdditionalProperties(of)
}

func anyOf(s ...*openapi3.Schema) *openapi3.Schema { return openapi3.NewAnyOfSchema(s...) }

func anyObject() *openapi3.Schema { return openapi3.NewObjectSchema().WithAnyAdditionalProperties() }

func stringSchema() *openapi3.Schema  { return openapi3.NewStringSchema() }
func numberSchema() *openapi3.Schema  { return openapi3.NewFloat64Schema() }
func integerSchema() *openapi3.Schema { return openapi3.NewIntegerSchema() }
func booleanSchema() *openapi3.Schema { return openapi3.NewBoolSchema() }

func idSchema() *openapi3.Schema {
	return openapi3.NewStringSchema().WithMinLength(1).WithMaxLength(256)
}

// timeSchema is a time: RFC 3339 or Unix milliseconds.
func timeSchema() *openapi3.Schema { return anyOf(stringSchema(), integerSchema()) }

// scalarSchema is the value of a context key.
func scalarSchema() *openapi3.Schema {
	return anyOf(stringSchema(), numberSchema(), booleanSchema())
}

// valueSchema is the value of an item's or a user's field.
func valueSchema() *openapi3.Schema {
	return anyOf(stringSchema(), numberSchema(), booleanSchema(), arrayOf(stringSchema()), arrayOf(numberSchema()))
}

func nullable(s *openapi3.Schema) *openapi3.Schema {
	s.Nullable = true
	return s
}

// described adds a description that /docs and generated clients show.
func described(description string, s *openapi3.Schema) *openapi3.Schema {
	s.Description = description
	return s
}

var errorSchema = objectOf("error", fields{
	"error": objectOf("code message pointer", fields{
		"code": stringSchema(), "message": stringSchema(), "pointer": stringSchema()}),
})

var itemSchema = objectOf("id", fields{
	"id": idSchema(), "title": stringSchema(), "text": stringSchema(),
	"tags": arrayOf(stringSchema()), "fields": mapOf(valueSchema()),
})

// feedbackSchema is the answer of POST /feedback and PUT /items.
var feedbackSchema = objectOf("accepted duplicates rejected", fields{
	"accepted":   integerSchema(),
	"duplicates": described("Events whose id is already stored. They change nothing.", integerSchema()),
	"rejected": arrayOf(objectOf("index code message pointer", fields{
		"index": described("Position of the event in the body, from 0.", integerSchema()),
		"code":  stringSchema(), "message": stringSchema(), "pointer": stringSchema(),
	})),
})

var recommendSchema = objectOf("user_id candidates", fields{
	"user_id": described("The user to rank for. For an anonymous user send the session id.", idSchema()),
	"session": described("The user's visit.", idSchema()),
	"candidates": described("The items to rank: ids, or objects whose title, text, tags and fields hold for this "+
		"request only. score is the retriever's own score.",
		arrayOf(anyOf(idSchema(), objectOf("id", fields{
			"id": idSchema(), "title": stringSchema(), "text": stringSchema(), "tags": arrayOf(stringSchema()),
			"fields": mapOf(valueSchema()), "score": numberSchema(),
		}))).WithMinItems(1).WithMaxItems(maxCandidates)),
	"context": described("What is known of the request, for example query, surface or device. At most 32 keys.",
		mapOf(scalarSchema())),
	"limit": described("How many items to answer with. Default: all.", integerSchema().WithMin(1)),
	"deadline_ms": described("Time for the ranking. Default: 100, unless an experiment's arm sets another one.",
		integerSchema().WithMin(1).WithMax(10000)),
	"explain": described("How many items to explain, from the top. true means 20.",
		anyOf(booleanSchema(), integerSchema().WithMin(1).WithMax(maxExplain))),
	"model":  described("A model of GET /models. Default: the active one.", stringSchema()),
	"seed":   described("Fixes everything random in this ranking, to repeat it.", integerSchema()),
	"record": described("false: no impression is logged or counted. Default: true.", booleanSchema()),
	"time": described("Sets the clock for ages and decay: RFC 3339 or Unix milliseconds. Default: now.",
		timeSchema()),
})

var explanationSchema = objectOf("base contributions rank_without_text moved_by", fields{
	"base": described("The score without any contribution. base plus all contributions is the score.",
		numberSchema()),
	"contributions": arrayOf(objectOf("feature group value contribution", fields{
		"feature":      stringSchema(),
		"group":        stringSchema(),
		"value":        described("The feature's value; null if it is missing.", nullable(numberSchema())),
		"contribution": described("What the feature adds to the score; may be negative.", numberSchema()),
	})),
	"rank_without_text": described("The item's rank if no item had a text.", integerSchema()),
	"moved_by":          described("The rules that moved the item after scoring.", arrayOf(stringSchema())),
})

var rankingSchema = objectOf("request_id items model experiments coverage degraded timings_ms", fields{
	"request_id": described("Also the impression's id: send it with a click as impression.", stringSchema()),
	"items": described("All candidates that the rules and limit leave, best first.",
		arrayOf(objectOf("id rank score", fields{
			"id": idSchema(), "rank": described("Position in the list, from 1.", integerSchema()),
			"score": numberSchema(), "explain": explanationSchema,
		}))),
	"model":       described("The model that ranked.", stringSchema()),
	"experiments": described("The arm of each experiment.", mapOf(stringSchema())),
	"coverage": described("Share of the candidates that were scored with their text, and with features of the store.",
		objectOf("text features", fields{"text": numberSchema(), "features": numberSchema()})),
	"degraded":   described("The fallbacks that this ranking used; empty if there were none.", arrayOf(stringSchema())),
	"timings_ms": described("Time of each stage in milliseconds.", mapOf(numberSchema())),
})

var modelsSchema = objectOf("models", fields{"models": arrayOf(objectOf("version state", fields{
	"version": stringSchema(),
	"state": openapi3.NewStringSchema().WithEnum(ranker.ModelActive, ranker.ModelPrevious, ranker.ModelLoaded,
		ranker.ModelWaiting, ranker.ModelAvailable, ranker.ModelRefused),
	"reason":  described("Why the model is refused, or what it waits for.", stringSchema()),
	"created": stringSchema(),
	"parent":  described("The bundle that the training started from.", stringSchema()),
	"forced":  described("Why the bundle was activated although it was worse.", stringSchema()),
	"metrics": mapOf(objectOf("mean low high n", fields{
		"mean": numberSchema(), "low": numberSchema(), "high": numberSchema(), "n": integerSchema(),
	})),
}))})

// activeSchema is the answer of an activation or a rollback.
var activeSchema = objectOf("active", fields{"active": described("The active version.", stringSchema())})

var experimentSchema = objectOf("name description status mode hash_attribute seed coverage namespace start end "+
	"condition forced metric guardrails arms", fields{
	"name": stringSchema(), "description": stringSchema(), "status": stringSchema(), "mode": stringSchema(),
	"hash_attribute": stringSchema(), "seed": stringSchema(), "coverage": numberSchema(),
	"namespace": nullable(arrayOf(anyOf(stringSchema(), numberSchema()))),
	"start":     nullable(stringSchema()), "end": nullable(stringSchema()), "condition": nullable(anyObject()),
	"forced":     described("How many users are forced into an arm.", integerSchema()),
	"metric":     stringSchema(),
	"guardrails": arrayOf(objectOf("metric margin", fields{"metric": stringSchema(), "margin": numberSchema()})),
	"arms": arrayOf(objectOf("name weight changes bundle problem", fields{
		"name": stringSchema(), "weight": numberSchema(), "changes": arrayOf(stringSchema()),
		"bundle": stringSchema(), "problem": stringSchema(),
	})),
})

var experimentsSchema = objectOf("version loaded error holdout layers", fields{
	"version": stringSchema(),
	"loaded":  stringSchema(),
	"error":   described("Why a newer file was refused; empty if none was.", stringSchema()),
	"holdout": numberSchema(),
	"layers": arrayOf(objectOf("name experiments", fields{
		"name": stringSchema(), "experiments": arrayOf(experimentSchema),
	})),
})
