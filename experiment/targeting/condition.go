package targeting

import (
	"fmt"
	"regexp"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Condition is a compiled condition. It is immutable and safe for concurrent use. The zero Condition is
// met by everybody.
type Condition struct {
	root   node
	source Value
	names  []string // first names of the paths, sorted
}

// Problem is what is wrong with a condition, and where in the file.
type Problem struct {
	Line    int
	Key     string // the operator or attribute that it stands under, "" for the condition itself
	Message string
}

type op uint8

const (
	opAnd           op = iota // kids; none: met
	opOr                      // kids; none: met
	opNot                     // kids[0]
	opField                   // path, kids[0]
	opDeepEqual               // arg, deeply equal
	opDeepEqualFold           // the same, texts without case
	opEq                      // arg, as JavaScript's ===: lists and objects never are
	opLt
	opLte
	opGt
	opGte
	opExists
	opIn
	opInFold
	opAll // every kid is met by some member
	opSize
	opElem // some member meets kids[0]
	opRegex
	opType
	opVersionEq
	opVersionLt
	opVersionLte
	opVersionGt
	opVersionGte
)

// node is one test. Its fields are used as its op says.
type node struct {
	op      op
	path    []string
	kids    []node
	arg     Value
	re      *regexp.Regexp
	version []byte // arg as a padded version
}

// maxNodes and maxDepth bound a condition, with its aliases followed: these may contain themselves.
const (
	maxNodes = 10_000
	maxDepth = 32
)

// tooLarge counts the nodes below n down and reports whether they or their depth pass the bounds.
func tooLarge(n *yaml.Node, nodes *int, depth int) bool {
	if *nodes--; *nodes < 0 || depth < 0 {
		return true
	}
	if n.Kind == yaml.AliasNode {
		return tooLarge(n.Alias, nodes, depth-1)
	}
	return slices.ContainsFunc(n.Content, func(m *yaml.Node) bool { return tooLarge(m, nodes, depth-1) })
}

// Compile reads a condition. It returns every problem, and a condition only without any.
func Compile(n *yaml.Node) (*Condition, []Problem) {
	nodes := maxNodes
	if tooLarge(n, &nodes, maxDepth) {
		return nil, []Problem{{Line: n.Line, Message: fmt.Sprintf("has more than %d parts, or is nested more than %d deep", maxNodes, maxDepth)}}
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

// Matches reports whether the value, which is an object of attributes, meets the condition. It does not
// allocate.
func (c *Condition) Matches(v *Value) bool { return c.root.matches(v) }

// AttributeNames returns the attributes that the condition looks at, sorted; the slice must not be changed.
func (c *Condition) AttributeNames() []string { return c.names }

// JSON returns the condition as encoding/json takes it: what the file says.
func (c *Condition) JSON() any { return c.source.JSON() }
