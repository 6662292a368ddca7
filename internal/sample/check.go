package sample

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// checkTimeout is less than 2 s, the minimum timeout of an ECS health check, so that the check can report the problem
// before it is killed.
const checkTimeout = 1500 * time.Millisecond

// Check is a container health check that needs no curl. It returns nil if a GET of url returns a 2xx or 3xx status
// within 1.5 seconds. It does not follow redirects, because a redirect already shows that the service responds.
func Check(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true}, // without a proxy: the task is on this host
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	res.Body.Close()
	if res.StatusCode < 200 || res.StatusCode > 399 {
		return fmt.Errorf("check: %s returned %s", url, res.Status)
	}
	return nil
}
