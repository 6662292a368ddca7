package sample

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
)

const (
	// defaultBound and maxBound limit the primes to count: visible work, but at most some milliseconds.
	defaultBound = 10_000
	maxBound     = 1_000_000
)

// Work is the response of the worker.
type Work struct {
	Message string `json:"message"` // "1229 primes below 10000"
	Address string `json:"address"` // the worker's address, from its environment
	Task    string `json:"task"`    // the task's host name, which identifies the worker
}

// Worker returns the HTTP handler of the worker.
//
//	GET /, GET /work?n=10000   counts the primes below n (at most 1,000,000) and returns a [Work]
//	GET /health                200
func Worker(getenv func(string) string) http.Handler {
	address := orDefault(getenv("ROLLCALL_ADDRESS"), "127.0.0.1")
	task := getenv("HOSTNAME")
	if task == "" {
		task, _ = os.Hostname() // without a name, the response is still correct
	}
	work := func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(orDefault(r.FormValue("n"), strconv.Itoa(defaultBound)))
		if err != nil || n < 0 || n > maxBound {
			http.Error(w, fmt.Sprintf("n must be a whole number between 0 and %d", maxBound), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(Work{ // an error means that the client has disconnected
			Message: fmt.Sprintf("%d primes below %d", countPrimes(n), n),
			Address: address,
			Task:    task,
		})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", work)
	mux.HandleFunc("GET /work", work)
	mux.HandleFunc("GET /health", health)
	return mux
}

// countPrimes counts the primes below n by the sieve of Eratosthenes.
func countPrimes(n int) int {
	composite := make([]bool, n)
	count := 0
	for i := 2; i < n; i++ {
		if composite[i] {
			continue
		}
		count++
		for k := i * i; k < n; k += i {
			composite[k] = true
		}
	}
	return count
}
