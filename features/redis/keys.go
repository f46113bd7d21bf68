package redis

import (
	"fmt"
	"strings"

	"github.com/cespare/xxhash/v2"

	"relish/features"
)

// Keys, after "relish:" (or TENANT:relish:) and the configuration's hash, so that replicas which count
// otherwise never read each other's counters:
//
//	{B}u:HASH    a user's state, by features.UserHash
//	{B}i:ID      an item's state
//	{B}c:ID      an item's content
//	{B}d:HASH    who counted an event, by the event id's hash
//	{B}p:R       replica R's part of the tables
//	{00}replicas all replicas
//	{00}changes  a stream of what changed: items' contents, forgotten users
//
// B is one of 256 buckets, two hex digits: what is read together lies together, whatever the cluster.
type keys struct{ prefix [buckets]string }

const buckets = 256

func newKeys(prefix string, layout uint64) *keys {
	k := &keys{}
	for b := range k.prefix {
		k.prefix[b] = fmt.Sprintf("%s%08x:{%02x}", tenantPrefix(prefix), uint32(layout), b)
	}
	return k
}

func bucket(id string) int { return int(xxhash.Sum64String(id) % buckets) }

func (k *keys) user(hash string) string  { return k.prefix[bucket(hash)] + "u:" + hash }
func (k *keys) item(id string) string    { return k.prefix[bucket(id)] + "i:" + id }
func (k *keys) content(id string) string { return k.prefix[bucket(id)] + "c:" + id }
func (k *keys) claim(eventID string) string {
	h := xxhash.Sum64String(eventID)
	return fmt.Sprintf("%sd:%016x", k.prefix[h%buckets], h)
}
func (k *keys) counterPart(replica string) string { return k.prefix[bucket(replica)] + "p:" + replica }
func (k *keys) replicas() string                  { return k.prefix[0] + "replicas" }
func (k *keys) changes() string                   { return k.prefix[0] + "changes" }

// pattern matches all keys of one kind.
func (k *keys) pattern(kind string) string {
	return escapeGlob(strings.TrimSuffix(k.prefix[0], "{00}")) + "{*}" + kind + "*"
}

// statePattern matches all keys of a tenant, whatever the configuration, but for who counted which event.
func statePattern(prefix string) string {
	return escapeGlob(tenantPrefix(prefix)) + "????????:{??}[^d]*"
}

func tenantPrefix(prefix string) string {
	if prefix != "" {
		prefix += ":"
	}
	return prefix + "relish:"
}

func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(s)
}

// entityKey names a user by hash or an item by id.
type entityKey struct {
	user bool
	id   string
}

func userKey(id string) entityKey { return entityKey{true, features.UserHash(id)} }
func itemKey(id string) entityKey { return entityKey{false, id} }
func (k *keys) state(e entityKey) string {
	if e.user {
		return k.user(e.id)
	}
	return k.item(e.id)
}
