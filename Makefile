# make help lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

DATA    ?= .cache/demo
ADDR    ?= 127.0.0.1:8080
SET     ?= ranklens
STEP    ?= all
FETCH   := internal/setup/fetch.sh
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo unknown)
LINTER  := .cache/bin/golangci-lint
LINT_V  := v2.15.0

.PHONY: help fetch build run test-setup test lint bench quality cover clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

fetch: ## fetch what bin/relish needs, once
	@$(FETCH) onnxruntime
	@$(FETCH) lightgbm
	@$(FETCH) encoder-int8
	@$(FETCH) encoder-fp32

build: fetch ## fetch runtime, trainer and encoder once, build bin/relish
	go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/relish ./cmd/relish

run: build ## load the demo and serve it (ADDR=127.0.0.1:8080)
	@bin/relish demo --data $(DATA)
	@printf '\nTry, in another terminal:\n\n  curl -s http://$(ADDR)/recommend -H "Content-Type: application/json" \\\n    -d '\''{"user_id":"user-0007","candidates":["book-001","film-001","game-001","recipe-001","book-002","film-002","game-002","recipe-002"],"explain":1}'\''\n\n'
	@exec bin/relish serve --data $(DATA) --addr $(ADDR)

test-setup: ## fetch what only the tests need
	@$(FETCH) python
	@$(FETCH) node
	@$(FETCH) redis-server
	@$(FETCH) promtool

test: build test-setup ## run all tests
	go vet ./...
	go test -timeout 15m ./...

lint: $(LINTER) ## static checks beyond go vet
	$(LINTER) run ./...

$(LINTER):
	GOBIN=$(CURDIR)/.cache/bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_V)

bench: build ## benchmarks of the hot stages, with allocations
	go test -run '^$$' -bench . -benchmem ./...

quality: build ## the tables of docs/quality.md, resumable (SET=ranklens|games|beauty STEP=import|train|evaluate|cold|ablate|all)
	@internal/setup/quality.sh "$(SET)" "$(STEP)"

cover: build test-setup ## coverage by package, coverage.html
	go test -coverprofile=coverage.out ./...
	go tool cover -html=coverage.out -o coverage.html

clean: ## remove what was built; the downloads stay
	rm -rf bin coverage.* $(DATA)
