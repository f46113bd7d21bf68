package replay

import (
	"testing"

	"relish/features"
)

// A farm of users who act on one item alone teaches as little as the state counts. Its lists stop
// counting before they outweigh those of others.
func TestNewcomersAreBounded(t *testing.T) {
	b := newcomerBound{cfg: features.DefaultConfig()}
	var catalogue []int32
	for item := range int32(40) {
		catalogue = append(catalogue, item)
	}
	for user := range int32(100) {
		for k := range int32(16) {
			if !b.impressionsCount(user, catalogue) {
				t.Fatal("a list of an honest user does not count")
			}
			if !b.actionCounts(user, (user+5*k)%40) {
				t.Fatal("an action of an honest user does not count")
			}
		}
	}
	actions, lists := 0, 0
	for user := int32(1000); user < 2000; user++ {
		if b.impressionsCount(user, catalogue[:4]) {
			lists++
		}
		if b.actionCounts(user, 2) {
			actions++
		}
	}
	// Honest users acted 40 times on each item, and saw it 1,600 times.
	if actions > 8 || lists > 500 {
		t.Errorf("%d actions and %d lists of newcomers count", actions, lists)
	}
}
