package api

import (
	"embed"
	"net/http"

	"github.com/gin-gonic/gin"
)

//go:embed console
var console embed.FS

// policy lets a page use nothing but itself and this service.
const policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// page serves one self-contained page.
func page(name string) gin.HandlerFunc {
	data, err := console.ReadFile("console/" + name)
	if err != nil {
		panic(err) // the file is part of the binary
	}
	return func(c *gin.Context) {
		c.Header("Content-Security-Policy", policy)
		c.Data(http.StatusOK, "text/html; charset=utf-8", data)
	}
}
