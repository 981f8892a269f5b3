# The targets a newcomer needs; `make` lists them. Only Go is required, except
# where a target says otherwise.

GO      ?= go
BIN     := bin
PREFIX  ?= /usr/local
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -X main.version=$(VERSION)

# Our own commands: every cmd/NAME with a main.go.
COMMANDS := $(patsubst cmd/%/main.go,%,$(wildcard cmd/*/main.go))

# Where the goroutines are: `make test` runs these a second time under the race
# detector. The engine (wgbond/…) has none: arch_test.go sees to that. The
# lab's emulator is left out: it is judged by its timing.
RACE := $(patsubst %,./%/...,$(wildcard conn relayd cmd/bondlab/internal/demo cmd/internal cmd/wg-bond cmd/relayd))

# What the other targets take from the command line.
SCENARIO ?= seed
RUNS     ?= 5
FUZZTIME ?= 30s
BENCH    ?= .
ROWS     ?=
QUICK    ?= --quick

.DEFAULT_GOAL := help
.PHONY: help build demo test test-deps bench bench-go bench-lab bench-sim cross lab lint fuzz install deb deb-test clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build wg-bond, relayd, bondlab and what the lab runs beside them into bin/
	@mkdir -p $(BIN)
	$(GO) build -ldflags '$(LDFLAGS)' -o $(BIN)/ $(addprefix ./cmd/,$(COMMANDS))
	$(GO) build -o $(BIN)/wireguard-go golang.zx2c4.com/wireguard
	$(GO) build -o $(BIN)/builtin-scheduler ./plugins/examples/builtin

demo: ## the experiment in one process: no root, under a minute; writes demo.png
	@mkdir -p $(BIN)
	@$(GO) build -ldflags '$(LDFLAGS)' -o $(BIN)/bondlab ./cmd/bondlab
	@$(BIN)/bondlab demo

test: test-deps build ## every test; as root also those in network namespaces (under 15 minutes on 2 cores)
	$(GO) vet ./...
	$(GO) test -timeout 10m ./...
ifeq ($(shell $(GO) env CGO_ENABLED),1)
	$(GO) test -race -short -timeout 10m $(RACE)
else
	@echo 'the race detector needs a C compiler (gcc): its run is left out'
endif

test-deps:
	@.ci/install-test-deps

bench: bench-go bench-lab ## the Go benchmarks, then the design's table on the real kernel (root; 45 minutes)

# Those of the judge are bench-sim.
bench-go: ## Go benchmarks: BENCH=regexp picks some
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem $$($(GO) list ./... | grep -v /wgbond/sim/judge)

bench-lab: build ## the design's table (root): RUNS=5 QUICK=--quick, or QUICK= for long transfers; into bench/
	$(BIN)/bondlab bench $(ROWS) --runs $(RUNS) $(QUICK) --out bench

bench-sim: ## the engine's scenarios in virtual time, as a table
	$(GO) test -run '^$$' -bench Sim -benchtime 1x ./wgbond/sim/judge

lab: build ## measure in network namespaces (root): SCENARIO=seed RUNS=5
	$(BIN)/bondlab run $(SCENARIO) --runs $(RUNS)

cross: ## build relayd, and its tests, for the systems that lend
	set -e; for t in linux/amd64 linux/arm64 darwin/arm64 windows/amd64 android/arm64; do \
		echo "relayd for $$t"; export CGO_ENABLED=0 GOOS=$${t%/*} GOARCH=$${t#*/}; \
		$(GO) build -o /dev/null ./cmd/relayd; $(GO) test -c -o /dev/null ./relayd/... ./cmd/relayd; done

lint: ## gofmt, go vet, staticcheck (version pinned in .ci/tools/go.mod)
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not gofmt-clean; run gofmt -w on:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool -modfile=.ci/tools/go.mod staticcheck ./...

fuzz: ## run every fuzz target for FUZZTIME=30s each
	@.ci/fuzz $(FUZZTIME)

install: build ## install wg-bond and relayd to PREFIX=/usr/local (DESTDIR is honoured)
	install -d '$(DESTDIR)$(PREFIX)/bin'
	install -m 0755 $(BIN)/wg-bond $(BIN)/relayd '$(DESTDIR)$(PREFIX)/bin/'

deb: build ## Debian packages of wg-bond and wg-bond-relayd, into bin/ (nfpm, version pinned in .ci/tools/go.mod)
	GO='$(GO)' cmd/packaging/build '$(VERSION)'

deb-test: test-deps deb ## install, run, upgrade and remove the packages in a fresh Debian (root; needs a Debian mirror)
	$(GO) test -count 1 -timeout 15m ./cmd/packaging -run TestDeb -deb '$(CURDIR)/$(BIN)' -v

clean: ## remove what the other targets made here
	rm -rf $(BIN) bench demo.png
