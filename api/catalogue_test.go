package api_test

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"relish/ranker"
)

func TestItemsAndUsers(t *testing.T) {
	s := start(t, nil)
	const a, b = `{"id":"a","title":"One"}`, `{"id":"b","title":"Two","fields":{"price":2}}`
	w := s.call("PUT", "/items", a+"\n"+b, "Content-Type", "application/x-ndjson")
	if !strings.Contains(w.Body.String(), `"accepted":2`) {
		t.Fatal(w.Body)
	}
	if w := s.call("GET", "/items/b", ""); w.Code != 200 || w.Body.String() != b {
		t.Error(w.Body)
	}
	s.call("PUT", "/items", `{"id":"b","title":"Other"}`) // replaces
	if w := s.call("GET", "/items/b", ""); w.Body.String() != `{"id":"b","title":"Other"}` {
		t.Error(w.Body)
	}
	w = s.call("PUT", "/items", `[{"id":"c","title":"x","colour":1},{"title":"no id"},{"id":"d"}]`)
	var got struct {
		Accepted int
		Rejected []struct {
			Index   int
			Pointer string
		}
	}
	err := json.Unmarshal(w.Body.Bytes(), &got, json.MatchCaseInsensitiveNames(true))
	if err != nil || got.Accepted != 1 || len(got.Rejected) != 2 ||
		got.Rejected[0].Pointer != "/colour" || got.Rejected[1].Index != 1 {
		t.Errorf("%v %s", err, w.Body)
	}
	if w := s.call("DELETE", "/items/b", ""); w.Code != 204 {
		t.Error(w.Code, w.Body)
	}
	if w := s.call("GET", "/items/b", ""); w.Code != 404 {
		t.Error(w.Body)
	}
	if w := s.call("PUT", "/users/u", `{"fields":{"country":"de"}}`); w.Code != 204 {
		t.Error(w.Code, w.Body)
	}
	seed(t, s)
	if w := s.call("DELETE", "/users/u", ""); w.Code != 204 {
		t.Error(w.Code, w.Body)
	}
	schema, err := ranker.NewSchema(nil)
	if err != nil {
		t.Fatal(err)
	}
	st, err := s.store.Read(t.Context(), &ranker.FeatureQuery{User: "u", Schema: schema})
	if err != nil || len(st.Recent) != 0 || len(st.UserFields) != 0 {
		t.Errorf("the erased user still has %+v (%v)", st, err)
	}
}
