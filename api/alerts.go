package api

import (
	"github.com/gin-gonic/gin"

	"relish/internal/alerts"
)

// Alerts tells what the rules over the trends have decided. alerts.Monitor implements it.
type Alerts interface {
	Status() []alerts.Status
}

// listAlerts answers with the alert rules, what they decide now, and their last episodes.
func (s *Server) listAlerts(c *gin.Context) {
	list := []alerts.Status{}
	if s.opt.Alerts != nil {
		list = s.opt.Alerts.Status()
	}
	writeJSON(c, gin.H{"alerts": list})
}
