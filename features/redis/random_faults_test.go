package redis_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"relish/features"
	"relish/features/ingest"
	"relish/features/redis"
	"relish/features/storetest"
	"relish/internal/redistest"
	"relish/ranker"
)

// faultSeeds is how many runs TestRandomFaults makes, faultSeed the seed of the first one.
var (
	faultSeeds = flag.Int("fault-seeds", 3, "runs of TestRandomFaults")
	faultSeed  = flag.Uint64("fault-seed", 1, "seed of the first run of TestRandomFaults")
)

// chaos is some replicas on a Redis with a standby, and what goes wrong with them.
type chaos struct {
	t               *testing.T
	rng             *rand.Rand
	primary, backup *redistest.Server
	replicas        []*testStore
	proxies         []*redistest.Proxy // one for each replica
	items           []ranker.Event     // descriptions of the items
	settled         int                // calls of settle
	events          []ranker.Event     // that are still to be sent
	trace           []string           // what was done, for a failed run
}

func newChaos(t *testing.T, seed uint64) *chaos {
	rng := rand.New(rand.NewPCG(seed, seed))
	c := &chaos{t: t, rng: rng, events: storetest.RandomEvents(rng, 400)}
	c.primary, c.backup = redistest.Start(t), redistest.Start(t)
	c.follow()
	for range 3 {
		proxy := redistest.StartProxy(t, c.primary)
		s := open(t, proxy.URL(), t.TempDir(), storetest.Config(), redis.Options{
			ReadTimeout: time.Minute,
		})
		c.proxies, c.replicas = append(c.proxies, proxy), append(c.replicas, s)
	}
	c.describeItems()
	return c
}

// follow makes the backup a replica of the primary, with all that the primary has now: a server
// with the data of long ago must not take over.
func (c *chaos) follow() {
	c.backup.Do("REPLICAOF", "127.0.0.1", fmt.Sprint(c.primary.Port))
	eventually(c.t, "the standby follows", func() bool {
		info := c.backup.Do("INFO", "replication")
		return strings.Contains(info, "master_link_status:up") &&
			strings.Contains(info, "master_sync_in_progress:0")
	})
}

// describeItems sends the items to each replica. Which values of fields an event counts depends on
// the items' contents at that moment. So each log must have them before everything else, because
// the replicas apply their logs again side by side when Redis has lost everything.
func (c *chaos) describeItems() {
	const items = 8 // of storetest.RandomEvents
	c.items, c.events = c.events[:items], c.events[items:]
	for range c.items {
		c.settle()
	}
}

// settle waits until every replica has repaired what faults have done. Each gets an event that
// changes nothing: with it, the replica looks at what Redis has.
func (c *chaos) settle() {
	for _, s := range c.replicas {
		e := c.items[c.settled%len(c.items)]
		e.ID = fmt.Sprint("settle-", c.settled, s.Replica())
		s.add(c.t, e)
	}
	c.settled++
	for _, s := range c.replicas {
		s.waitFlushed(c.t)
	}
}

// send sends the next n events, each to a random replica. A tenth goes to a second one as well.
func (c *chaos) send(n int) {
	for range min(n, len(c.events)) {
		e := c.events[0]
		c.events = c.events[1:]
		to := c.rng.Perm(len(c.replicas))[:1+c.rng.IntN(10)/9]
		for _, i := range to {
			c.replicas[i].add(c.t, e)
		}
	}
}

// faults are what can happen between two events, by name.
var faults = map[string]func(*chaos){
	"the primary loses everything": func(c *chaos) {
		c.primary.Do("FLUSHALL")
		waitReplicated(c.t, c.primary, c.backup) // a standby must not bring back what was lost
	},
	"the primary restarts empty": func(c *chaos) {
		c.primary.Kill()
		c.send(c.rng.IntN(20))
		c.primary.Start()
		c.follow()
	},
	"the primary freezes": func(c *chaos) {
		c.primary.Pause()
		c.send(c.rng.IntN(20))
		c.primary.Resume()
	},
	"the standby takes over": func(c *chaos) {
		c.backup.Do("REPLICAOF", "NO", "ONE")
		c.send(c.rng.IntN(20)) // the standby does not get these
		for _, p := range c.proxies {
			p.SwitchTo(c.backup)
		}
		c.primary, c.backup = c.backup, c.primary
		c.follow()
	},
	"replicas see different primaries": func(c *chaos) {
		c.backup.Do("REPLICAOF", "NO", "ONE")
		c.proxies[0].SwitchTo(c.backup)
		c.send(c.rng.IntN(20))
		for _, p := range c.proxies {
			p.SwitchTo(c.primary)
		}
		c.follow()
	},
	"a replica is cut off": func(c *chaos) {
		i := c.rng.IntN(len(c.proxies))
		c.proxies[i].SetFault(redistest.Fault{Silent: true})
		c.send(c.rng.IntN(20))
		c.proxies[i].SetFault(redistest.Fault{})
	},
	"replies are cut": func(c *chaos) {
		i := c.rng.IntN(len(c.proxies))
		c.proxies[i].SetFault(redistest.Fault{CutAfter: 1 + c.rng.IntN(2000)})
		c.send(c.rng.IntN(20))
		c.proxies[i].SetFault(redistest.Fault{})
	},
	"a replica restarts": func(c *chaos) {
		s := c.replicas[c.rng.IntN(len(c.replicas))]
		s.close(c.t)
		s.reopen(c.t)
	},
	"the claims expire": func(c *chaos) {
		c.settle() // they live an hour, and no replica was cut off for so long
		c.deleteKeys("}d:")
	},
	"the counters vanish": func(c *chaos) { c.deleteKeys("}p:") },
}

func (c *chaos) deleteKeys(kind string) {
	for _, key := range keysOf(c.t, c.primary) {
		if strings.Contains(key, kind) {
			c.primary.Do("DEL", key)
		}
	}
}

// Random faults hit replicas of Relish and of Redis while events come. In the end every replica
// has exactly what one server counts that reads their logs one after the other.
func TestRandomFaults(t *testing.T) {
	for i := range *faultSeeds {
		seed := *faultSeed + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			c := newChaos(t, seed)
			defer func() {
				if t.Failed() {
					t.Logf("the faults were: %s", strings.Join(c.trace, "; "))
				}
			}()
			names := slices.Sorted(maps.Keys(faults))
			for len(c.events) > 0 {
				c.send(c.rng.IntN(30))
				name := names[c.rng.IntN(len(names))]
				c.trace = append(c.trace, name)
				faults[name](c)
				if c.rng.IntN(2) == 0 { // the next fault comes while this one is being repaired
					c.replicas[c.rng.IntN(len(c.replicas))].waitFlushed(t)
				}
			}
			c.checkCounts()
		})
	}
}

// checkCounts compares each replica with a sequential replay of the merged logs.
func (c *chaos) checkCounts() {
	c.t.Helper()
	var logs []string
	for _, s := range c.replicas {
		s.waitFlushed(c.t)
		logs = append(logs, ingest.LogDir(s.dir))
	}
	want := features.New(storetest.Config())
	conflicts := func(n int) { c.t.Errorf("%d ids have two events", n) }
	for rec, err := range ingest.ReadLogs(1000, conflicts, logs...) {
		if err != nil {
			c.t.Fatal(err)
		}
		want.Apply(&rec)
	}
	schema := storetest.AllCountersSchema(c.t)
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	for i, s := range c.replicas {
		for !sameState(c.t, schema, want, s) {
			if ctx.Err() != nil {
				c.t.Fatalf("a minute after the last fault, replica %d does not have what the "+
					"logs add up to", i)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}
