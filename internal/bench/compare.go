package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// CompareOptions says which two services to compare. Of Options, URL, Key and Rate are not used.
type CompareOptions struct {
	Options
	// Services are the two services. The errors call the address of the first one --url, and that
	// of the second one --against.
	Services [2]Service
	// PIDs are their processes on this machine; 0 means that it is not known.
	PIDs [2]int
}

// Comparison is the comparison of two services for one number of candidates. Arrays have the first
// service's value, then the second one's.
type Comparison struct {
	Candidates int `json:"candidates"`
	// Compared is how many different requests were sent to both services and read in full.
	// Complete is how many of their answers had every candidate exactly once. EqualOrder is how
	// often both services gave the same order.
	Compared   int    `json:"compared"`
	Complete   [2]int `json:"complete"`
	EqualOrder int    `json:"equal_order"`
	// RSS is the memory of the processes in bytes after the loads, 0 if it is not known.
	RSS   [2]int64       `json:"rss_bytes"`
	Loads []ComparedLoad `json:"loads"` // one for each number of connections
}

// ComparedLoad is one load, sent to both services in turns. Each connection sends a request when
// the last one is answered.
type ComparedLoad struct {
	Connections int            `json:"connections"`
	Services    [2]ServiceLoad `json:"services"`
	// How many times better the first service is: less latency, more requests a second, less
	// processor time. CPURatio is 0 if a processor time is not known.
	P50Ratio  Ratio   `json:"p50_ratio"`
	RateRatio Ratio   `json:"requests_per_second_ratio"`
	CPURatio  float64 `json:"cpu_ratio"`
}

// ServiceLoad is what one service did with a load. P50, P99 and Rate are medians over its blocks.
type ServiceLoad struct {
	Requests int64   `json:"requests"` // complete answers
	Errors   int64   `json:"errors"`   // requests with no answer, another status or missing items
	P50      float64 `json:"p50_us"`
	P99      float64 `json:"p99_us"`
	Rate     float64 `json:"requests_per_second"`
	// CPU is the processor time of the service for one complete answer in microseconds, 0 if it is
	// not known.
	CPU float64 `json:"cpu_us_per_request"`
	// Degraded is the share of the complete answers that used a fallback. The dialect of Metarank
	// does not tell; it is 0 then.
	Degraded float64 `json:"degraded"`
}

// Ratio is a ratio of the services' figures: the median and the quartiles over the pairs of
// adjacent blocks. What slows the machine for a while slows both blocks of a pair.
type Ratio struct {
	Median float64 `json:"median"`
	Q1     float64 `json:"q1"`
	Q3     float64 `json:"q3"`
}

// comparedPairs is how many times a load is sent to one service and then to the other. One more
// pair, not counted, comes first.
const comparedPairs = 10

// comparedConnections are the numbers of connections that are measured.
var comparedConnections = []int{1, 4}

// Compare sends the same rankings to two services in turns, for opt.Duration to each service and
// number of connections. It fails if an address is not valid, a service does not rank or ctx ends.
func Compare(ctx context.Context, opt CompareOptions) (*Comparison, error) {
	rankings := opt.drawRankings()
	to, err := opt.targets(rankings, 0)
	if err != nil {
		return nil, err
	}
	c := &Comparison{Candidates: opt.Candidates}
	if err := c.compareAnswers(ctx, &opt, rankings); err != nil {
		return nil, err
	}
	for _, connections := range comparedConnections {
		load, err := opt.compareLoad(ctx, to, connections)
		if err != nil {
			return nil, err
		}
		c.Loads = append(c.Loads, load)
	}
	for s, pid := range opt.PIDs {
		c.RSS[s] = residentMemory(pid)
	}
	return c, nil
}

// targets encodes the rankings for both services.
func (opt *CompareOptions) targets(
	rankings []ranking, deadline time.Duration,
) (to [2]*target, err error) {
	for s, flag := range []string{"--url", "--against"} {
		if to[s], err = opt.Services[s].target(flag, rankings, deadline); err != nil {
			return to, err
		}
	}
	return to, nil
}

// compareAnswers sends each ranking to both services once, and reads the answers in full. The
// deadline is long, so that no order is that of a fallback. It fails if a service does not answer
// with a ranking: a load would measure nothing.
func (c *Comparison) compareAnswers(
	ctx context.Context, opt *CompareOptions, rankings []ranking,
) error {
	to, err := opt.targets(rankings, longDeadline)
	if err != nil {
		return err
	}
	connections := [2]*connection{{host: to[0].host}, {host: to[1].host}}
	defer connections[0].disconnect()
	defer connections[1].disconnect()
	for r := range rankings {
		var orders [2][]string
		for s := range to {
			status, data, err := connections[s].exchange(ctx, to[s].requests[r])
			if err == nil {
				orders[s], err = readOrder(status, data)
			}
			if err != nil {
				return errors.Join(ctx.Err(), fmt.Errorf("%s: %w", opt.Services[s].URL, err))
			}
			if isPermutation(orders[s], rankings[r].candidates) {
				c.Complete[s]++
			}
		}
		c.Compared++
		if slices.Equal(orders[0], orders[1]) {
			c.EqualOrder++
		}
	}
	return nil
}

// maxShownAnswer is how many bytes of an unexpected answer an error shows.
const maxShownAnswer = 300

// readOrder returns the ids of an answer in their order. Metarank calls an id item, Relish id.
func readOrder(status int, data []byte) ([]string, error) {
	var answer struct {
		Items []struct{ ID, Item string }
	}
	if status != http.StatusOK || json.Unmarshal(data, &answer) != nil {
		return nil, fmt.Errorf("answered a ranking with status %d: %s", status,
			data[:min(len(data), maxShownAnswer)])
	}
	ids := make([]string, len(answer.Items))
	for i, item := range answer.Items {
		ids[i] = item.ID + item.Item
	}
	return ids, nil
}

func isPermutation(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// compareLoad sends one load to both services in turns.
func (opt *CompareOptions) compareLoad(
	ctx context.Context, to [2]*target, connections int,
) (ComparedLoad, error) {
	load := ComparedLoad{Connections: connections}
	var loads [2]*closedLoad
	for s := range to {
		loads[s] = newClosedLoad(to[s], connections, opt.Candidates, opt.PIDs[s])
		loads[s].tellsDegraded = opt.Services[s].Dialect != Metarank
	}
	defer loads[0].disconnect()
	defer loads[1].disconnect()
	var blocks [2][]block
	for pair := range comparedPairs + 1 {
		for s := range to {
			b, err := loads[s].send(ctx, opt.Duration/comparedPairs)
			if err != nil {
				return load, err
			}
			if pair > 0 {
				blocks[s] = append(blocks[s], b)
			}
		}
	}
	for s := range to {
		load.Services[s] = summarize(blocks[s])
	}
	load.P50Ratio = newRatio(blocks[1], blocks[0], block.p50)
	load.RateRatio = newRatio(blocks[0], blocks[1], block.rate)
	if a, b := load.Services[0].CPU, load.Services[1].CPU; a > 0 && b > 0 {
		load.CPURatio = b / a
	}
	return load, nil
}

// summarize returns the figures of a service's blocks.
func summarize(blocks []block) ServiceLoad {
	var out ServiceLoad
	var cpu time.Duration
	var degraded int64
	for _, b := range blocks {
		out.Requests += int64(len(b.took))
		out.Errors += b.errors
		cpu += b.cpu
		degraded += b.degraded
	}
	out.P50 = median(blocks, block.p50)
	out.P99 = median(blocks, block.p99)
	out.Rate = median(blocks, block.rate)
	if out.Requests > 0 {
		out.CPU = float64(cpu.Microseconds()) / float64(out.Requests)
		out.Degraded = float64(degraded) / float64(out.Requests)
	}
	return out
}

func median(blocks []block, figure func(block) float64) float64 {
	values := make([]float64, len(blocks))
	for i, b := range blocks {
		values[i] = figure(b)
	}
	return quantile(values, 0.5)
}

// newRatio returns the ratio of a figure in adjacent blocks. Pairs without it, in which a service
// gave no complete answer, are left out.
func newRatio(over, under []block, figure func(block) float64) Ratio {
	var ratios []float64
	for i := range over {
		if a, b := figure(over[i]), figure(under[i]); a > 0 && b > 0 {
			ratios = append(ratios, a/b)
		}
	}
	return Ratio{
		Median: quantile(ratios, 0.5), Q1: quantile(ratios, 0.25), Q3: quantile(ratios, 0.75),
	}
}
