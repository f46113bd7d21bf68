package api

import (
	"embed"
	"net/http"

	"github.com/gin-gonic/gin"
)

//go:embed console
var console embed.FS

// pagePolicy lets a page use nothing but itself and this service.
const pagePolicy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// servePage serves one self-contained page.
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
