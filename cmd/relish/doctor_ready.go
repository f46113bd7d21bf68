package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"relish/api"
)

// What a service's word on itself may take and weigh: less than a container's health check waits.
const (
	readyTimeout = 3 * time.Second
	readyBytes   = 1 << 20
)

// askReady asks the service at base whether it is ready. Its answer is the first finding; the checks that it
// names follow. So an image needs no other client to know its own health.
func askReady(ctx context.Context, base string) []finding {
	first := finding{What: "service"}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(base, "/")+"/health/ready", nil)
	if err != nil {
		first.Detail = err.Error()
		return []finding{first}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		first.Detail = err.Error()
		return []finding{first}
	}
	defer resp.Body.Close()
	var answer struct {
		Status  string
		Version string
		Checks  []api.ReadinessCheck
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, readyBytes)).Decode(&answer); err != nil {
		first.Detail = fmt.Sprintf("answers %d, but not as relish does: %v", resp.StatusCode, err)
		return []finding{first}
	}
	first.OK, first.Detail = resp.StatusCode == http.StatusOK, answer.Status+", version "+answer.Version
	found := []finding{first}
	for _, check := range answer.Checks {
		found = append(found, finding{What: check.Name, OK: check.OK, Detail: check.Detail})
	}
	return found
}
