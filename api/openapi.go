package api

import (
	"embed"
	"net/http"
	"regexp"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/gin-gonic/gin"
)

// operation documents a route.
type operation struct {
	summary     string           // one line: what the route does
	description string           // what else a caller must know; may be ""
	body        *openapi3.Schema // nil: the request has no body
	answer      *openapi3.Schema // of the 200 answer; nil: 204 without a body
	mediaType   string           // of the 200 answer; "" means application/json
}

// pathParam is a parameter in a route's path, as gin writes it.
var pathParam = regexp.MustCompile(`:(\w+)`)

// Spec returns the OpenAPI 3.0 document of all routes.
func (s *Server) Spec() *openapi3.T {
	doc := &openapi3.T{
		OpenAPI: "3.0.3",
		Info: &openapi3.Info{
			Title:       "Relish",
			Version:     "1",
			Description: "Ranks a user's candidates by behaviour and by the text of the items.",
		},
		Paths: openapi3.NewPaths(),
	}
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

// operation returns the route's part of the document.
func (r *route) operation() *openapi3.Operation {
	op := openapi3.NewOperation()
	op.Summary, op.Description = r.doc.summary, r.doc.description
	if r.scope != "" {
		if op.Description != "" {
			op.Description += " "
		}
		op.Description += "If keys are configured, the key needs the scope " + r.scope + "."
	}
	for _, m := range pathParam.FindAllStringSubmatch(r.path, -1) {
		op.AddParameter(openapi3.NewPathParameter(m[1]).WithSchema(id()))
	}
	if r.doc.body != nil {
		body := openapi3.NewRequestBody().WithRequired(true).WithJSONSchema(r.doc.body)
		op.RequestBody = &openapi3.RequestBodyRef{Value: body}
	}
	op.Responses = openapi3.NewResponses()
	op.Responses.Delete("default")
	ok := openapi3.NewResponse().WithDescription("success")
	switch {
	case r.doc.answer == nil:
		op.AddResponse(http.StatusNoContent, ok)
	case r.doc.mediaType != "":
		content := openapi3.NewContentWithSchema(r.doc.answer, []string{r.doc.mediaType})
		op.AddResponse(http.StatusOK, ok.WithContent(content))
	default:
		op.AddResponse(http.StatusOK, ok.WithJSONSchema(r.doc.answer))
	}
	failure := openapi3.NewResponse().WithDescription("error: a code for programs, " +
		"a message for people, and a JSON pointer to the place in the body")
	op.AddResponse(0, failure.WithJSONSchema(errorSchema)) // 0 is the default answer
	return op
}

func (s *Server) openAPI(c *gin.Context) { c.JSON(http.StatusOK, s.Spec()) }

//go:embed console
var console embed.FS

// pagePolicy lets a page of the console run its own script, and call this service and nothing else.
const pagePolicy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; " +
	"connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// servePage answers with one page of the console. The page is a single file with its style and
// script.
func servePage(name string) gin.HandlerFunc {
	data, err := console.ReadFile("console/" + name)
	if err != nil {
		panic(err) // the file is part of the binary
	}
	return func(c *gin.Context) {
		c.Header("Content-Security-Policy", pagePolicy)
		c.Data(http.StatusOK, "text/html; charset=utf-8", data)
	}
}
