package experiment

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Promote returns the file's text with one arm of an experiment made the default. The arm gets
// every user that the experiment can take: weight 1, coverage 1, no end and no auto_stop; an
// interleaved experiment becomes a split. The note is added above the experiment as a comment.
//
// Seed, namespace, condition, forced users and the holdout stay, so restoring the weights undoes
// the change. Comments are kept; the layout becomes the YAML library's. The result is valid for
// Parse.
func Promote(data []byte, name, arm, note string) ([]byte, error) {
	if _, err := Parse(data); err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	e := findExperiment(&doc, name)
	if e == nil {
		return nil, fmt.Errorf("experiment %q is not in the file; check the name", name)
	}
	found, arms := false, findMember(e, "arms")
	if usesAliases(e) || usesAliases(arms) || slices.ContainsFunc(arms.Content, usesAliases) {
		return nil, fmt.Errorf("experiment %q uses YAML aliases; change its weights by hand", name)
	}
	for _, a := range arms.Content {
		weight := "0"
		if findMember(a, "name").Value == arm {
			found, weight = true, "1"
		}
		setMember(a, "weight", weight)
	}
	if !found {
		return nil, fmt.Errorf("experiment %q has no arm %q; name one of its arms", name, arm)
	}
	for _, key := range []string{"mode", "coverage", "end", "auto_stop"} {
		removeMember(e, key)
	}
	e.HeadComment = strings.TrimSpace(
		e.HeadComment + "\n# " + strings.Join(strings.Fields(note), " "),
	)
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return nil, err
	}
	if err := enc.Close(); err != nil {
		return nil, err
	}
	if _, err := Parse(out.Bytes()); err != nil {
		return nil, fmt.Errorf("the changed file would be invalid: %w", err)
	}
	return out.Bytes(), nil
}

// findExperiment returns the mapping of the named experiment, nil if there is none.
func findExperiment(doc *yaml.Node, name string) *yaml.Node {
	if len(doc.Content) == 0 {
		return nil
	}
	for _, layer := range children(findMember(doc.Content[0], "layers")) {
		for _, e := range children(findMember(layer, "experiments")) {
			if n := findMember(e, "name"); n != nil && n.Value == name {
				return e
			}
		}
	}
	return nil
}

// children returns the elements of a list, none for nil.
func children(n *yaml.Node) []*yaml.Node {
	if n == nil {
		return nil
	}
	return n.Content
}

// usesAliases reports whether the mapping or a member is shared with another place of the file by a
// YAML alias. Changing it would change more than intended.
func usesAliases(n *yaml.Node) bool {
	return n.Kind == yaml.AliasNode || n.Anchor != "" ||
		slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return c.Kind == yaml.AliasNode })
}

// setMember sets a mapping's member to a scalar and keeps its comment.
func setMember(m *yaml.Node, key, value string) {
	if n := findMember(m, key); n != nil {
		*n = yaml.Node{Kind: yaml.ScalarNode, Value: value, LineComment: n.LineComment}
		return
	}
	m.Content = append(
		m.Content,
		&yaml.Node{Kind: yaml.ScalarNode, Value: key},
		&yaml.Node{Kind: yaml.ScalarNode, Value: value},
	)
}

// removeMember removes a mapping's member if it is there.
func removeMember(m *yaml.Node, key string) {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			m.Content = append(m.Content[:i], m.Content[i+2:]...)
			return
		}
	}
}
