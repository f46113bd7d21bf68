package experiment

import "relish/ranker"

// checkOverlaps proves that arms never meet where they must not: two experiments that one request can be
// in are in different layers, change different parts, and draw independently.
func (s *Set) checkOverlaps(root place) {
	var before []*Experiment
	for i, l := range s.Layers {
		for k, e := range l.Experiments {
			p := root.key("layers").at(i).key("experiments").at(k)
			for _, b := range before {
				if b.meets(e) {
					checkPair(b, e, p)
				}
			}
			before = append(before, e)
		}
	}
}

// meets reports whether one request can be drawn for both.
func (e *Experiment) meets(b *Experiment) bool {
	if e.end <= b.start || b.end <= e.start {
		return false
	}
	x, y := e.Namespace, b.Namespace
	exclusive := x != nil && y != nil && x.ID == y.ID && e.HashAttribute == b.HashAttribute && (x.End <= y.Start || y.End <= x.Start)
	return !exclusive
}

func checkPair(b, e *Experiment, p place) {
	if b.Layer == e.Layer {
		p.bad("may take the same users as %s of the same layer; give them disjoint parts of one namespace, or times that do not overlap", b.Name)
		return
	}
	if b.Seed == e.Seed {
		p.key("seed").bad("is that of %s: the same users would be in the same places of both", b.Name)
	}
	if b.Mode == ModeInterleave && e.Mode == ModeInterleave {
		p.key("mode").bad("%s interleaves as well, and an answer shows two arms at most; put them into one layer", b.Name)
	}
	if both := scoring(b.Parts) & scoring(e.Parts); both != 0 {
		p.bad("changes %s, as %s of layer %s does; experiments on the same part belong into one layer", both, b.Name, b.Layer)
	}
}

// scoring takes bundle and blend for one part: parameters belong to a bundle's blend.
func scoring(p ranker.Part) ranker.Part {
	if both := ranker.PartModel | ranker.PartBlend; p&both != 0 {
		p |= both
	}
	return p
}
