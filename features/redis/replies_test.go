package redis_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"relish/internal/redistest"
	"relish/ranker"
)

// While Redis replies with errors, events are acknowledged and rankings use local copies.
func TestErrorReplies(t *testing.T) {
	type command = []string
	for name, c := range map[string]struct {
		start []command
		end   command
		reads bool // reads still work
	}{
		"out of memory": {
			start: []command{{"CONFIG", "SET", "maxmemory", "1mb"}},
			end:   command{"CONFIG", "SET", "maxmemory", "0"},
			reads: true,
		},
		"read-only": {
			start: []command{{"REPLICAOF", "127.0.0.1", "1"}},
			end:   command{"REPLICAOF", "NO", "ONE"},
			reads: true,
		},
		"master down": {
			start: []command{
				{"CONFIG", "SET", "replica-serve-stale-data", "no"},
				{"REPLICAOF", "127.0.0.1", "1"},
			},
			end: command{"REPLICAOF", "NO", "ONE"},
		},
		"no authentication": {
			start: []command{{"CONFIG", "SET", "requirepass", "secret"}},
			end:   command{"CONFIG", "SET", "requirepass", ""},
		},
		"busy": {
			start: []command{{"CONFIG", "SET", "busy-reply-threshold", "10"}},
			end:   command{"SCRIPT", "KILL"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			svc := warmService(t, server.URL())
			for _, cmd := range c.start {
				server.Do(cmd...)
			}
			var script sync.WaitGroup
			switch name {
			case "no authentication":
				server.Auth = "secret"
				server.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
			case "busy":
				// The script runs until SCRIPT KILL.
				script.Go(func() { _, _ = server.Try("EVAL", "while true do end", "0") })
				eventually(t, "the server is busy", func() bool {
					out, err := server.Try("PING")
					return err == nil && strings.HasPrefix(out, "-BUSY")
				})
			}
			svc.add(t, click("e", "u", "item-0"))
			for range 20 {
				svc.rank(t)
				st := svc.read(t, query(t, "u", svc.ids))
				if st.ItemsRead != len(svc.ids) {
					t.Errorf("%d of %d items could be read", st.ItemsRead, len(svc.ids))
				}
			}
			if c.reads {
				eventually(t, "Redis is still asked", func() bool {
					before := svc.Stats().RoundTrips
					svc.rank(t)
					return svc.Stats().RoundTrips > before
				})
			}
			eventually(t, "answers say that they are stale", func() bool {
				return slices.Contains(svc.rank(t).degraded, ranker.FeaturesStale)
			})
			server.Do(c.end...)
			script.Wait()
			server.Auth = ""
			svc.waitComplete(t)
			svc.waitFlushed(t)
		})
	}
}

// A damaged value, or one that something else wrote under our keys, counts as missing and is
// counted. The next event rewrites it.
func TestDamagedValues(t *testing.T) {
	server := redistest.Start(t)
	s := openReplicas(t, server.URL(), 1)[0]
	ids := addItems(t, s, 8)
	isEntity := func(key string) bool {
		return strings.Contains(key, "}i:") || strings.Contains(key, "}u:") ||
			strings.Contains(key, "}c:")
	}
	for i, key := range keysOf(t, server) {
		if !isEntity(key) {
			continue
		}
		switch i % 3 {
		case 0:
			server.Do("SET", key, strings.Repeat("x", 5+i))
		case 1:
			server.Do("DEL", key)
			server.Do("LPUSH", key, "x")
		case 2:
			server.Do("SETRANGE", key, "20", "\xff\xfe\xfd")
		}
	}
	other := openReplicas(t, server.URL(), 1)[0] // has no local copies
	if st := other.read(t, query(t, "u", ids)); st.ItemsRead != len(ids) {
		t.Errorf("%d of %d items could be read", st.ItemsRead, len(ids))
	}
	if other.Stats().Invalid == 0 {
		t.Error("damaged values are not counted")
	}
	for i, id := range ids {
		other.add(t, itemWithTitle(fmt.Sprint("again", i), id, "new title"),
			click(fmt.Sprint("more", i), "u", id))
	}
	st := other.read(t, query(t, "u", ids))
	for i := range ids {
		rewritten := st.Items[i] != nil && st.Items[i].Title() == "new title"
		if !rewritten || st.Columns[3*i] == 0 {
			t.Errorf("item %d was not rewritten: %+v", i, st.Items[i])
		}
	}
}
