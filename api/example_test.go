package api_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus"

	"relish/api"
	"relish/features"
	"relish/features/embedded"
	"relish/ranker"
)

// A server needs a ranker, a store and a list of models. This ranker sorts the candidates by id.
func Example() {
	dir, err := os.MkdirTemp("", "relish")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	store, err := embedded.Open(dir, features.DefaultConfig(), embedded.Options{})
	if err != nil {
		panic(err)
	}
	defer store.Close()
	server, err := api.New(api.Options{
		Ranker: rankFunc(byID), EventSink: store, Catalogue: store, UserEraser: store,
		Models: &models{}, Registry: prometheus.NewRegistry(),
	})
	if err != nil {
		panic(err)
	}

	body := strings.NewReader(`{"user_id":"u1","candidates":["film-2","book-1"]}`)
	request := httptest.NewRequest(http.MethodPost, "/recommend", body)
	request.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	server.Handler().ServeHTTP(answer, request)
	var ranked struct {
		Items []struct {
			ID   string `json:"id"`
			Rank int    `json:"rank"`
		} `json:"items"`
	}
	if err := json.Unmarshal(answer.Body.Bytes(), &ranked); err != nil {
		panic(err)
	}
	for _, item := range ranked.Items {
		fmt.Println(item.Rank, item.ID)
	}
	// Output:
	// 1 book-1
	// 2 film-2
}

func byID(_ context.Context, req *ranker.Request) (*ranker.Response, error) {
	ids := make([]string, len(req.Candidates))
	for i, c := range req.Candidates {
		ids[i] = c.ID
	}
	slices.Sort(ids)
	resp := &ranker.Response{Model: "by id"}
	for i, id := range ids {
		resp.Items = append(resp.Items, ranker.RankedItem{ID: id, Rank: i + 1})
	}
	return resp, nil
}
