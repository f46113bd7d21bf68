package api

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/gin-gonic/gin"

	"relish/embeddings/classifier"
)

// Labeler labels texts for /labels/{classifier}. classifier.Registry implements it.
type Labeler interface {
	// Classify returns the labels of the texts, aligned with them, and the version of the
	// classifier. It waits for the text encoder until ctx ends. Its errors wrap
	// classifier.ErrUnknown if there is no such classifier.
	Classify(
		ctx context.Context, name string, texts []string,
	) (version string, labels []classifier.Label, err error)
}

// labelsBody is the body of /labels/{classifier}.
type labelsBody struct {
	Texts []string `json:"texts"`
}

// labelResponse is the label of one text.
type labelResponse struct {
	Label       string  `json:"label"`
	Probability float64 `json:"probability"`
}

// labels answers with the label of each text. It never reports that it ran short of time: it waits
// for the encoder, and computes little.
func (s *Server) labels(c *gin.Context, b body) (shortOfTime bool) {
	var fields labelsBody
	if err := decode(b.data, &fields); err != nil {
		fail(c, err)
		return false
	}
	infoOf(c).candidates = len(fields.Texts)
	name := c.Param("classifier")
	version, labels, err := s.classify(c.Request.Context(), name, fields.Texts)
	if err != nil {
		fail(c, err)
		return false
	}
	out := make([]labelResponse, len(labels))
	for i, l := range labels {
		out[i] = labelResponse(l)
	}
	writeJSON(c, gin.H{"classifier": name, "version": version, "labels": out})
	return false
}

func (s *Server) classify(
	ctx context.Context, name string, texts []string,
) (version string, labels []classifier.Label, err error) {
	switch {
	case len(texts) == 0:
		return "", nil, errMissingField.at("/texts",
			"texts is required: send at least one text to label")
	case len(texts) > maxRerankTexts:
		return "", nil, errTooManyItems.at("/texts",
			"%d texts; at most 1,000 are allowed: split them into several requests", len(texts))
	case s.opt.Labeler == nil:
		return "", nil, errNoTextEncoder
	}
	ctx, cancel := context.WithTimeout(ctx, rerankTimeout)
	defer cancel()
	version, labels, err = s.opt.Labeler.Classify(ctx, name, texts)
	switch {
	case errors.Is(err, classifier.ErrUnknown):
		message := strings.TrimPrefix(err.Error(), classifier.ErrUnknown.Error()+": ")
		return "", nil, errUnknownClassifier.with("%s", message)
	case errors.Is(err, context.Canceled):
		return "", nil, err
	case err != nil:
		return "", nil, errNoTextEncoder.because(fmt.Errorf("labelling texts: %w", err))
	}
	return version, labels, nil
}
