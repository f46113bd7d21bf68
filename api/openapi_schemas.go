package api

import (
	"fmt"
	"maps"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"relish/features/event"
	"relish/internal/alerts"
	"relish/ranker"
)

// schema describes a JSON value. The constructors below take an optional description, which /docs
// and generated clients show.
type schema = *openapi3.Schema

// fields are the schemas of an object's fields, by name.
type fields = map[string]schema

// objectOf returns the schema of an object with these fields and no others. required lists the
// names of the required ones, separated by spaces.
func objectOf(required string, of fields) schema {
	s := openapi3.NewObjectSchema().WithProperties(of).WithoutAdditionalProperties()
	s.Required = strings.Fields(required)
	return s
}

func arrayOf(of schema, description ...string) schema {
	return describe(openapi3.NewArraySchema().WithItems(of), description)
}

func mapOf(of schema, description ...string) schema {
	return describe(openapi3.NewObjectSchema().WithAdditionalProperties(of), description)
}

func anyOf(s ...schema) schema { return openapi3.NewAnyOfSchema(s...) }

func anyObject() schema { return openapi3.NewObjectSchema().WithAnyAdditionalProperties() }

func text(description ...string) schema {
	return describe(openapi3.NewStringSchema(), description)
}

func number(description ...string) schema {
	return describe(openapi3.NewFloat64Schema(), description)
}

func integer(description ...string) schema {
	return describe(openapi3.NewIntegerSchema(), description)
}

func boolean(description ...string) schema {
	return describe(openapi3.NewBoolSchema(), description)
}

// id is the id of a user, an item or a session.
func id(description ...string) schema {
	return describe(openapi3.NewStringSchema().WithMinLength(1).WithMaxLength(256), description)
}

// scalar is the value of a context key.
func scalar() schema { return anyOf(text(), number(), boolean()) }

// fieldValue is the value of an item's or a user's field.
func fieldValue() schema {
	return anyOf(text(), number(), boolean(), arrayOf(text()), arrayOf(number()))
}

func nullable(s schema) schema {
	s.Nullable = true
	return s
}

func describe(s schema, description []string) schema {
	s.Description = strings.Join(description, " ")
	return s
}

var errorSchema = objectOf("error", fields{
	"error": objectOf("code message pointer", fields{
		"code": text(), "message": text(), "pointer": text()}),
})

var itemSchema = objectOf("id", fields{
	"id": id(), "title": text(), "text": text(), "tags": arrayOf(text()),
	"fields": mapOf(fieldValue()),
})

// feedbackSchema is the answer of POST /feedback and PUT /items.
var feedbackSchema = objectOf("accepted duplicates rejected", fields{
	"accepted":   integer(),
	"duplicates": integer("Events that are already stored, with the same id. They change nothing."),
	"rejected": arrayOf(objectOf("index code message pointer", fields{
		"index": integer("Position of the event in the body, from 0."),
		"code":  text(), "message": text(), "pointer": text(),
	})),
})

var candidateSchema = objectOf("id", fields{
	"id": id(), "title": text(), "text": text(), "tags": arrayOf(text()),
	"fields": mapOf(fieldValue()), "score": number("The retriever's own score."),
})

var recommendSchema = objectOf("user_id candidates", fields{
	"user_id": id("The user to rank for. For an anonymous user send the session id."),
	"session": id("The user's visit."),
	"candidates": arrayOf(anyOf(id(), candidateSchema),
		"The items to rank: ids, or objects.",
		"Title, text, tags and fields of an object hold for this request only.",
	).WithMinItems(1).WithMaxItems(maxCandidates),
	"context": mapOf(scalar(), fmt.Sprintf(
		"What is known of the request, for example query, surface or device. At most %d keys, "+
			"whose names and values have at most %s bytes together.",
		event.MaxContextKeys, thousands(event.MaxContextBytes))),
	"limit": integer("How many items to answer with. Default: all.").WithMin(1),
	"min_fit": number("Answer with no items if the probability that one fits the query, " +
		"1 - no_answer, is lower. Needs context.query. It has no effect if the model has no " +
		"estimate.").WithMin(0).WithMax(1),
	"deadline_ms": integer(fmt.Sprintf(
		"Time for the ranking. Default: %d, unless an experiment's arm sets another one.",
		ranker.DefaultDeadline.Milliseconds()),
	).WithMin(1).WithMax(float64(maxDeadline.Milliseconds())),
	"explain": describe(anyOf(boolean(), integer().WithMin(1).WithMax(maxExplain)),
		[]string{fmt.Sprintf("How many items to explain, from the top. true means %d.",
			defaultExplain)}),
	"model":  text("A model of GET /models. Default: the active one."),
	"seed":   integer("Fixes everything random in this ranking, to repeat it."),
	"record": boolean("false: no impression is logged or counted. Default: true."),
	"time": describe(anyOf(text(), integer()),
		[]string{"The clock for ages and decay: RFC 3339 or Unix milliseconds. Default: now."}),
})

var explanationSchema = objectOf("base contributions rank_without_text moved_by", fields{
	"base": number("The score without any contribution.",
		"base plus all contributions is the score."),
	"contributions": arrayOf(objectOf("feature group value contribution", fields{
		"feature":      text(),
		"group":        text(),
		"value":        nullable(number("The feature's value; null if it is missing.")),
		"contribution": number("What the feature adds to the score; may be negative."),
	})),
	"rank_without_text": integer("The item's rank if no item had a text."),
	"moved_by":          arrayOf(text(), "The rules that moved the item after scoring."),
})

const rankingRequired = "request_id items model experiments coverage degraded timings_ms"

var rankingSchema = objectOf(rankingRequired, fields{
	"request_id": text("Also the impression's id: send it with a click as impression."),
	"items": arrayOf(objectOf("id rank score", fields{
		"id": id(), "rank": integer("Position in the list, from 1."),
		"score": number(), "explain": explanationSchema,
	}), "All candidates that the rules and limit leave, best first."),
	"no_answer": number("The probability, 0 to 1, that no candidate answers context.query. " +
		"Only with a query, and if the model has learned to tell.").WithMin(0).WithMax(1),
	"model":       text("The model that ranked."),
	"experiments": mapOf(text(), "The arm of each experiment."),
	"coverage": objectOf("text features known", fields{
		"text":     number("Share of the candidates with a text that were scored with it."),
		"features": number("Share of the candidates whose state could be read."),
		"known": number("Share of the candidates that are described, in the catalogue or in the " +
			"request, or that somebody interacted with."),
	}),
	"degraded":   arrayOf(text(), "The fallbacks that this ranking used; empty if none."),
	"timings_ms": mapOf(number(), "Time of each stage in milliseconds."),
})

var labelsSchema = objectOf("texts", fields{
	"texts": arrayOf(text()).WithMinItems(1).WithMaxItems(maxRerankTexts),
})

var labelsAnswerSchema = objectOf("classifier version labels", fields{
	"classifier": text("The name in the path."),
	"version":    text("The version that labelled."),
	"labels": arrayOf(objectOf("label probability", fields{
		"label":       text("The most probable label."),
		"probability": number("How probable it is that the label is right, 0 to 1."),
	}), "Aligned with texts."),
})

// valueSeries has the counts of one value over time.
func valueSeries(required string, more fields) schema {
	of := fields{
		"count":  integer("In all buckets together."),
		"counts": arrayOf(integer(), "Aligned with buckets."),
		"shares": arrayOf(number(), "Count by total of each bucket, 0 where that is 0."),
	}
	maps.Copy(of, more)
	return objectOf(required, of)
}

var trendsSchema = objectOf("field source by buckets totals values behind", fields{
	"field":   text(),
	"source":  text("items, or an action."),
	"by":      text("hour or day."),
	"buckets": arrayOf(text("The start of an hour or a day, UTC.")),
	"totals": arrayOf(integer(), "Events whose item has a value of the field. Aligned with "+
		"buckets."),
	"values": arrayOf(valueSeries("value count counts shares", fields{"value": text()}),
		"Most frequent first."),
	"other":  valueSeries("count counts shares", nil),
	"behind": integer("Records of the log that are not counted yet."),
})

var alertDecision = objectOf("state reason value usual threshold count total", fields{
	"state": describe(openapi3.NewStringSchema().WithEnum(
		string(alerts.Undecided), string(alerts.Quiet), string(alerts.Over)),
		[]string{"undecided: too little is known. over: the condition is met."}),
	"reason":    text("For people."),
	"value":     number("The share or the count in the window."),
	"usual":     number("The median of earlier windows; 0 if the rule does not ask for it."),
	"threshold": number("A value above it meets the condition."),
	"count":     integer("Texts or events with the value."),
	"total":     integer("Texts or events with any value of the field."),
	"basis":     text("Which earlier windows were compared."),
	"windows":   integer("How many there were."),
})

var alertsSchema = objectOf("alerts", fields{"alerts": arrayOf(objectOf(
	"name when min_count active decision episodes", fields{
		"name": text(), "when": text("The condition, as in relish.yaml."),
		"min_count": integer("With a smaller total the rule decides nothing."),
		"active":    boolean("An episode lasts."),
		"decision":  alertDecision,
		"episodes": arrayOf(objectOf("id started over decision", fields{
			"id":       text(),
			"started":  text(),
			"over":     text("The last time at which the condition was met."),
			"ended":    text("Missing while the episode lasts."),
			"decision": alertDecision,
			"items": arrayOf(objectOf("id title time", fields{
				"id": text(), "title": text(), "time": text(),
			}), "The newest items with the value at the start."),
			"delivery": objectOf("state attempts", fields{
				"state":    text("pending, delivered or failed."),
				"attempts": integer(), "next": text(), "error": text(),
			}),
		}), "Newest first, at most 20."),
	}))})

var modelState = openapi3.NewStringSchema().WithEnum(
	ranker.ModelActive, ranker.ModelPrevious, ranker.ModelLoaded,
	ranker.ModelWaiting, ranker.ModelAvailable, ranker.ModelRefused)

var modelsSchema = objectOf("models", fields{"models": arrayOf(objectOf("version state", fields{
	"version": text(),
	"state":   modelState,
	"reason":  text("Why the model is refused, or what it waits for."),
	"created": text(),
	"parent":  text("The bundle that the training started from."),
	"forced":  text("Why the bundle was activated although the gate refused it."),
	"metrics": mapOf(objectOf("mean low high n", fields{
		"mean": number(), "n": integer(),
		"low":  nullable(number("null with fewer than 30 lists.")),
		"high": nullable(number("null with fewer than 30 lists.")),
	})),
}))})

// activeSchema is the answer of an activation or a rollback.
var activeSchema = objectOf("active", fields{"active": text("The active version.")})

const experimentRequired = "name description status mode hash_attribute seed coverage namespace " +
	"start end condition forced metric guardrails arms"

var experimentSchema = objectOf(experimentRequired, fields{
	"name": text(), "description": text(), "status": text(), "mode": text(),
	"hash_attribute": text(), "seed": text(), "coverage": number(),
	"namespace": nullable(arrayOf(anyOf(text(), number()))),
	"start":     nullable(text()), "end": nullable(text()), "condition": nullable(anyObject()),
	"forced": integer("How many users are forced into an arm."),
	"metric": text(),
	"guardrails": arrayOf(objectOf("metric margin", fields{
		"metric": text(), "margin": number(),
	})),
	"arms": arrayOf(objectOf("name weight changes bundle problem", fields{
		"name": text(), "weight": number(), "changes": arrayOf(text()),
		"bundle": text(), "problem": text(),
	})),
})

var experimentsSchema = objectOf("version error holdout layers", fields{
	"version": text(),
	"loaded":  text("When the file was loaded; absent without a file."),
	"error":   text("Why a newer file was refused; empty if none was."),
	"holdout": number(),
	"layers": arrayOf(objectOf("name experiments", fields{
		"name": text(), "experiments": arrayOf(experimentSchema),
	})),
})
