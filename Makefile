# make help lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

DATA  ?= .cache/demo
ADDR  ?= 127.0.0.1:8080
SET   ?= ranklens
STEP  ?= all
FETCH := internal/setup/fetch.sh
TOOLS := $(CURDIR)/.cache/bin

# Gin without its MessagePack codec makes the binary 20 MB smaller; so do -s and -w, with 8 MB.
export GOFLAGS += -trimpath -tags=nomsgpack

# An older Go downloads the release that go.mod names (72 MB). To use the installed one:
# make GOTOOLCHAIN=local
export GOTOOLCHAIN := auto

GOLANGCI    := v2.15.0
GOVULNCHECK := v1.9.0
# The vulnerability database is a Go module. VULNDB=latest checks against today's.
VULNDB ?= v0.0.0-20261105234957-e22db6528018

# Packages with concurrency that matters, for the race detector. It slows arithmetic tenfold, so that
# training/engine, gbdt, finetune and twotower stay out.
RACE := ./api/... ./embeddings/... ./experiment ./features/... ./internal/app/... \
	./internal/parallel ./internal/redisconn ./ranker/...

.PHONY: help fetch fetch-fp32 build run fetch-zh fetch-test test lint vuln race ci bench quality cover notice clean

help: ## list the targets
	@grep -h -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

fetch: ## download what bin/relish needs, once (80 MB)
	@$(FETCH) onnxruntime
	@$(FETCH) lightgbm
	@$(FETCH) encoder-int8

fetch-fp32: ## download the 32-bit text encoder, for fine-tuning and for CUDA (83 MB)
	@$(FETCH) encoder-fp32

build: fetch ## build bin/relish
	go build -ldflags '-s -w' -o bin/relish ./cmd/relish

run: build ## load the demo and serve it (ADDR=127.0.0.1:8080)
	@bin/relish demo --data $(DATA)
	@printf '\nTry, in another terminal:\n\n  curl -s http://$(ADDR)/recommend -H "Content-Type: application/json" \\\n    -d '\''{"user_id":"user-0007","candidates":["book-001","film-001","game-001","recipe-001","book-002","film-002","game-002","recipe-002"],"explain":1}'\''\n\n'
	@exec bin/relish serve --data $(DATA) --addr $(ADDR)

fetch-zh: build ## download the text encoder for Chinese catalogues (17 MB)
	@bin/relish encoder pull bge-small-zh

fetch-test: fetch fetch-fp32 ## download what only the tests need
	@$(FETCH) python
	@$(FETCH) node
	@$(FETCH) redis-server
	@$(FETCH) promtool

test: build fetch-test fetch-zh ## run all tests
	go vet ./...
	go test -timeout 60m ./...

# Without -trimpath: with it, cached cgo files name the checkout that compiled them first, and the
# linter cannot find them in another one.
lint: $(TOOLS)/golangci-lint-$(GOLANGCI) ## static checks beyond go vet
	GOFLAGS=-tags=nomsgpack $< run ./...

vuln: $(TOOLS)/govulncheck-$(GOVULNCHECK) ## known vulnerabilities in dependencies and in Go (VULNDB=latest)
	@internal/setup/vulndb.sh $(VULNDB)
	$< -db file://$(CURDIR)/.cache/vulndb ./...

# The race detector reserves more address space than the limit that TestHostileBundles/memory sets,
# and it makes sync.Pool drop values, so that allocations cannot be counted. make test runs both.
race: build fetch-test ## tests of the concurrent packages under the race detector
	go test -race -timeout 60m -skip '^TestHostileBundles$$/^memory$$|Allocations$$' $(RACE)

ci: lint vuln race test ## everything that a change must pass

$(TOOLS)/golangci-lint-$(GOLANGCI):
	GOBIN=$(TOOLS) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI)
	mv $(TOOLS)/golangci-lint $@

$(TOOLS)/govulncheck-$(GOVULNCHECK):
	GOBIN=$(TOOLS) go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK)
	mv $(TOOLS)/govulncheck $@

bench: build ## benchmarks of the hot stages, with allocations
	go test -run '^$$' -bench . -benchmem ./...

quality: build fetch-fp32 ## the tables of docs/quality.md, resumable (SET=ranklens|games|beauty STEP=import|train|evaluate|cold|ablate|all)
	@internal/setup/quality.sh "$(SET)" "$(STEP)"

cover: build fetch-test ## coverage by package, coverage.html
	go test -coverprofile=coverage.out ./...
	go tool cover -html=coverage.out -o coverage.html

notice: ## write NOTICE: the licences of everything that the binary links
	go run ./internal/setup/notice > NOTICE

clean: ## remove what was built; the downloads stay
	rm -rf bin coverage.* $(DATA)
