package redistest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Cluster is a running Redis Cluster. Nodes holds the primaries first, then the replicas.
type Cluster struct{ Nodes []*Server }

const slots = 16384 // of a Redis Cluster

// StartCluster runs a cluster of n primaries, each with the given number of replicas.
func StartCluster(t testing.TB, n, replicas int) *Cluster {
	t.Helper()
	c := &Cluster{}
	for range n * (1 + replicas) {
		c.Nodes = append(c.Nodes, Start(t, "--cluster-enabled", "yes",
			"--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "1000"))
	}
	for i, node := range c.Nodes[:n] {
		node.Do("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*slots/n), strconv.Itoa((i+1)*slots/n-1))
		node.Do("CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
	}
	for _, node := range c.Nodes[1:] {
		node.Do("CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(c.Nodes[0].Port))
	}
	waitFor(t, "cluster nodes know each other", c.allKnown)
	for i, node := range c.Nodes[n:] {
		id := nodeID(c.Nodes[i%n])
		waitFor(t, "a node replicates", func() bool {
			out, err := node.Try("CLUSTER", "REPLICATE", id)
			return err == nil && strings.HasPrefix(out, "+")
		})
		waitFor(t, "a replica is connected", func() bool {
			return strings.Contains(node.Do("INFO", "replication"), "master_link_status:up")
		})
	}
	waitFor(t, "the cluster is up", c.isUp)
	return c
}

// allKnown reports whether every node knows every other one.
func (c *Cluster) allKnown() bool {
	return c.infoContains(fmt.Sprintf("cluster_known_nodes:%d\r", len(c.Nodes)))
}

func (c *Cluster) isUp() bool { return c.infoContains("cluster_state:ok") }

// infoContains reports whether the reply of every node to CLUSTER INFO contains a text.
func (c *Cluster) infoContains(text string) bool {
	for _, n := range c.Nodes {
		if out, err := n.Try("CLUSTER", "INFO"); err != nil || !strings.Contains(out, text) {
			return false
		}
	}
	return true
}

func waitFor(t testing.TB, what string, ready func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ready(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("this did not happen within a minute: %s", what)
		}
	}
}

// URL returns the cluster's address as redisconn.Open takes it.
func (c *Cluster) URL() string {
	var hosts []string
	for _, n := range c.Nodes {
		hosts = append(hosts, n.Addr)
	}
	return "redis-cluster://" + strings.Join(hosts, ",")
}

// MoveSlot moves a hash slot with its keys from one node to another, key by key, as redis-cli
// --cluster reshard does. Clients use the cluster meanwhile.
func (c *Cluster) MoveSlot(slot int, from, to *Server) {
	number, source, target := strconv.Itoa(slot), nodeID(from), nodeID(to)
	to.Do("CLUSTER", "SETSLOT", number, "IMPORTING", source)
	from.Do("CLUSTER", "SETSLOT", number, "MIGRATING", target)
	for {
		key, found := strings.CutPrefix(from.Do("CLUSTER", "GETKEYSINSLOT", number, "1"), "*1\r\n")
		if !found {
			break
		}
		key = strings.TrimSuffix(key[strings.Index(key, "\r\n")+2:], "\r\n")
		from.Do("MIGRATE", "127.0.0.1", strconv.Itoa(to.Port), key, "0", "60000")
	}
	to.Do("CLUSTER", "SETSLOT", number, "NODE", target)
	from.Do("CLUSTER", "SETSLOT", number, "NODE", target)
}

// KeySlot returns the hash slot of a key.
func (c *Cluster) KeySlot(key string) int {
	reply := c.Nodes[0].Do("CLUSTER", "KEYSLOT", key)
	slot, err := strconv.Atoi(strings.Trim(reply, ":\r\n"))
	if err != nil {
		c.Nodes[0].t.Fatal(err)
	}
	return slot
}

func nodeID(s *Server) string { return strings.Split(s.Do("CLUSTER", "MYID"), "\r\n")[1] }

// StartSentinel runs a Sentinel that watches the primary under the name "relish". The primary must
// have one connected replica. StartSentinel returns when the Sentinel knows both.
func StartSentinel(t testing.TB, primary *Server) (url string) {
	t.Helper()
	port := FreePort(t)
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf(`port %d
bind 127.0.0.1
sentinel monitor relish 127.0.0.1 %d 1
sentinel down-after-milliseconds relish 500
sentinel failover-timeout relish 2000
`, port, primary.Port)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("redis-server", conf, "--sentinel")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	s := &Server{t: t, Addr: fmt.Sprintf("127.0.0.1:%d", port)}
	waitFor(t, "the sentinel knows the replica", func() bool {
		out, err := s.Try("SENTINEL", "REPLICAS", "relish")
		return err == nil && strings.HasPrefix(out, "*1\r\n")
	})
	return fmt.Sprintf("redis-sentinel://%s/relish", s.Addr)
}
