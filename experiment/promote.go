package experiment

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Promote returns the file's text with one arm of an experiment made the default: the arm gets every
// user that the experiment can take (weight 1 of coverage 1, no end or auto_stop; an interleaving becomes a
// split), and note stands above the experiment as a comment. Seed, namespace, condition and forced
// users stay, as does the holdout, so the change is undone by the weights alone. Comments are kept; the
// layout becomes the YAML library's. The result is a file that Parse takes.
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
		return nil, fmt.Errorf("experiment %q is not in the file", name)
	}
	winner, arms := false, findMember(e, "arms")
	if usesAliases(e) || usesAliases(arms) || slices.ContainsFunc(arms.Content, usesAliases) {
		return nil, fmt.Errorf("experiment %q is written with YAML aliases; change its weights by hand", name)
	}
	for _, a := range arms.Content {
		weight := "0"
		if findMember(a, "name").Value == arm {
			winner, weight = true, "1"
		}
		setMember(a, "weight", weight)
	}
	if !winner {
		return nil, fmt.Errorf("experiment %q has no arm %q", name, arm)
	}
	for _, key := range []string{"mode", "coverage", "end", "auto_stop"} {
		removeMember(e, key)
	}
	e.HeadComment = strings.TrimSpace(e.HeadComment + "\n# " + strings.Join(strings.Fields(note), " "))
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
		return nil, fmt.Errorf("the changed file would be refused: %w", err)
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

func children(n *yaml.Node) []*yaml.Node {
	if n == nil {
		return nil
	}
	return n.Content
}

// usesAliases reports whether a mapping or its members are written elsewhere too: changing them there would
// change more than is meant.
func usesAliases(n *yaml.Node) bool {
	return n.Kind == yaml.AliasNode || n.Anchor != "" || slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return c.Kind == yaml.AliasNode })
}

func setMember(m *yaml.Node, key, value string) {
	if n := findMember(m, key); n != nil {
		*n = yaml.Node{Kind: yaml.ScalarNode, Value: value, LineComment: n.LineComment}
		return
	}
	m.Content = append(m.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, &yaml.Node{Kind: yaml.ScalarNode, Value: value})
}

func removeMember(m *yaml.Node, key string) {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			m.Content = append(m.Content[:i], m.Content[i+2:]...)
			return
		}
	}
}
