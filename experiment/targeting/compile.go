package targeting

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// compiler collects the problems of a condition and the attributes that it reads.
type compiler struct {
	problems     []Problem
	names        []string
	elementDepth int // > 0: inside $elemMatch, where names are members of the element
}

// errorf reports a problem and returns a node that matches everything.
func (c *compiler) errorf(n *yaml.Node, key, format string, args ...any) node {
	c.problems = append(c.problems, Problem{n.Line, key, fmt.Sprintf(format, args...)})
	return node{}
}

// resolveAlias returns the node that an alias refers to, and the root of a document.
func resolveAlias(n *yaml.Node) *yaml.Node {
	switch n.Kind {
	case yaml.AliasNode:
		return resolveAlias(n.Alias)
	case yaml.DocumentNode:
		return resolveAlias(n.Content[0])
	}
	return n
}

// condition compiles the tests of an object's members.
func (c *compiler) condition(n *yaml.Node, key string) node {
	n = resolveAlias(n)
	if n.Kind != yaml.MappingNode {
		return c.errorf(n, key,
			"is not a condition; write a mapping of attributes to operators or values")
	}
	c.checkDuplicates(n)
	out := node{op: opAnd}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, arg := n.Content[i].Value, n.Content[i+1]
		switch name {
		case "$and":
			out.children = append(out.children, c.compileList(arg, name, opAnd, c.condition))
		case "$or":
			out.children = append(out.children, c.compileList(arg, name, opOr, c.condition))
		case "$nor":
			out.children = append(out.children, negate(c.compileList(arg, name, opOr, c.condition)))
		case "$not":
			out.children = append(out.children, negate(c.condition(arg, name)))
		default:
			if strings.HasPrefix(name, "$") {
				out.children = append(out.children, c.errorf(n.Content[i], name,
					"is not an operator on attributes; write $and, $or, $nor or $not"))
				continue
			}
			path := strings.Split(name, ".")
			if c.elementDepth == 0 {
				c.names = append(c.names, path[0])
			}
			test := node{op: opField, path: path, children: []node{c.value(arg, name)}}
			out.children = append(out.children, test)
		}
	}
	return out
}

func negate(n node) node { return node{op: opNot, children: []node{n}} }

// checkDuplicates reports repeated keys of a mapping, which the YAML library only finds in structs.
func (c *compiler) checkDuplicates(n *yaml.Node) {
	seen := map[string]bool{}
	for i := 0; i < len(n.Content); i += 2 {
		if name := n.Content[i].Value; seen[name] {
			c.errorf(n.Content[i], name, "is repeated; write each key once")
		}
		seen[n.Content[i].Value] = true
	}
}

// compileList compiles a list's elements.
func (c *compiler) compileList(
	n *yaml.Node, key string, op op, element func(*yaml.Node, string) node,
) node {
	n = resolveAlias(n)
	if n.Kind != yaml.SequenceNode {
		return c.errorf(n, key, "needs a list")
	}
	out := node{op: op}
	for _, m := range n.Content {
		out.children = append(out.children, element(m, key))
	}
	return out
}

// value compiles the tests of one value: operators, or the value that it must equal.
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
		return c.errorf(n, key, "mixes operators and names; write only one of them")
	}
	c.checkDuplicates(n)
	out := node{op: opAnd}
	for i := 0; i+1 < len(n.Content); i += 2 {
		out.children = append(out.children, c.operator(n.Content[i], n.Content[i+1]))
	}
	return out
}

// comparisonOps maps the operators that compare with their argument as it is.
var comparisonOps = map[string]op{
	"$eq":  opEq,
	"$lt":  opLt,
	"$lte": opLte,
	"$gt":  opGt,
	"$gte": opGte,
}

// versionOps maps the operators that compare versions.
var versionOps = map[string]op{
	"$veq":  opVersionEq,
	"$vlt":  opVersionLt,
	"$vlte": opVersionLte,
	"$vgt":  opVersionGt,
	"$vgte": opVersionGte,
}

// negatedOps maps each operator to the operator that it negates.
var negatedOps = map[string]string{"$ne": "$eq", "$nin": "$in", "$nini": "$ini", "$vne": "$veq"}

// operator compiles one operator with its argument.
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
			return c.errorf(n, name, "needs a list")
		}
		return node{op: map[string]op{"$in": opIn, "$ini": opInFold}[name], arg: FromYAML(n)}
	case "$all":
		return c.compileList(n, name, opAll, c.value)
	case "$alli":
		return c.compileList(n, name, opAll, func(m *yaml.Node, _ string) node {
			return node{op: opDeepEqualFold, arg: FromYAML(m)}
		})
	case "$size":
		return node{op: opSize, children: []node{c.value(n, name)}}
	case "$elemMatch":
		return c.elemMatch(n, name)
	case "$regex", "$regexi":
		return c.pattern(n, name)
	case "$type":
		if _, ok := kindNames[n.Value]; !ok {
			return c.errorf(n, name, "needs string, number, boolean, array, object or null")
		}
		return node{op: opType, arg: FromYAML(n)}
	}
	return c.errorf(key, name, "is not a known operator; see docs/experiments.md for the operators")
}

// kindNames maps the arguments of $type.
var kindNames = map[string]kind{
	"string":  text,
	"number":  number,
	"boolean": boolean,
	"array":   list,
	"object":  object,
	"null":    null,
}

// typedArg compiles an operator whose argument must have a kind.
func (c *compiler) typedArg(n *yaml.Node, key string, op op, want kind, what string) node {
	arg := FromYAML(n)
	if arg.kind != want {
		return c.errorf(n, key, "needs %s", what)
	}
	return node{op: op, arg: arg}
}

// versionTest compiles a comparison of versions.
func (c *compiler) versionTest(name string, op op, n *yaml.Node) node {
	arg := FromYAML(n)
	if arg.kind != text && arg.kind != number {
		return c.errorf(n, name, "needs a version, such as 1.2.0")
	}
	return node{op: op, arg: arg, version: appendVersion(nil, &arg)}
}

// elemMatch compiles operators on each element, or a condition on each element's own members.
func (c *compiler) elemMatch(n *yaml.Node, name string) node {
	c.elementDepth++
	defer func() { c.elementDepth-- }()
	operators := n.Kind == yaml.MappingNode && len(n.Content) > 0
	for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
		key := n.Content[i].Value
		operators = operators && strings.HasPrefix(key, "$") &&
			!slices.Contains([]string{"$and", "$or", "$nor"}, key)
	}
	if operators {
		return node{op: opElem, children: []node{c.value(n, name)}}
	}
	return node{op: opElem, children: []node{c.condition(n, name)}}
}

// pattern compiles a regular expression.
func (c *compiler) pattern(n *yaml.Node, name string) node {
	arg := FromYAML(n)
	if arg.kind != text {
		return c.errorf(n, name, "needs a pattern")
	}
	source := arg.str
	if name == "$regexi" {
		source = "(?i)" + source
	}
	re, err := regexp.Compile(source)
	if err != nil {
		return c.errorf(n, name, "is not a valid RE2 pattern: %v", err)
	}
	return node{op: opRegex, re: re}
}
