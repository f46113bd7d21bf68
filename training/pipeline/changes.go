package pipeline

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"relish/training"
	"relish/training/modelcard"
)

// settings are a configuration's values by name, beside the defaults.
func settings(c training.Config) (out []modelcard.Setting) {
	value, usual := flat(c), flat(training.DefaultConfig())
	for _, name := range slices.Sorted(maps.Keys(value)) {
		out = append(out, modelcard.Setting{Name: "train." + name, Value: value[name], Default: usual[name]})
	}
	return out
}

// flat writes a configuration as names and values; lists are one value.
func flat(c training.Config) map[string]string {
	out := map[string]string{}
	var doc yaml.Node
	if err := doc.Encode(c); err != nil {
		return out
	}
	var walk func(name string, n *yaml.Node)
	walk = func(name string, n *yaml.Node) {
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				walk(strings.TrimPrefix(name+"."+n.Content[i].Value, "."), n.Content[i+1])
			}
		case yaml.SequenceNode:
			var parts []string
			for _, x := range n.Content {
				if x.Kind == yaml.ScalarNode {
					parts = append(parts, x.Value)
				}
			}
			if out[name] = strings.Join(parts, ", "); len(parts) < len(n.Content) {
				out[name] = fmt.Sprintf("%d entries", len(n.Content))
			}
		default:
			out[name] = n.Value
		}
	}
	walk("", &doc)
	return out
}

// changes are the differences to the running bundle.
func changes(before, now *modelcard.Data) (out []modelcard.Change) {
	if before == nil {
		return nil
	}
	diff := func(what string, before, now map[string]string) {
		for _, name := range slices.Sorted(maps.Keys(now)) {
			old, known := before[name]
			switch {
			case !known:
				out = append(out, modelcard.Change{What: what + " " + name, Change: "added", Detail: now[name]})
			case old != now[name]:
				out = append(out, modelcard.Change{What: what + " " + name, Change: "changed", Detail: old + " to " + now[name]})
			}
		}
		for _, name := range slices.Sorted(maps.Keys(before)) {
			if _, still := now[name]; !still {
				out = append(out, modelcard.Change{What: what + " " + name, Change: "removed", Detail: before[name]})
			}
		}
	}
	features := func(d *modelcard.Data) map[string]string {
		m := map[string]string{}
		for _, f := range d.Features {
			m[f.Name] = f.Kind
		}
		return m
	}
	matchers := func(d *modelcard.Data) map[string]string {
		m := map[string]string{}
		for _, x := range d.Signals {
			if m[x.Name] = "off"; x.Enabled {
				m[x.Name] = "on"
			}
		}
		return m
	}
	given := func(d *modelcard.Data) map[string]string {
		m := map[string]string{}
		for _, x := range d.Settings {
			m[x.Name] = x.Value
		}
		return m
	}
	diff("feature", features(before), features(now))
	diff("matcher", matchers(before), matchers(now))
	diff("setting", given(before), given(now))
	if before.Encoder != now.Encoder {
		out = append(out, modelcard.Change{What: "encoder", Change: "changed", Detail: before.Encoder + " to " + now.Encoder})
	}
	return out
}
