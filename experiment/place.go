package experiment

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// location is a spot in the file that a problem can be reported at: a node, the way to it, and the list
// that problems go to. A place that the file lacks stands at its nearest parent's line.
type location struct {
	node     *yaml.Node
	path     string
	problems *[]problem
}

type problem struct {
	line int
	text string
}

// errorf reports a problem here.
func (p location) errorf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if p.path != "" {
		text = p.path + ": " + text
	}
	*p.problems = append(*p.problems, problem{p.node.Line, text})
}

// key returns the place of a mapping's member.
func (p location) key(name string) location {
	q := p
	if q.path != "" {
		q.path += "."
	}
	q.path += name
	if n := findMember(p.node, name); n != nil {
		q.node = n
	}
	return q
}

// forcedUser returns the place of a forced user. Problems are logged and shown, so it is told by its line alone.
func (p location) forcedUser(id string) location {
	q := p.key(id)
	q.path = p.path
	return q
}

// index returns the place of a list's member.
func (p location) index(i int) location {
	q := p
	q.path = fmt.Sprintf("%s[%d]", p.path, i)
	if n := resolveAlias(p.node); n.Kind == yaml.SequenceNode && i < len(n.Content) {
		q.node = n.Content[i]
	}
	return q
}

// has reports whether the mapping here has the member, be it null.
func (p location) has(name string) bool { return findMember(p.node, name) != nil }

func resolveAlias(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// findMember finds a mapping's member, in a merged mapping (<<) too.
func findMember(n *yaml.Node, name string) *yaml.Node {
	n = resolveAlias(n)
	if n.Kind != yaml.MappingNode {
		return nil
	}
	var merged *yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch key := n.Content[i]; {
		case key.Value == name:
			return n.Content[i+1]
		case key.ShortTag() == "!!merge":
			merged = findMember(n.Content[i+1], name)
		}
	}
	return merged
}

// joinProblems makes one error of the problems, in the order of their lines.
func joinProblems(problems []problem) error {
	if len(problems) == 0 {
		return nil
	}
	slices.SortStableFunc(problems, func(a, b problem) int { return cmp.Compare(a.line, b.line) })
	lines := make([]string, len(problems))
	for i, p := range problems {
		lines[i] = fmt.Sprintf("line %d: %s", p.line, p.text)
	}
	return fmt.Errorf("%s", strings.Join(slices.Compact(lines), "\n"))
}
