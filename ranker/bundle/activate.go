package bundle

import (
	"context"
	"fmt"
	"slices"
	"time"

	"relish/ranker"
)

// Activate loads a version and makes it the active one, for all servers that share the folder.
//
// Here it is served at once, unless it has a fine-tuned encoder that has not encoded all texts yet:
// then the model that was served stays until they are encoded. by and reason are recorded. Errors
// wrap ranker.ErrUnknownModel or ranker.ErrModelRefused; any other error means that the folder
// could not be written.
func (r *Registry) Activate(ctx context.Context, version, by, reason string) error {
	return r.change(ctx, func() (Activation, string, error) {
		return Activation{Version: version, By: by, Reason: reason}, "", nil
	})
}

// Rollback activates what was active before, and returns its version. Each further call goes back
// one more step. The errors are those of Activate, and ranker.ErrNoPreviousModel.
func (r *Registry) Rollback(ctx context.Context, by, reason string) (version string, err error) {
	err = r.change(ctx, func() (Activation, string, error) {
		h, err := readHistory(r.opt.Root)
		if err != nil {
			return Activation{}, "", err
		}
		if version = h.previousOf(h.active); version == "" {
			return Activation{}, "", ranker.ErrNoPreviousModel
		}
		return Activation{Version: version, By: by, Reason: reason, Rollback: true}, h.active, nil
	})
	return version, err
}

// change loads the version that plan returns, records it as active, and serves it. from is the
// version that must be active for a rollback.
func (r *Registry) change(
	ctx context.Context,
	plan func() (a Activation, from string, err error),
) error {
	unlock, err := r.acquireLock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	a, from, err := plan()
	if err != nil {
		return err
	}
	if err := r.load(ctx, a.Version, true); err != nil {
		return err
	}
	a.Time = time.Now().UTC()
	if err := activate(r.opt.Root, a, from); err != nil {
		return err
	}
	return r.sync(ctx)
}

// Require keeps the given versions loaded, in place of those of the previous call. It returns, by
// version, why a version cannot be ranked with. At most MaxRequired versions are loaded.
func (r *Registry) Require(ctx context.Context, versions []string) (failed map[string]error) {
	failed = map[string]error{}
	unlock, err := r.acquireLock(ctx)
	if err != nil {
		for _, v := range versions {
			failed[v] = err
		}
		return failed
	}
	defer unlock()
	versions = slices.Compact(slices.Sorted(slices.Values(versions)))
	n := min(len(versions), MaxRequired)
	for _, v := range versions[n:] {
		failed[v] = fmt.Errorf("%d bundles are required at once; the maximum is %d: use fewer in "+
			"experiments",
			len(versions), MaxRequired)
	}
	r.required = versions[:n]
	for _, v := range r.required {
		if err := r.load(ctx, v, true); err != nil {
			failed[v] = err
		}
	}
	if err := r.sync(ctx); err != nil {
		r.opt.Log.Warn("cannot read which bundle is active; the model in service stays",
			"error", err)
	}
	return failed
}
