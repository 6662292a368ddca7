package sample

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// checkTimeout lies below 2 s, the least timeout that ECS gives a health check, so that the check itself says
// what was wrong before it is killed.
const checkTimeout = 1500 * time.Millisecond

// Check is a container's health check in place of curl: it returns nil when url answers a GET with a 2xx or
// 3xx status within 1.5 seconds. Redirects are not followed: the service has answered.
func Check(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true}, // and no proxy: it is this host's own task
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	res.Body.Close()
	if res.StatusCode < 200 || res.StatusCode > 399 {
		return fmt.Errorf("check: %s answered %s", url, res.Status)
	}
	return nil
}
