package targeting

import (
	"fmt"
	"regexp"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Condition is a compiled condition. It is immutable and safe for concurrent use. The zero
// Condition matches everything.
type Condition struct {
	root   node
	source Value    // the condition as it is in the file
	names  []string // of the attributes it reads, sorted
}

// Problem says what is wrong with a condition, and where in the file.
type Problem struct {
	Line    int
	Key     string // the operator or attribute that it is under, "" for the condition itself
	Message string
}

type op uint8

const (
	opAnd           op = iota // all children; matches without any
	opOr                      // any child; matches without any
	opNot                     // not the child
	opField                   // the child, on the member at path
	opDeepEqual               // deeply equal to arg
	opDeepEqualFold           // deeply equal to arg, texts without case
	opEq                      // equal to arg like JavaScript's ===; never for lists and objects
	opLt
	opLte
	opGt
	opGte
	opExists
	opIn
	opInFold
	opAll // every child matches some element
	opSize
	opElem // some element matches the child
	opRegex
	opType
	opVersionEq
	opVersionLt
	opVersionLte
	opVersionGt
	opVersionGte
)

// node is one test. op says which fields it uses.
type node struct {
	op       op
	path     []string
	children []node
	arg      Value
	re       *regexp.Regexp
	version  []byte // arg as a padded version
}

// Bounds of a condition, with its aliases followed.
const (
	maxNodes = 10_000
	maxDepth = 32
)

// tooLarge counts the YAML nodes from n down and reports whether their number or their depth
// exceeds the bounds. It follows aliases, which may contain themselves.
func tooLarge(n *yaml.Node, nodes *int, depth int) bool {
	if *nodes--; *nodes < 0 || depth < 0 {
		return true
	}
	if n.Kind == yaml.AliasNode {
		return tooLarge(n.Alias, nodes, depth-1)
	}
	return slices.ContainsFunc(
		n.Content,
		func(m *yaml.Node) bool { return tooLarge(m, nodes, depth-1) },
	)
}

// Compile compiles a condition. It returns every problem, and a condition only if there is none.
func Compile(n *yaml.Node) (*Condition, []Problem) {
	nodes := maxNodes
	if tooLarge(n, &nodes, maxDepth) {
		message := fmt.Sprintf("has more than %d parts or is nested more than %d levels deep; "+
			"simplify it", maxNodes, maxDepth)
		return nil, []Problem{{Line: n.Line, Message: message}}
	}
	var c compiler
	out := &Condition{root: c.condition(n, ""), source: FromYAML(n)}
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	slices.Sort(c.names)
	out.names = slices.Compact(c.names)
	return out, nil
}

// Matches reports whether the value, an object of attributes, matches the condition. It does not
// allocate.
func (c *Condition) Matches(v *Value) bool { return c.root.matches(v) }

// AttributeNames returns the attributes that the condition reads, sorted. The caller must not
// change the slice.
func (c *Condition) AttributeNames() []string { return c.names }

// JSON returns the condition as it is in the file, in the form that encoding/json encodes.
func (c *Condition) JSON() any { return c.source.JSON() }
