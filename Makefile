# Two commands matter: `make run` and `make test`. `make help` lists the rest.

GO      ?= go
BIN     := bin/coderclaw
VERSION ?= dev
LDFLAGS := -s -w -X main.version=$(VERSION)
# Packages of the product; tools/ and tools/oracle/ are modules of their own.
PKGS    := ./...

.DEFAULT_GOAL := help
.PHONY: help run build gen check-gen compat lint fmt test test-clients web swift conformance soak bench speed-gate budget clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: build ## build the gateway and run it in the foreground (Ctrl-C stops it)
	./$(BIN) gateway

build: ## build bin/coderclaw and bin/conformance
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

gen: ## regenerate gen/, clients/, testdata/mutations from schema/, and docs/configuration.md
	$(GO) run ./tools/protogen -schema schema -out .
	$(GO) run ./tools/oracle/mutate
	$(GO) test ./pkg/settings -run TestConfigurationPage -update >/dev/null # docs/configuration.md

check-gen: ## fail when gen/ is not what schema/ says, new files included
	$(GO) run ./tools/protogen -schema schema -out . -check

compat: ## fail when schema/ breaks what schema/released/ promised to the programs that people have
	$(GO) run ./cmd/coderclaw schema diff released schema

fmt: ## format the tree
	gofmt -w $$(git ls-files '*.go')

lint: ## gofmt, vet and staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	  if [ -n "$$unformatted" ]; then echo "not gofmt'ed (make fmt):"; echo "$$unformatted"; exit 1; fi
	$(GO) vet $(PKGS)
	cd tools && $(GO) vet ./...
	cd tools/oracle && $(GO) vet ./...
	cd tools && $(GO) build -o ../.cache/bin/staticcheck honnef.co/go/tools/cmd/staticcheck
	.cache/bin/staticcheck $(PKGS)

test: check-gen compat lint ## everything that needs only Go and gcc: generator freshness, compatibility, lint, all tests with -race
	cd tools && $(GO) test -race ./...
	cd tools/oracle && $(GO) test -count=1 ./... # starts programs that the test cache knows nothing of
	tools/test.sh $(PKGS)

test-clients: build web swift ## the clients in TypeScript and Swift, then programs that we did not write, against ours (needs Node and npm)
	tools/testclients/run.sh
	tools/testclients/aimock.sh check

web: clients/web/node_modules/.package-lock.json ## check and test the TypeScript client (needs Node and npm)
	cd clients/web && npm test --silent

clients/web/node_modules/.package-lock.json: clients/web/package.json clients/web/package-lock.json
	cd clients/web && npm ci --loglevel=error

swift: ## build and test the Swift package (sets up Swift 6 on Debian if there is none: 3.4 GB below .cache, once)
	tools/swift/run.sh

conformance: build ## grade our own gateway with the conformance runner, process against process
	tools/conformance.sh

soak: ## the long forms of the proofs: fuzzing, kill rounds, repeated contracts
	tools/soak.sh

bench: build ## the speed table (README.md gets it), gateway and store benchmarks, one client beside floods, then the budgets
	$(GO) run ./tools/oracle/speed -write README.md
	$(GO) run ./tools/oracle/flood -bin $(BIN)
	$(GO) test -run '^$$' -bench . -benchmem ./gen/protocol ./pkg/gateway ./pkg/store ./pkg/task/durable
	$(GO) run ./tools/oracle/budget -bin $(BIN)

speed-gate: ## decoding beside other decoders; fails when a promised ratio is broken (Node counts if it is there)
	$(GO) run ./tools/oracle/speed -gate

budget: build ## start-up time, memory at rest, binary size; fails above twice the goal
	$(GO) run ./tools/oracle/budget -bin $(BIN) -spawns 20

clean: ## remove what was built
	rm -rf bin .cache
