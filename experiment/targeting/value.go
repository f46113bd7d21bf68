// Package targeting decides which requests an experiment applies to. Compile reads a condition in
// the form of GrowthBook and MongoDB, and Condition.Matches evaluates it on the attributes of a
// request.
//
// Compile is strict. GrowthBook's SDKs treat an unknown operator or an invalid pattern as "never
// matches"; here it is a Problem with its line, because a condition that silently matches nobody
// costs an experiment its users. Everything else follows GrowthBook's published test cases.
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

// Value is a JSON value that a condition looks at. The values of a request are held as they are, so
// that evaluating a condition does not allocate. The zero Value is null, which also stands for what
// is missing.
type Value struct {
	kind kind
	num  float64 // number; boolean as 0 or 1
	str  string
	// A list uses one of these, an object one of the three below.
	items []Value
	strs  []string
	nums  []float64

	members map[string]Value
	attrs   *Attributes
	fields  map[string]ranker.FieldValue // the object under the attribute "user"
}

// Attributes are what is known of a request. As an object they are {id, session, user: {the user's
// fields}}, and every context field by its own name.
type Attributes struct {
	ID, Session string
	User        map[string]ranker.FieldValue
	Context     map[string]ranker.FieldValue
}

// The names of the attributes that are not context fields.
const (
	AttrID      = "id"
	AttrSession = "session"
	AttrUser    = "user"
)

// Value returns the attributes as an object, which aliases them.
func (a *Attributes) Value() Value { return Value{kind: object, attrs: a} }

// get returns an attribute's value.
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

// textOrNull is a text, or null if it is empty: an anonymous request has no session rather than an
// empty one.
func textOrNull(s string) Value {
	if s == "" {
		return Value{}
	}
	return Value{kind: text, str: s}
}

// fromField converts a field value.
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

// FromYAML reads a value as JSON would: a date is a text.
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
		_ = n.Decode(&b) // cannot fail for this tag
		return fromField(ranker.BoolValue(b))
	case "!!int", "!!float":
		var x float64
		_ = n.Decode(&x) // cannot fail for these tags
		return Value{kind: number, num: x}
	}
	return Value{kind: text, str: n.Value}
}

// JSON returns the value in the form that encoding/json encodes.
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

// length is the number of a list's elements.
func (v *Value) length() int { return len(v.items) + len(v.strs) + len(v.nums) }

// index returns a list's element.
func (v *Value) index(i int) Value {
	switch {
	case v.strs != nil:
		return Value{kind: text, str: v.strs[i]}
	case v.nums != nil:
		return Value{kind: number, num: v.nums[i]}
	}
	return v.items[i]
}

// get returns the member of that name, null if there is none. A list's elements are named by their
// index, and "length" is their number.
func (v *Value) get(name string) Value {
	switch {
	case v.attrs != nil:
		return v.attrs.get(name)
	case v.kind == list && name == "length":
		return Value{kind: number, num: float64(v.length())}
	case v.kind == list:
		if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < v.length() && name[0] != '+' &&
			(name[0] != '0' || name == "0") {
			return v.index(i)
		}
	case v.fields != nil:
		return fromField(v.fields[name])
	case v.kind == object:
		return v.members[name]
	}
	return Value{}
}

// lookup follows a path of at least one name.
func (v *Value) lookup(names []string) Value {
	x := v.get(names[0])
	for i := 1; i < len(names); i++ {
		x = x.get(names[i])
	}
	return x
}
