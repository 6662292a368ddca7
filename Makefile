# The targets of the project. CI uses the same ones. `make` without a target lists them.

GO      ?= go
VERSION ?= $(or $(shell git describe --tags --always --dirty 2>/dev/null),unknown)
COMMIT  ?= $(or $(shell git rev-parse --short=12 HEAD 2>/dev/null),unknown)
BIN     ?= bin
SOAK    ?= 30

cli     := github.com/bakingclouds/rollcall/internal/cli
ldflags := -s -w -X $(cli).version=$(VERSION) -X $(cli).commit=$(COMMIT)

.DEFAULT_GOAL := help
.PHONY: help build check test short lint fmt reference bench vulncheck soak demo clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# The version is taken from the variables above, so that a source tree without git builds too.
build: ## build bin/rollcall, one static binary
	@echo "building $(BIN)/rollcall $(VERSION)"
	@CGO_ENABLED=0 $(GO) build -buildvcs=false -trimpath -ldflags '$(ldflags)' -o '$(BIN)/rollcall' ./cmd/rollcall

check: ## run the checks for a commit: lint, repository rules, tests of changed packages
	@GO=$(GO) scripts/check.sh quick

test: ## run everything: lint, the builds, and all tests with the race detector
	@GO=$(GO) scripts/setup-test.sh
	@GO=$(GO) scripts/check.sh all

short: ## run all tests once, without the race detector
	$(GO) test ./...

lint: ## run gofmt, vet, golangci-lint and a spell checker
	@GO=$(GO) scripts/check.sh lint

fmt: ## format the Go files
	@scripts/gofiles.sh | xargs -0 gofmt -w -l

reference: ## regenerate docs/reference.md from the program
	ROLLCALL_DATA= $(GO) test ./internal/cli -run '^TestReference$$' -update

bench: ## run the benchmarks and print each figure next to its target
	$(GO) run -buildvcs=false ./bench

vulncheck: ## search the dependencies for known vulnerabilities (needs the Go vulnerability database)
	$(GO) tool -modfile=tools/go.mod govulncheck ./...

soak: ## make 200 deployments under load, then run all tests in random order for SOAK minutes (30)
	@GO=$(GO) scripts/soak.sh $(SOAK)

demo: build ## start a temporary server, deploy two sample services and print their addresses
	@$(BIN)/rollcall demo

clean: ## remove what was built
	rm -rf '$(BIN)'
