package targeting

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// compiler collects what is wrong, and what attributes are named.
type compiler struct {
	problems     []Problem
	names        []string
	elementDepth int // > 0: inside $elemMatch, where names are the element's
}

func (c *compiler) errorf(n *yaml.Node, key, format string, args ...any) node {
	c.problems = append(c.problems, Problem{n.Line, key, fmt.Sprintf(format, args...)})
	return node{}
}

// resolveAlias follows an alias, and finds a document's root.
func resolveAlias(n *yaml.Node) *yaml.Node {
	switch n.Kind {
	case yaml.AliasNode:
		return resolveAlias(n.Alias)
	case yaml.DocumentNode:
		return resolveAlias(n.Content[0])
	}
	return n
}

// condition compiles tests of an object's members.
func (c *compiler) condition(n *yaml.Node, key string) node {
	n = resolveAlias(n)
	if n.Kind != yaml.MappingNode {
		return c.errorf(n, key, "must be a mapping of attributes to what they must be")
	}
	c.checkDuplicates(n)
	out := node{op: opAnd}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, arg := n.Content[i].Value, n.Content[i+1]
		switch name {
		case "$and":
			out.kids = append(out.kids, c.compileList(arg, name, opAnd, c.condition))
		case "$or":
			out.kids = append(out.kids, c.compileList(arg, name, opOr, c.condition))
		case "$nor":
			out.kids = append(out.kids, negate(c.compileList(arg, name, opOr, c.condition)))
		case "$not":
			out.kids = append(out.kids, negate(c.condition(arg, name)))
		default:
			if strings.HasPrefix(name, "$") {
				out.kids = append(out.kids, c.errorf(n.Content[i], name, "is no operator between attributes; those are $and, $or, $nor and $not"))
				continue
			}
			path := strings.Split(name, ".")
			if c.elementDepth == 0 {
				c.names = append(c.names, path[0])
			}
			out.kids = append(out.kids, node{op: opField, path: path, kids: []node{c.value(arg, name)}})
		}
	}
	return out
}

func negate(n node) node { return node{op: opNot, kids: []node{n}} }

// checkDuplicates reports members of a mapping that stand twice: the YAML library looks for them in structs only.
func (c *compiler) checkDuplicates(n *yaml.Node) {
	seen := map[string]bool{}
	for i := 0; i < len(n.Content); i += 2 {
		if name := n.Content[i].Value; seen[name] {
			c.errorf(n.Content[i], name, "stands twice")
		}
		seen[n.Content[i].Value] = true
	}
}

// compileList compiles a list's members.
func (c *compiler) compileList(n *yaml.Node, key string, op op, one func(*yaml.Node, string) node) node {
	n = resolveAlias(n)
	if n.Kind != yaml.SequenceNode {
		return c.errorf(n, key, "must be a list")
	}
	out := node{op: op}
	for _, m := range n.Content {
		out.kids = append(out.kids, one(m, key))
	}
	return out
}

// value compiles the tests of one value: operators, or what it must equal.
func (c *compiler) value(n *yaml.Node, key string) node {
	n = resolveAlias(n)
	if n.Kind != yaml.MappingNode {
		return node{op: opDeepEqual, arg: FromYAML(n)}
	}
	operators := 0
	for i := 0; i < len(n.Content); i += 2 {
		if strings.HasPrefix(n.Content[i].Value, "$") {
			operators++
		}
	}
	switch operators {
	case 0:
		if len(n.Content) > 0 {
			return node{op: opDeepEqual, arg: FromYAML(n)}
		}
	case len(n.Content) / 2:
	default:
		return c.errorf(n, key, "mixes operators and names")
	}
	c.checkDuplicates(n)
	out := node{op: opAnd}
	for i := 0; i+1 < len(n.Content); i += 2 {
		out.kids = append(out.kids, c.operator(n.Content[i], n.Content[i+1]))
	}
	return out
}

// comparisonOps are the operators that compare with their argument as it is.
var comparisonOps = map[string]op{"$eq": opEq, "$lt": opLt, "$lte": opLte, "$gt": opGt, "$gte": opGte}

// versionOps are the operators that compare versions.
var versionOps = map[string]op{"$veq": opVersionEq, "$vlt": opVersionLt, "$vlte": opVersionLte, "$vgt": opVersionGt, "$vgte": opVersionGte}

// negatedOps are the operators that another one's failure is.
var negatedOps = map[string]string{"$ne": "$eq", "$nin": "$in", "$nini": "$ini", "$vne": "$veq"}

func (c *compiler) operator(key, n *yaml.Node) node {
	name := key.Value
	n = resolveAlias(n)
	if positive, ok := negatedOps[name]; ok {
		renamed := *key
		renamed.Value = positive
		return negate(c.operator(&renamed, n))
	}
	if op, ok := comparisonOps[name]; ok {
		return node{op: op, arg: FromYAML(n)}
	}
	if op, ok := versionOps[name]; ok {
		return c.versionTest(name, op, n)
	}
	switch name {
	case "$not":
		return negate(c.value(n, name))
	case "$exists":
		return c.typedArg(n, name, opExists, boolean, "true or false")
	case "$in", "$ini":
		if n.Kind != yaml.SequenceNode {
			return c.errorf(n, name, "must be a list")
		}
		return node{op: map[string]op{"$in": opIn, "$ini": opInFold}[name], arg: FromYAML(n)}
	case "$all":
		return c.compileList(n, name, opAll, c.value)
	case "$alli":
		return c.compileList(n, name, opAll, func(m *yaml.Node, _ string) node { return node{op: opDeepEqualFold, arg: FromYAML(m)} })
	case "$size":
		return node{op: opSize, kids: []node{c.value(n, name)}}
	case "$elemMatch":
		return c.elemMatch(n, name)
	case "$regex", "$regexi":
		return c.pattern(n, name)
	case "$type":
		if _, ok := kindNames[n.Value]; !ok {
			return c.errorf(n, name, "must be string, number, boolean, array, object or null")
		}
		return node{op: opType, arg: FromYAML(n)}
	}
	return c.errorf(key, name, "is an unknown operator")
}

var kindNames = map[string]kind{"string": text, "number": number, "boolean": boolean, "array": list, "object": object, "null": null}

func (c *compiler) typedArg(n *yaml.Node, key string, op op, want kind, what string) node {
	arg := FromYAML(n)
	if arg.kind != want {
		return c.errorf(n, key, "must be %s", what)
	}
	return node{op: op, arg: arg}
}

func (c *compiler) versionTest(name string, op op, n *yaml.Node) node {
	arg := FromYAML(n)
	if arg.kind != text && arg.kind != number {
		return c.errorf(n, name, "must be a version")
	}
	return node{op: op, arg: arg, version: appendVersion(nil, &arg)}
}

// elemMatch takes operators on each member, or a condition on each member's own members.
func (c *compiler) elemMatch(n *yaml.Node, name string) node {
	c.elementDepth++
	defer func() { c.elementDepth-- }()
	operators := n.Kind == yaml.MappingNode && len(n.Content) > 0
	for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
		key := n.Content[i].Value
		operators = operators && strings.HasPrefix(key, "$") && !slices.Contains([]string{"$and", "$or", "$nor"}, key)
	}
	if operators {
		return node{op: opElem, kids: []node{c.value(n, name)}}
	}
	return node{op: opElem, kids: []node{c.condition(n, name)}}
}

func (c *compiler) pattern(n *yaml.Node, name string) node {
	arg := FromYAML(n)
	if arg.kind != text {
		return c.errorf(n, name, "must be a pattern")
	}
	source := arg.str
	if name == "$regexi" {
		source = "(?i)" + source
	}
	re, err := regexp.Compile(source)
	if err != nil {
		return c.errorf(n, name, "is no pattern that RE2 takes: %v", err)
	}
	return node{op: opRegex, re: re}
}
