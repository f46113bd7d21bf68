package app

import (
	"context"
	"time"

	"relish/features/redis"
)

// Times of the job that compacts the tables of text vectors. The first run comes soon enough to
// happen between two deployments.
const (
	firstCompaction = 10 * time.Minute
	compactEvery    = 24 * time.Hour
)

// compactVectors removes the stored vectors of texts that no item has any more: once a day, until
// ctx ends. It passes each outcome to report.
func (a *App) compactVectors(ctx context.Context, report func(error)) {
	for wait := firstCompaction; ; wait = compactEvery {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if err := a.compactVectorsOnce(ctx); ctx.Err() == nil {
			report(err)
		}
	}
}

// compactVectorsOnce does nothing while Redis may lack items of the catalogue: their vectors would
// have to be computed again.
func (a *App) compactVectorsOnce(ctx context.Context) error {
	if shared, ok := a.engine.Store.(*redis.Store); ok && shared.Stats().Behind {
		return nil
	}
	dropped, err := a.engine.pool.Compact(ctx)
	switch {
	case err != nil && ctx.Err() == nil:
		a.log.Warn("cannot remove the vectors of texts that no item has any more; it is tried "+
			"again in a day", "error", err)
	case dropped > 0:
		a.log.Info("removed the vectors of texts that no item has any more", "vectors", dropped)
	}
	return err
}
