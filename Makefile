# Patchproof. `make` alone prints what there is.
SHELL       := /bin/bash
GO          ?= go
export CGO_ENABLED ?= 0
export GOTOOLCHAIN ?= local

VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS     := -s -w -X main.version=$(VERSION)
BUILDFLAGS  := -trimpath -ldflags '$(LDFLAGS)'
TOOL        := $(GO) tool -modfile=scripts/tools/go.mod
FUZZTIME    ?= 60s

.DEFAULT_GOAL := help
.PHONY: help build build-all setup test race lint check demo bench bench-scale fuzz soak soak-reconnect soak-cluster clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## static binaries into bin/
	@mkdir -p bin
	$(GO) build $(BUILDFLAGS) -o bin/ ./agent/cmd/patchproof-agent ./collector/cmd/patchproof

build-all: ## every platform the product names must compile
	GOOS=linux GOARCH=amd64 $(GO) build -o /dev/null ./agent/cmd/patchproof-agent
	GOOS=linux GOARCH=arm64 $(GO) build -o /dev/null ./agent/cmd/patchproof-agent
	GOOS=windows GOARCH=amd64 $(GO) build -o /dev/null ./agent/cmd/patchproof-agent
	GOOS=linux GOARCH=arm64 $(GO) build -o /dev/null ./collector/cmd/patchproof

setup: ## install what the tests need (Debian packages; asks nothing)
	@scripts/setup

test: setup ## all tests, real components
	$(GO) vet ./...
	$(GO) test -timeout 20m ./...

race: setup ## all tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -timeout 40m ./...

lint: ## golangci-lint, gofumpt
	$(TOOL) golangci-lint run ./...
	@loose=$$($(TOOL) gofumpt -l agent collector schema scripts); \
	if [ -n "$$loose" ]; then printf 'gofumpt would change:\n%s\n' "$$loose" >&2; exit 1; fi

check: lint test race ## everything a change must pass
	$(GO) mod tidy -diff
	$(GO) mod verify

demo: build ## the main job on this host, under a minute (KEEP=1 stays up)
	@KEEP=$(KEEP) scripts/demo/run

bench: ## benchmarks of the hot paths
	$(GO) test -run '^$$' -bench . -benchmem ./schema/... ./agent/... ./collector/...

SCALE       ?= 10000x1000000
bench-scale: ## what people wait for on a million findings (SCALE=assetsxfindings; minutes, gigabytes)
	PATCHPROOF_SCALE=$(SCALE) $(GO) test -timeout 60m -count=1 -run '^TestScale$$' -v ./scripts/scale

fuzz: ## each fuzz target for FUZZTIME (60s)
	@scripts/fuzz $(FUZZTIME)

soak: setup ## the crash tests, many more rounds
	PATCHPROOF_TEST_CRASH_ROUNDS=200 $(GO) test -timeout 60m -run Crash -v ./agent/... ./collector/... ./scripts/e2e

soak-cluster: ## three real nats-servers on an exported configuration, one killed
	PATCHPROOF_TEST_CLUSTER_NODES=3 $(GO) test -timeout 10m -count=1 -run '^TestServersOfOthers$$' -v ./collector/ingest/natsin

AGENTS      ?= 10000
soak-reconnect: ## kill a collector with AGENTS (10000) connected by TLS; all come back (2 minutes, 3 GB)
	PATCHPROOF_TEST_RECONNECT_AGENTS=$(AGENTS) $(GO) test -timeout 20m -count=1 -run '^TestReconnect$$' -v ./scripts/soak

clean: ## remove what make built
	rm -rf bin dist
