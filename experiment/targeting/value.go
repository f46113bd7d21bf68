// Package target decides whom an experiment is for: it compiles conditions in the form that GrowthBook
// and MongoDB have, and meets them with what is known of a request.
//
// A condition is read strictly. What GrowthBook's SDKs let pass as "never matches" (an unknown
// operator, a pattern that does not compile) is refused here, with its line: a condition that silently
// matches nobody costs an experiment its users. Everything else follows GrowthBook's published cases.
package targeting

import (
	"strconv"

	"go.yaml.in/yaml/v3"

	"relish/ranker"
)

type kind uint8

const (
	null kind = iota
	boolean
	number
	text
	list
	object
)

// Value is what a condition looks at: JSON's values, held so that those of a request need no
// allocation. The zero Value is null, which is also what is missing.
type Value struct {
	kind kind
	num  float64 // number; boolean as 0 or 1
	str  string
	// A list is one of these, an object one of the two below.
	items []Value
	strs  []string
	nums  []float64

	members map[string]Value
	attrs   *Attributes
	fields  map[string]ranker.FieldValue // the object under the attribute "user"
}

// Attributes are what is known of a request. As an object they are {id, session, user: {the user's
// fields}}, and beside these every context field by its own name.
type Attributes struct {
	ID, Session string
	User        map[string]ranker.FieldValue
	Context     map[string]ranker.FieldValue
}

// Names of the attributes that are not the context's.
const (
	AttrID      = "id"
	AttrSession = "session"
	AttrUser    = "user"
)

// Value returns the attributes as an object, which aliases them.
func (a *Attributes) Value() Value { return Value{kind: object, attrs: a} }

// get returns the attribute's value.
func (a *Attributes) get(name string) Value {
	switch name {
	case AttrID:
		return textOrNull(a.ID)
	case AttrSession:
		return textOrNull(a.Session)
	case AttrUser:
		return Value{kind: object, fields: a.User}
	}
	return fromField(a.Context[name])
}

// textOrNull is a text, null when it is empty: an anonymous request has no session, not an empty one.
func textOrNull(s string) Value {
	if s == "" {
		return Value{}
	}
	return Value{kind: text, str: s}
}

func fromField(v ranker.FieldValue) Value {
	switch v.Kind {
	case ranker.Number:
		return Value{kind: number, num: v.Num}
	case ranker.Bool:
		return Value{kind: boolean, num: v.Num}
	case ranker.String:
		return Value{kind: text, str: v.Str}
	case ranker.Strings:
		return Value{kind: list, strs: v.List}
	case ranker.Numbers:
		return Value{kind: list, nums: v.Nums}
	}
	return Value{}
}

// FromYAML reads a value as JSON has it: dates are texts.
func FromYAML(n *yaml.Node) Value {
	switch n.Kind {
	case yaml.AliasNode:
		return FromYAML(n.Alias)
	case yaml.DocumentNode:
		return FromYAML(n.Content[0])
	case yaml.SequenceNode:
		v := Value{kind: list, items: make([]Value, len(n.Content))}
		for i, c := range n.Content {
			v.items[i] = FromYAML(c)
		}
		return v
	case yaml.MappingNode:
		v := Value{kind: object, members: map[string]Value{}}
		for i := 0; i+1 < len(n.Content); i += 2 {
			v.members[n.Content[i].Value] = FromYAML(n.Content[i+1])
		}
		return v
	}
	switch n.ShortTag() {
	case "!!null":
		return Value{}
	case "!!bool":
		var b bool
		_ = n.Decode(&b) // the tag says that it is one
		return fromField(ranker.BoolValue(b))
	case "!!int", "!!float":
		var x float64
		_ = n.Decode(&x)
		return Value{kind: number, num: x}
	}
	return Value{kind: text, str: n.Value}
}

// JSON returns the value as encoding/json takes it.
func (v *Value) JSON() any {
	switch v.kind {
	case boolean:
		return v.num != 0
	case number:
		return v.num
	case text:
		return v.str
	case list:
		out := make([]any, v.length())
		for i := range out {
			x := v.index(i)
			out[i] = x.JSON()
		}
		return out
	case object:
		out := map[string]any{}
		for name, x := range v.members {
			out[name] = x.JSON()
		}
		return out
	}
	return nil
}

// length is a list's length.
func (v *Value) length() int { return len(v.items) + len(v.strs) + len(v.nums) }

// index returns a list's member.
func (v *Value) index(i int) Value {
	switch {
	case v.strs != nil:
		return Value{kind: text, str: v.strs[i]}
	case v.nums != nil:
		return Value{kind: number, num: v.nums[i]}
	}
	return v.items[i]
}

// get returns the member of that name, null when there is none. A list's members are named by their
// index, and "length" is how many there are.
func (v *Value) get(name string) Value {
	switch {
	case v.attrs != nil:
		return v.attrs.get(name)
	case v.kind == list && name == "length":
		return Value{kind: number, num: float64(v.length())}
	case v.kind == list:
		if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < v.length() && name[0] != '+' && (name[0] != '0' || name == "0") {
			return v.index(i)
		}
	case v.fields != nil:
		return fromField(v.fields[name])
	case v.kind == object:
		return v.members[name]
	}
	return Value{}
}

// lookup follows one name at least.
func (v *Value) lookup(names []string) Value {
	x := v.get(names[0])
	for i := 1; i < len(names); i++ {
		x = x.get(names[i])
	}
	return x
}
