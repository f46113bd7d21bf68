package api

import (
	"fmt"

	"relish/features/trends"
)

// The documentation of the routes, in the order of Server.routes.
var (
	docRecommend = operation{
		summary:     "Rank candidates for a user",
		description: "Always answers in time: degraded names what a fallback replaced.",
		body:        recommendSchema,
		answer:      rankingSchema,
	}
	docFeedback = operation{
		summary: "Store events: items, users, impressions, interactions",
		description: "The body is one event, an array, or one event per line. " +
			"Events of Metarank are accepted too. " +
			"Accepted events are on disk when the answer arrives. " +
			"A repeated event is a duplicate and changes nothing. " +
			"An event with the id of another event is rejected. Each API key has its own ids. " +
			"With the query parameter imported=true, which needs the scope items too, the events " +
			"count as imported: training takes them to have happened at their times.",
		body:   anyOf(anyObject(), arrayOf(anyObject())),
		answer: feedbackSchema,
	}
	docPutItems = operation{
		summary: "Replace items",
		description: "The body is one item, an array, or one item per line. An item replaces all " +
			"that was stored of it; an item event sent to /feedback merges.",
		body:   anyOf(itemSchema, arrayOf(itemSchema)),
		answer: feedbackSchema,
	}
	docGetItem    = operation{summary: "Read an item", answer: itemSchema}
	docDeleteItem = operation{summary: "Delete an item"}
	docPutUser    = operation{
		summary: "Set fields of a user",
		body:    objectOf("fields", fields{"fields": mapOf(fieldValue())}),
	}
	docDeleteUser = operation{
		summary: "Erase a user",
		description: "The user's state is dropped at once. " +
			"The user's events are removed from the log within --erase-after, on every replica.",
	}
	docRerank = operation{
		summary: "Rank texts by a query",
		description: "With texts it takes and answers TEI's form, with documents Jina's, " +
			"and under /v2 Cohere's. At most 1,000 texts.",
		body:   anyObject(),
		answer: anyOf(anyObject(), arrayOf(anyObject())),
	}
	docRankMetarank = operation{
		summary:     "Rank items in Metarank's form",
		description: "The query parameter explain=true adds the values of the features.",
		body:        anyObject(),
		answer:      anyObject(),
	}
	docLabels = operation{
		summary: "Label texts by topic, sentiment or the like",
		description: "The classifier is one that relish classifier train has activated. " +
			"The labels are aligned with the texts. A text without a word has the label \"\".",
		body:   labelsSchema,
		answer: labelsAnswerSchema,
	}
	docTrends = operation{
		summary: "Count the values of an item field by hour or by day",
		description: fmt.Sprintf("Query parameters: field (required), by (hour or day; "+
			"default hour), from, to (a day or a time), source (items, or an action such as "+
			"click; default items), values (how many values are named, the most frequent first; "+
			"default 10). Hours are kept for %d days and days for 2 years. Texts of items count "+
			"at their event time, and interactions for the values that their item had.",
			trends.HoursKept/24),
		answer: trendsSchema,
	}
	docTrendsFields = operation{
		summary: "List what /trends counts: item fields, and the sources of events",
		answer: objectOf("fields sources", fields{
			"fields": arrayOf(text()), "sources": arrayOf(text(), "items, and actions."),
		}),
	}
	docAlerts = operation{
		summary: "List the alert rules, what they decide now, and their last episodes",
		description: "An episode lasts from the moment at which a rule is met until it has not " +
			"been met for the length of its window.",
		answer: alertsSchema,
	}
	docModels = operation{
		summary:     "List the models: the prior and the newest 100 bundles",
		description: "Each has its state, and a refused one the reason.",
		answer:      modelsSchema,
	}
	docActivate = operation{
		summary: "Make a bundle the active model",
		description: "The bundle is verified and tried in a child process first. " +
			"The version prior makes the built-in prior active.",
		answer: activeSchema,
	}
	docRollback = operation{
		summary: "Make the previously active model active again",
		answer:  activeSchema,
	}
	docReport = operation{
		summary: "Read a bundle's model card, an HTML page",
		answer:  text(), mediaType: "text/html",
	}
	docExperiments = operation{
		summary:     "List the experiments in effect",
		description: "error says why a newer file was refused.",
		answer:      experimentsSchema,
	}
	docGrowthBook = operation{
		summary: "Read the running experiments as a GrowthBook SDK payload",
		answer:  objectOf("features", fields{"features": mapOf(anyObject())}),
	}
	docExperimentReport = operation{
		summary: "Analyse an experiment: decision, arms, intervals, guardrails",
		description: fmt.Sprintf("Query parameters: metric, from, to (a day or a time), "+
			"format (json or html). It reads the whole log: one report at a time, "+
			"at most %g seconds.", reportTimeout.Seconds()),
		answer: anyObject(),
	}
	docLive = operation{
		summary: "Liveness probe: the process runs",
		answer:  anyObject(),
	}
	docReady = operation{
		summary: "Readiness probe: the service can rank",
		description: "503 while a check fails, or the service starts or drains. While it " +
			"starts, the check start says how far it is.",
		answer: anyObject(),
	}
	docMetrics = operation{
		summary: "Prometheus metrics",
		answer:  text(), mediaType: "text/plain",
	}
	docOpenAPI = operation{
		summary: "This document",
		answer:  anyObject(),
	}
	docDocs = operation{
		summary: "This document as a page",
		answer:  text(), mediaType: "text/html",
	}
	docTrendsPage = operation{
		summary: "Trends and alerts as a page",
		answer:  text(), mediaType: "text/html",
	}
	docConsole = operation{
		summary: "The web console: rank, see why, click, rank again",
		answer:  text(), mediaType: "text/html",
	}
)
