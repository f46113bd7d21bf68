package api

import (
	"slices"

	"relish/features/event"
	"relish/ranker"
)

// metarankBody is a ranking event in Metarank's form.
type metarankBody struct {
	id, user, session string // user is the session if the event has no user
	context           map[string]ranker.FieldValue
	candidates        candidateList
	// scores are the retriever's scores, aligned with candidates; 0: none.
	scores []float64
}

// readMetarank is read for a ranking event in Metarank's form. It knows the fields of a ranking.
func (p *plainBody) readMetarank(data []byte, b *metarankBody) bool {
	if !p.document(data, func(name []byte) (uint, bool) { return p.metarankMember(name, b) }) {
		return false
	}
	p.setIDs(b.candidates)
	if b.user == "" {
		b.user = b.session
	}
	return true
}

// metarankNames are the names that a ranking has.
var metarankNames = []string{
	"event", "id", "timestamp", "user", "session", "tenant", "fields", "items",
}

func (p *plainBody) metarankMember(name []byte, b *metarankBody) (field uint, ok bool) {
	field = uint(slices.Index(metarankNames, string(name)))
	if field >= uint(len(metarankNames)) {
		return 0, false
	}
	if p.null() {
		return field, true
	}
	switch metarankNames[field] {
	case "event":
		var kind []byte
		kind, ok = p.bytes()
		ok = ok && (len(kind) == 0 || string(kind) == "ranking")
	case "id":
		ok = p.text(&b.id)
	case "timestamp":
		var ms int64
		ms, ok = p.millis()
		ok = ok && ms != 0
	case "user":
		ok = p.text(&b.user)
	case "session":
		ok = p.text(&b.session)
	case "tenant":
		_, ok = p.bytes()
	case "fields":
		p.content.reset()
		if ok = p.list(p.metarankField); ok {
			p.content.complete()
			b.context = p.metarankContext()
		}
	case "items":
		ok = p.list(func() bool { return p.metarankItem(b) })
	}
	return field, ok
}

// metarankField reads a field, which is an object of a name and a value, into content.fields.
func (p *plainBody) metarankField() bool {
	var f plainField
	ok := p.object(func(name []byte) (field uint, ok bool) {
		switch string(name) {
		case "name":
			f.name, ok = p.plainText()
			return 0, ok
		case "value":
			return 1, p.value(&f)
		}
		return 0, false
	})
	p.content.fields = append(p.content.fields, f)
	return ok && len(p.content.fields) <= maxPlainFields
}

// metarankContext returns the fields that a context may have; of equal names the last one.
func (p *plainBody) metarankContext() map[string]ranker.FieldValue {
	p.content.fields = slices.DeleteFunc(p.content.fields, func(f plainField) bool {
		k := f.value.Kind
		return k == ranker.NoValue || k == ranker.Strings || k == ranker.Numbers
	})
	if len(p.content.fields) == 0 {
		return nil
	}
	context, _ := p.content.values()
	return context
}

// metarankItem reads an item, which is an object of an id and perhaps a score.
func (p *plainBody) metarankItem(b *metarankBody) bool {
	var score float64
	p.content.reset()
	ok := p.object(func(name []byte) (field uint, ok bool) {
		switch string(name) {
		case "id":
			return 0, p.id()
		case "relevancy":
			return 1, p.null() || p.number(&score)
		case "label":
			var label float64
			return 2, p.null() || p.number(&label)
		case "fields":
			return 3, p.null() || p.list(p.metarankField)
		}
		return 0, false
	})
	if score == 0 {
		score = p.relevancyField()
	}
	if !ok || !p.addCandidate(&b.candidates, ranker.Candidate{}) {
		return false
	}
	if b.scores == nil {
		b.scores = make([]float64, 0, cap(b.candidates))
	}
	b.scores = append(b.scores, score)
	return true
}

// relevancyField returns the first number in a field "relevancy" that is not 0, else 0.
func (p *plainBody) relevancyField() float64 {
	for i := range p.content.fields {
		f := &p.content.fields[i]
		if string(p.content.text[f.name.from:f.name.to]) == "relevancy" &&
			f.value.Kind == ranker.Number && f.value.Num != 0 {
			return f.value.Num
		}
	}
	return 0
}

// decodeMetarankBody reads a ranking event in Metarank's form.
func decodeMetarankBody(data []byte) (*metarankBody, error) {
	plain := plainBodies.Get().(*plainBody)
	defer plain.free()
	var b metarankBody
	if plain.readMetarank(data, &b) {
		return &b, nil
	}
	return decodeAnyMetarank(data)
}

// decodeAnyMetarank is decodeMetarankBody for any event, and has all errors.
func decodeAnyMetarank(data []byte) (*metarankBody, error) {
	if err := checkDepth(data); err != nil {
		return nil, err
	}
	e, invalid := event.DecodeMetarank(data)
	switch {
	case invalid != nil:
		return nil, invalid
	case e.Kind != ranker.EventImpression:
		return nil, errInvalidField.at("/event",
			`must be "ranking": send other events to /feedback`)
	}
	b := &metarankBody{
		id: e.ID, user: e.UserID, session: e.Session, context: e.Impression.Context,
		scores: e.Impression.Scores,
	}
	for _, id := range e.Impression.Items {
		b.candidates = append(b.candidates, ranker.Candidate{ID: id})
	}
	return b, nil
}
