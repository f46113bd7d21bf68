package experiment

import "relish/ranker"

// checkOverlaps proves that arms never meet where they must not: two experiments that one request can be
// in are in different layers, change different parts, and draw independently.
func (s *Set) checkOverlaps(root location) {
	var before []*Experiment
	for i, l := range s.Layers {
		for k, e := range l.Experiments {
			p := root.key("layers").index(i).key("experiments").index(k)
			for _, b := range before {
				if b.overlaps(e) {
					checkPairOverlap(b, e, p)
				}
			}
			before = append(before, e)
		}
	}
}

// overlaps reports whether one request can be drawn for both.
func (e *Experiment) overlaps(b *Experiment) bool {
	if e.end <= b.start || b.end <= e.start {
		return false
	}
	x, y := e.Namespace, b.Namespace
	exclusive := x != nil && y != nil && x.ID == y.ID && e.HashAttribute == b.HashAttribute && (x.End <= y.Start || y.End <= x.Start)
	return !exclusive
}

func checkPairOverlap(b, e *Experiment, p location) {
	if b.Layer == e.Layer {
		p.errorf("may take the same users as %s of the same layer; give them disjoint parts of one namespace, or times that do not overlap", b.Name)
		return
	}
	if b.Seed == e.Seed {
		p.key("seed").errorf("is that of %s: the same users would be in the same places of both", b.Name)
	}
	if b.Mode == ModeInterleave && e.Mode == ModeInterleave {
		p.key("mode").errorf("%s interleaves as well, and an answer shows two arms at most; put them into one layer", b.Name)
	}
	if both := scoringParts(b.Parts) & scoringParts(e.Parts); both != 0 {
		p.errorf("changes %s, as %s of layer %s does; experiments on the same part belong into one layer", both, b.Name, b.Layer)
	}
}

// scoringParts takes bundle and blend for one part: parameters belong to a bundle's blend.
func scoringParts(p ranker.RankingPart) ranker.RankingPart {
	if both := ranker.PartModel | ranker.PartScorer; p&both != 0 {
		p |= both
	}
	return p
}
