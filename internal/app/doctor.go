package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"relish/api"
	"relish/features/eventlog"
	"relish/features/ingest"
	"relish/features/redis"
	"relish/internal/config"
	"relish/internal/plural"
	"relish/ranker"
	"relish/ranker/bundle"
)

// Finding is one thing that Doctor looked at.
type Finding struct {
	What   string `json:"what"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"` // what is there, or what is wrong
}

// Doctor checks the assets and a data folder, beside a running service. All fields but Bundles and
// Redis are required.
type Doctor struct {
	Data    string
	Bundles string // folder of the bundles; empty: "bundles" in the data folder
	Redis   string // URL of the Redis that replicas share; empty: there is none
	Encoder EncoderOptions
	Config  *config.Config
	Log     *slog.Logger

	findings []Finding
}

// Examine checks everything. It goes on after a failed check.
func (d *Doctor) Examine(ctx context.Context) []Finding {
	d.findings, d.Encoder.Data = nil, d.Data
	if !d.Encoder.NoText {
		detail, err := d.Encoder.CheckEncoder(ctx, d.Log)
		d.add("encoder", err, "%s", detail)
	}
	records, err := d.checkLog(ctx)
	tail := ""
	bytes, tailErr := eventlog.IncompleteTail(ingest.LogDir(d.Data))
	if bytes > 0 {
		tail = fmt.Sprintf("; then %d bytes of an incomplete record, which a crash cut off or a "+
			"server is writing", bytes)
	}
	d.add("event log", errors.Join(err, tailErr),
		"%s, sequence without gaps, checksums good%s", plural.Count(records, "record"), tail)
	pending, err := ingest.PendingErasures(d.Data)
	d.add("erasures", errors.Join(err, eventlog.CheckUserKeys(ingest.LogDir(d.Data))),
		"erased users whose events are still in the log: %d", pending)
	if d.Redis != "" {
		d.checkReplicas(ctx)
	}
	d.checkBundles(ctx)
	holder := ingest.LockHolder(d.Data)
	if holder == "" {
		d.add("lock", nil, "free")
	} else {
		d.add("lock", nil, "held by process %s", holder)
	}
	return d.findings
}

// add adds a finding: the error if there is one, else the formatted detail.
func (d *Doctor) add(what string, err error, format string, args ...any) {
	f := Finding{What: what, OK: err == nil, Detail: fmt.Sprintf(format, args...)}
	if err != nil {
		f.Detail = err.Error()
	}
	d.findings = append(d.findings, f)
}

// checkLog reads the whole event log and counts its records.
func (d *Doctor) checkLog(ctx context.Context) (records int, err error) {
	if err := CheckData("--data", filepath.Clean(d.Data)); err != nil {
		return 0, err
	}
	for _, err := range eventlog.Read(ingest.LogDir(d.Data), 1) {
		if err != nil {
			return records, fmt.Errorf("after %d records: %w", records, err)
		}
		if records++; ctx.Err() != nil {
			return records, ctx.Err()
		}
	}
	return records, nil
}

// checkReplicas says for each replica on the same Redis how far it is with erasures.
func (d *Doctor) checkReplicas(ctx context.Context) {
	store := StoreOptions{Redis: d.Redis}
	conn, err := store.connectChecked(ctx)
	if err != nil {
		d.add("redis", err, "")
		return
	}
	replicas, err := redis.ReadErasures(ctx, conn)
	d.add("redis", errors.Join(err, conn.Close()), "answers; replicas that said how far they are "+
		"with erasures: %d", len(replicas))
	for _, r := range replicas {
		d.add("erasures", nil, "replica %s: erased users whose events are still in its log: %d, "+
			"erasures that it has not heard of: %d; said %s", r.Replica, r.Pending, r.Missing,
			r.Seen.UTC().Format(time.RFC3339))
	}
}

// checkBundles verifies the files of every bundle, and probes the active one.
func (d *Doctor) checkBundles(ctx context.Context) {
	root := BundleFolder(d.Bundles, d.Data)
	versions, err := bundle.Versions(root)
	if os.IsNotExist(err) {
		d.add("bundles", nil, "none: the prior ranks")
		return
	}
	active, activeErr := bundle.Active(root)
	if err == nil {
		err = activeErr
	}
	d.add("bundles", err, "%d in %s; active: %s", len(versions), root, active)
	found := active == ranker.PriorVersion
	for _, version := range versions {
		if version == active {
			found = true
			d.add("bundle", d.checkActive(ctx, root, version),
				"%s: active; it reproduces its recorded scores", version)
			continue
		}
		_, err := bundle.Verify(filepath.Join(root, version))
		d.add("bundle", err, "%s: checksums good", version)
	}
	if !found && activeErr == nil {
		d.add("bundle", fmt.Errorf("the active bundle %s is not in the folder: activate another "+
			"one with POST /models/VERSION/activate", active), "")
	}
}

func (d *Doctor) checkActive(ctx context.Context, root, version string) error {
	dir := filepath.Join(root, version)
	if _, err := bundle.Verify(dir); err != nil {
		return err
	}
	if err := d.Encoder.ProbeBundle(ctx, dir, false); err != nil {
		return err
	}
	_, _, err := loadModel(ctx, root, version, nil, nil, d.Config)
	return err
}

const (
	// readyTimeout is shorter than the time that container runtimes give a health check.
	readyTimeout = 3 * time.Second
	// maxReadyBytes bounds how much of an answer is read.
	maxReadyBytes = 1 << 20
)

// AskService asks the service at a base URL whether it is ready. The first finding is its answer;
// the checks that the answer names follow. A container image needs no other HTTP client for its
// health check.
func AskService(ctx context.Context, baseURL string) []Finding {
	service := Finding{What: "service"}
	if !strings.Contains(baseURL, "://") {
		service.Detail = fmt.Sprintf("%q is not a URL; write http://%s", baseURL, baseURL)
		return []Finding{service}
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	url := strings.TrimSuffix(baseURL, "/") + "/health/ready"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		service.Detail = err.Error()
		return []Finding{service}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		service.Detail = err.Error()
		return []Finding{service}
	}
	defer resp.Body.Close()
	var answer struct {
		Status  string
		Version string
		Checks  []api.ReadinessCheck
	}
	body := io.LimitReader(resp.Body, maxReadyBytes)
	if err := json.NewDecoder(body).Decode(&answer); err != nil {
		service.Detail = fmt.Sprintf("%s answers %d, but not as relish does: %v", url,
			resp.StatusCode, err)
		return []Finding{service}
	}
	service.OK = resp.StatusCode == http.StatusOK
	service.Detail = answer.Status + ", version " + answer.Version
	findings := []Finding{service}
	for _, check := range answer.Checks {
		findings = append(findings, Finding{What: check.Name, OK: check.OK, Detail: check.Detail})
	}
	return findings
}
