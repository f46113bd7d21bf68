package bench_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"relish/internal/bench"
)

// fakeService answers rankings in either dialect, and keeps what it was asked.
type fakeService struct {
	*httptest.Server
	reverse  bool          // the order of the answers
	degraded bool          // the answers say that they used a fallback
	lose     *atomic.Int64 // each answer after this many lacks an item
	busy     *atomic.Int64 // requests under way, at both services
	other    *atomic.Int64 // requests under way at the other service
	overlaps *atomic.Int64 // requests that came while the other service was busy

	mu       sync.Mutex
	paths    map[string]int
	asked    []string // user and candidates of each request
	recorded int      // requests that are to be recorded
}

func newFakeService(t *testing.T) *fakeService {
	s := &fakeService{paths: map[string]int{}, lose: new(atomic.Int64), busy: new(atomic.Int64),
		other: new(atomic.Int64), overlaps: new(atomic.Int64)}
	s.lose.Store(1 << 40)
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *fakeService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.busy.Add(1)
	defer s.busy.Add(-1)
	if s.other.Load() > 0 {
		s.overlaps.Add(1)
	}
	data, _ := io.ReadAll(r.Body)
	var relish struct {
		User       string `json:"user_id"`
		Candidates []string
		Record     bool
	}
	var metarank struct {
		User  string
		Items []struct{ ID string }
	}
	isMetarank := strings.HasPrefix(r.URL.Path, "/rank/")
	if isMetarank {
		_ = json.Unmarshal(data, &metarank)
		relish.User = metarank.User
		for _, item := range metarank.Items {
			relish.Candidates = append(relish.Candidates, item.ID)
		}
	} else {
		_ = json.Unmarshal(data, &relish)
	}
	s.mu.Lock()
	s.paths[r.URL.Path]++
	if relish.Record {
		s.recorded++
	}
	s.asked = append(s.asked, fmt.Sprint(relish.User, relish.Candidates))
	n := len(s.asked)
	s.mu.Unlock()

	order := slices.Clone(relish.Candidates)
	if s.reverse {
		slices.Reverse(order)
	}
	if int64(n) > s.lose.Load() {
		order = order[1:]
	}
	id := "id"
	if isMetarank {
		id = "item"
	}
	items := make([]string, len(order))
	for i := range order {
		items[i] = fmt.Sprintf(`{%q:%q,"score":1}`, id, order[i])
	}
	fallbacks := ""
	if s.degraded {
		fallbacks = `"embeddings_partial"`
	}
	fmt.Fprintf(w, `{"items":[%s],"degraded":[%s]}`, strings.Join(items, ","), fallbacks)
}

// differentRequests is how many rankings are drawn.
const differentRequests = 64

func compareOptions(a, b *fakeService) bench.CompareOptions {
	users := make([]string, 50)
	for i := range users {
		users[i] = fmt.Sprintf("user-%d", i)
	}
	return bench.CompareOptions{
		Options: bench.Options{
			Users: users, Items: []string{"a", "b", "c", "d", "e", "f"}, Candidates: 5,
			Duration: 20 * time.Millisecond,
		},
		Services: [2]bench.Service{{URL: a.URL}, {URL: b.URL}},
	}
}

// Both services rank the same candidates for the same users, one service after the other.
func TestCompare(t *testing.T) {
	a, b := newFakeService(t), newFakeService(t)
	a.other, b.other = b.busy, a.busy
	b.reverse, b.degraded = true, true
	opt := compareOptions(a, b)
	opt.Services[1].Dialect, opt.Services[1].Model = bench.Metarank, "m"
	opt.PIDs, opt.Record = [2]int{os.Getpid(), 0}, true
	c, err := bench.Compare(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	if c.Candidates != 5 || c.Compared != differentRequests || c.EqualOrder != 0 ||
		c.Complete != [2]int{differentRequests, differentRequests} ||
		c.RSS[0] <= 0 || c.RSS[1] != 0 || len(c.Loads) != 2 {
		t.Errorf("%+v", c)
	}
	if !slices.Equal(a.asked[:differentRequests], b.asked[:differentRequests]) {
		t.Error("the services were asked for other rankings")
	}
	if len(a.paths) != 1 || a.paths["/recommend"] == 0 ||
		len(b.paths) != 1 || b.paths["/rank/m"] == 0 {
		t.Errorf("%v, %v", a.paths, b.paths)
	}
	if a.recorded != a.paths["/recommend"] {
		t.Errorf("%d of %d rankings are to be recorded", a.recorded, a.paths["/recommend"])
	}
	if a.overlaps.Load()+b.overlaps.Load() != 0 {
		t.Error("both services had requests at once")
	}
	for i, connections := range []int64{1, 4} {
		l := c.Loads[i]
		if int64(l.Connections) != connections || l.CPURatio != 0 {
			t.Errorf("%+v", l)
		}
		for s, load := range l.Services {
			// At least one request over each connection in each of ten blocks.
			if load.Requests < 10*connections || load.Errors != 0 || load.P50 <= 0 ||
				load.P99 < load.P50 || load.Rate <= 0 || load.Degraded != 0 {
				t.Errorf("service %d: %+v", s, load)
			}
		}
		for _, r := range []bench.Ratio{l.P50Ratio, l.RateRatio} {
			if r.Q1 <= 0 || r.Median < r.Q1 || r.Q3 < r.Median {
				t.Errorf("%+v", r)
			}
		}
	}
}

// An answer without all candidates is an error, and a degraded one is told.
func TestCompareCountsIncompleteAnswers(t *testing.T) {
	a, b := newFakeService(t), newFakeService(t)
	a.degraded = true
	b.lose.Store(10)
	c, err := bench.Compare(t.Context(), compareOptions(a, b))
	if err != nil {
		t.Fatal(err)
	}
	if c.Complete != [2]int{differentRequests, 10} || c.EqualOrder != 10 {
		t.Errorf("%+v", c)
	}
	for _, l := range c.Loads {
		good, bad := l.Services[0], l.Services[1]
		if good.Errors != 0 || good.Degraded != 1 || bad.Requests != 0 || bad.Errors == 0 ||
			bad.P50 != 0 || l.P50Ratio != (bench.Ratio{}) {
			t.Errorf("%+v", l)
		}
	}
}

// A service that does not rank at all ends the comparison, with what it answered.
func TestCompareFails(t *testing.T) {
	a, b := newFakeService(t), newFakeService(t)
	opt := compareOptions(a, b)
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no such model", http.StatusNotFound)
	}))
	t.Cleanup(refusing.Close)
	opt.Services[1].URL = refusing.URL
	_, err := bench.Compare(t.Context(), opt)
	if err == nil || !strings.Contains(err.Error(), refusing.URL) ||
		!strings.Contains(err.Error(), "status 404: no such model") {
		t.Errorf("%v", err)
	}
	opt.Services[1].URL = "ftp://x"
	if _, err := bench.Compare(t.Context(), opt); err == nil ||
		!strings.Contains(err.Error(), "--against must be an address") {
		t.Errorf("%v", err)
	}
}

func TestListeningProcess(t *testing.T) {
	s := newFakeService(t)
	if pid, err := bench.ListeningProcess(t.Context(), s.URL); err != nil || pid != os.Getpid() {
		t.Errorf("%d %v, want %d", pid, err, os.Getpid())
	}
	s.Close()
	if pid, err := bench.ListeningProcess(t.Context(), s.URL); err == nil {
		t.Errorf("process %d listens at the address of a closed server", pid)
	}
}
