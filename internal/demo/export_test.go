package demo

// ColdItems returns the ids of the items that enter later.
func (w *World) ColdItems() []string {
	var out []string
	for i := range w.items {
		if w.truth[i].firstList > 0 {
			out = append(out, w.items[i].ID)
		}
	}
	return out
}

// InterestSourceOf returns where a user's interests show, or "" for an unknown user.
func (w *World) InterestSourceOf(user string) InterestSource {
	u, known := w.userIndex(user)
	if !known {
		return ""
	}
	return w.users[u].source
}
