package api

import (
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/gin-gonic/gin"

	"relish/experiment"
)

// listExperiments answers with what is in effect. It needs the admin scope: seeds and conditions say who gets
// what, and tests of prices are nobody's business. Who is forced is not even told here.
func (s *Server) listExperiments(c *gin.Context) {
	if s.opt.Experiments == nil {
		writeJSON(c, experiment.Status{Layers: []experiment.LayerStatus{}})
		return
	}
	writeJSON(c, s.opt.Experiments.Status())
}

// growthBook answers with the payload that frontends share the assignment by.
func (s *Server) growthBook(c *gin.Context) {
	if s.opt.Experiments == nil {
		writeJSON(c, experiment.Payload{})
		return
	}
	writeJSON(c, s.opt.Experiments.GrowthBook())
}

var (
	docExperiments = operation{summary: "The experiments in effect, with their version and why a newer file was refused",
		answer: objectOf("version loaded error holdout layers", map[string]*openapi3.Schema{"version": stringSchema(), "loaded": stringSchema(), "error": stringSchema(), "holdout": numberSchema(),
			"layers": arrayOf(objectOf("name experiments", map[string]*openapi3.Schema{"name": stringSchema(), "experiments": arrayOf(docExperiment)}))})}
	docExperiment = objectOf("name description status mode hash_attribute seed coverage namespace start end condition forced metric guardrails arms", map[string]*openapi3.Schema{
		"name": stringSchema(), "description": stringSchema(), "status": stringSchema(), "mode": stringSchema(), "hash_attribute": stringSchema(), "seed": stringSchema(), "coverage": numberSchema(),
		"namespace": nullable(arrayOf(anyOf(stringSchema(), numberSchema()))), "start": nullable(stringSchema()), "end": nullable(stringSchema()), "condition": nullable(anyObject()), "forced": integerSchema(), "metric": stringSchema(),
		"guardrails": arrayOf(objectOf("metric margin", map[string]*openapi3.Schema{"metric": stringSchema(), "margin": numberSchema()})),
		"arms": arrayOf(objectOf("name weight changes bundle problem", map[string]*openapi3.Schema{"name": stringSchema(), "weight": numberSchema(), "changes": arrayOf(stringSchema()),
			"bundle": stringSchema(), "problem": stringSchema()}))})
	docGrowthBook = operation{summary: "The running experiments as a GrowthBook SDK payload", answer: objectOf("features", map[string]*openapi3.Schema{"features": mapOf(anyObject())})}
)
