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

// settings returns the values of a configuration by name, each with its default.
func settings(c training.Config) (out []modelcard.Setting) {
	values, defaults := flatten(c), flatten(training.DefaultConfig())
	for _, name := range slices.Sorted(maps.Keys(values)) {
		out = append(out, modelcard.Setting{
			Name: "train." + name, Value: values[name], Default: defaults[name],
		})
	}
	return out
}

// flatten returns the values of a configuration by dotted name. A list is one value.
func flatten(c training.Config) map[string]string {
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
				key := strings.TrimPrefix(name+"."+n.Content[i].Value, ".")
				walk(key, n.Content[i+1])
			}
		case yaml.SequenceNode:
			var scalars []string
			for _, x := range n.Content {
				if x.Kind == yaml.ScalarNode {
					scalars = append(scalars, x.Value)
				}
			}
			out[name] = strings.Join(scalars, ", ")
			if len(scalars) < len(n.Content) {
				out[name] = fmt.Sprintf("%d entries", len(n.Content))
			}
		default:
			out[name] = n.Value
		}
	}
	walk("", &doc)
	return out
}

// changes returns the differences from the active bundle, none if before is nil.
func changes(before, now *modelcard.Data) (out []modelcard.Change) {
	if before == nil {
		return nil
	}
	out = append(out, diffValues("feature", featureKinds(before), featureKinds(now))...)
	out = append(out, diffValues("signal", signalStates(before), signalStates(now))...)
	out = append(out, diffValues("setting", settingValues(before), settingValues(now))...)
	if before.Encoder != now.Encoder {
		out = append(out, modelcard.Change{
			What: "encoder", Change: "changed", Detail: before.Encoder + " to " + now.Encoder,
		})
	}
	return out
}

// diffValues compares values by name: new and changed ones first, then removed ones.
func diffValues(what string, before, now map[string]string) (out []modelcard.Change) {
	for _, name := range slices.Sorted(maps.Keys(now)) {
		old, known := before[name]
		switch {
		case !known:
			out = append(out,
				modelcard.Change{What: what + " " + name, Change: "added", Detail: now[name]})
		case old != now[name]:
			detail := old + " to " + now[name]
			out = append(
				out,
				modelcard.Change{What: what + " " + name, Change: "changed", Detail: detail},
			)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if _, still := now[name]; !still {
			out = append(out,
				modelcard.Change{What: what + " " + name, Change: "removed", Detail: before[name]})
		}
	}
	return out
}

func featureKinds(d *modelcard.Data) map[string]string {
	out := map[string]string{}
	for _, f := range d.Features {
		out[f.Name] = f.Kind
	}
	return out
}

func signalStates(d *modelcard.Data) map[string]string {
	out := map[string]string{}
	for _, s := range d.Signals {
		if out[s.Name] = "off"; s.Enabled {
			out[s.Name] = "on"
		}
	}
	return out
}

func settingValues(d *modelcard.Data) map[string]string {
	out := map[string]string{}
	for _, s := range d.Settings {
		out[s.Name] = s.Value
	}
	return out
}
