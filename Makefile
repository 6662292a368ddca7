# Rollcall's targets; CI calls the same ones. `make` alone lists them.

GO      ?= go
VERSION ?= $(or $(shell git describe --tags --always --dirty 2>/dev/null),unknown)
COMMIT  ?= $(or $(shell git rev-parse --short=12 HEAD 2>/dev/null),unknown)
BIN     ?= bin
SOAK    ?= 30

cli     := github.com/bakingclouds/rollcall/internal/cli
ldflags := -s -w -X $(cli).version=$(VERSION) -X $(cli).commit=$(COMMIT)

.DEFAULT_GOAL := help
.PHONY: help build test short lint fmt reference bench soak demo clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# The version comes from the variables above, so that a source tree without git builds as well.
build: ## build bin/rollcall, one static binary
	@echo "building $(BIN)/rollcall $(VERSION)"
	@CGO_ENABLED=0 $(GO) build -buildvcs=false -trimpath -ldflags '$(ldflags)' -o '$(BIN)/rollcall' ./cmd/rollcall

test: ## check everything: formatting, vet, staticcheck, the builds, all tests with the race detector
	@GO=$(GO) scripts/setup-test.sh
	@GO=$(GO) scripts/check.sh all

short: ## run all tests once, without the race detector
	$(GO) test ./...

lint: ## check formatting, vet and staticcheck
	@GO=$(GO) scripts/check.sh lint

fmt: ## format the Go files
	@scripts/gofiles.sh | xargs -0 gofmt -w -l

reference: ## regenerate docs/reference.md from the program
	ROLLCALL_DATA= $(GO) test ./internal/cli -run '^TestReference$$' -update

bench: ## measure, and print each figure beside its target
	$(GO) run -buildvcs=false ./bench

soak: ## 200 deployments under load, then all tests in random order for SOAK minutes (30)
	@GO=$(GO) scripts/soak.sh $(SOAK)

demo: build ## deploy the sample social network on a throw-away server and watch it
	@$(BIN)/rollcall demo

clean: ## remove what was built
	rm -rf '$(BIN)'
