package api

import (
	"embed"
	"net/http"

	"github.com/gin-gonic/gin"
)

//go:embed console
var console embed.FS

// pagePolicy lets a page of the console run its own script, and call this service and nothing else.
const pagePolicy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; " +
	"connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// reportPolicy lets a model card show itself and do nothing. It comes out of a bundle, which is not
// trusted.
const reportPolicy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"

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
