package replay

import (
	"testing"

	"relish/features"
)

// honestActions is what 100 users do: each acts on 16 of 40 items.
func honestActions(t *testing.T, b *newcomerBound) {
	t.Helper()
	for user := range int32(100) {
		for k := range int32(16) {
			if !b.admit(user, (user+5*k)%40) {
				t.Fatal("an action of an honest user is no label")
			}
		}
	}
}

// Users who act on one item alone give it hardly more labels than newcomers usually do.
func TestNewcomersAreBounded(t *testing.T) {
	b := newcomerBound{cfg: features.DefaultConfig()}
	honestActions(t, &b)
	admitted := 0
	for user := int32(1000); user < 1100; user++ {
		if b.admit(user, 2) {
			admitted++
		}
	}
	if admitted > 7 { // on 40 honest ones, of which 2 or 3 are of newcomers
		t.Errorf("%d actions of the farm are labels", admitted)
	}
	if !b.admit(1000, 3) {
		t.Error("a user who acts on a second item is a newcomer still")
	}
	b = newcomerBound{}
	honestActions(t, &b)
	for user := int32(1000); user < 1100; user++ {
		if !b.admit(user, 2) {
			t.Fatal("without a bound, an action is no label")
		}
	}
}
