package api

import (
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/gin-gonic/gin"

	"relish/ranker/experiment"
)

// experiments answers with what is in effect. It needs the admin scope: seeds and conditions say who gets
// what, and tests of prices are nobody's business. Who is forced is not even told here.
func (s *Server) experiments(c *gin.Context) {
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
		answer: obj("version loaded error holdout layers", map[string]*openapi3.Schema{"version": text(), "loaded": text(), "error": text(), "holdout": number(),
			"layers": list(obj("name experiments", map[string]*openapi3.Schema{"name": text(), "experiments": list(docExperiment)}))})}
	docExperiment = obj("name description status mode hash_attribute seed coverage namespace start end condition forced metric guardrails arms", map[string]*openapi3.Schema{
		"name": text(), "description": text(), "status": text(), "mode": text(), "hash_attribute": text(), "seed": text(), "coverage": number(),
		"namespace": orNull(list(either(text(), number()))), "start": orNull(text()), "end": orNull(text()), "condition": orNull(free()), "forced": whole(), "metric": text(),
		"guardrails": list(obj("metric margin", map[string]*openapi3.Schema{"metric": text(), "margin": number()})),
		"arms": list(obj("name weight changes bundle problem", map[string]*openapi3.Schema{"name": text(), "weight": number(), "changes": list(text()),
			"bundle": text(), "problem": text()}))})
	docGrowthBook = operation{summary: "The running experiments as a GrowthBook SDK payload", answer: obj("features", map[string]*openapi3.Schema{"features": dict(free())})}
)
