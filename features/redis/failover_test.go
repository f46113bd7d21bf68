package redis_test

import (
	"fmt"
	"testing"

	"relish/internal/redistest"
)

// The primary dies and a replica takes over, by Sentinel or in a cluster. Writes continue
// afterwards, and what the replica had not received is applied again.
func TestFailover(t *testing.T) {
	t.Run("sentinel", func(t *testing.T) {
		primary := redistest.Start(t)
		redistest.Start(t, "--replicaof", "127.0.0.1 "+fmt.Sprint(primary.Port))
		url := redistest.StartSentinel(t, primary)
		eventually(t, "the replica is connected", func() bool {
			return primary.Info("replication", "connected_slaves") == 1
		})
		failOver(t, warmService(t, url), primary)
	})
	t.Run("cluster", func(t *testing.T) {
		c := redistest.StartCluster(t, 3, 1)
		failOver(t, warmService(t, c.URL()), c.Nodes[1])
	})
}

// failOver adds clicks before the primary dies, until the outage is noticed, and after it.
func failOver(t *testing.T, svc *service, primary *redistest.Server) {
	t.Helper()
	svc.startLoad(t)
	clicks := 0
	addClicks := func(n int) {
		for range n {
			svc.add(t, click(fmt.Sprint("click", clicks), "u", svc.ids[clicks%len(svc.ids)]))
			clicks++
		}
	}
	addClicks(10)
	before := svc.Stats().Outages
	primary.Kill()
	eventually(t, "the outage is noticed", func() bool {
		addClicks(1)
		return svc.Stats().Outages > before
	})
	addClicks(20)
	svc.waitComplete(t)
	addClicks(10)
	svc.waitFlushed(t)
	svc.stopLoad()
	checkClicksCountOnce(t, svc, svc.ids)
}
