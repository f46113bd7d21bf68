package replay

import (
	"slices"

	"relish/features"
	"relish/features/event"
	"relish/ranker"
)

// addErasure notes the user that the record erases, if it erases one.
func (s *scanner) addErasure(rec *event.Record) {
	if rec.Event.Kind == ranker.EventErase {
		s.erased[rec.Event.UserHash] = rec.Seq
	}
}

// dropErased removes what erased users did and saw before their erasure, as far as the log still
// has it. What they do afterwards belongs to a new user.
func (s *scanner) dropErased() {
	if len(s.erased) == 0 {
		return
	}
	erasedAt := map[int32]uint64{}
	for user, id := range s.Users.IDs() {
		if seq, erased := s.erased[features.UserHash(id)]; erased {
			erasedAt[int32(user)] = seq
		}
	}
	s.Interactions = slices.DeleteFunc(s.Interactions, func(x Interaction) bool {
		return x.Seq < erasedAt[x.User]
	})
	s.Lists = slices.DeleteFunc(
		s.Lists,
		func(l LoggedList) bool { return l.Seq < erasedAt[l.User] },
	)
}
