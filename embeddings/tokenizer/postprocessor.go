package tokenizer

import (
	"errors"
	"fmt"
)

// postProcessor puts special tokens around a text.
type postProcessor struct {
	Type   string `json:"type"`
	Single []struct {
		SpecialToken *templatePart
		Sequence     *templatePart
	} `json:"single"`
	SpecialTokens map[string]struct {
		IDs []int32 `json:"ids"`
	} `json:"special_tokens"`
	Cls [2]any `json:"cls"` // name, id
	Sep [2]any `json:"sep"`
}

type templatePart struct {
	ID     string `json:"id"`
	TypeID int    `json:"type_id"`
}

// specialTokens returns the special tokens before and after a text. Without a post_processor there
// are none.
func (p *postProcessor) specialTokens() (before, after []int32, err error) {
	if p == nil {
		return nil, nil, nil
	}
	switch p.Type {
	case "BertProcessing", "RobertaProcessing":
		cls, ok1 := p.Cls[1].(float64)
		sep, ok2 := p.Sep[1].(float64)
		if !ok1 || !ok2 {
			return nil, nil, errors.New("post_processor: cls and sep must each be a name and an id")
		}
		return []int32{int32(cls)}, []int32{int32(sep)}, nil
	case "TemplateProcessing":
	default:
		return nil, nil, fmt.Errorf("post_processor.type %q is not supported; only "+
			"TemplateProcessing, BertProcessing and RobertaProcessing are", p.Type)
	}
	at, texts := &before, 0
	for i, part := range p.Single {
		switch {
		case part.Sequence != nil && part.Sequence.TypeID == 0:
			at = &after
			texts++
		case part.SpecialToken != nil && part.SpecialToken.TypeID == 0:
			special, ok := p.SpecialTokens[part.SpecialToken.ID]
			if !ok {
				return nil, nil, fmt.Errorf("post_processor.special_tokens has no %q",
					part.SpecialToken.ID)
			}
			*at = append(*at, special.IDs...)
		default:
			return nil, nil, fmt.Errorf("post_processor.single[%d] is not supported; only a "+
				"Sequence or a SpecialToken with type_id 0 is", i)
		}
	}
	if texts != 1 {
		return nil, nil, fmt.Errorf(
			"post_processor.single contains the text %d times; it must contain it once",
			texts,
		)
	}
	return before, after, nil
}
