# The two commands to begin with: make up, make test.
SHELL := /bin/bash
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X pgapp/appliance/program.version=$(VERSION)
GOFLAGS_BUILD := -trimpath -ldflags '$(LDFLAGS)'

.PHONY: all up build tree test unit integration e2e e2e-all check soak soak-site clean

all: build

## up: build pgapp and bring up a cluster of local processes
up: build
	./pgapp up --provider local

## build: the binary, with the PostgreSQL tree in it where it can be made
build: tree
	CGO_ENABLED=0 go build $(GOFLAGS_BUILD) -o pgapp .

tree:
	@scripts/build/pgtree
	@go run ./scripts/build/template

## test: everything that needs no virtual machine; installs what it needs
test:
	scripts/test

## e2e: the core on real virtual machines (root)
e2e: build
	scripts/e2e core

## e2e-all: everything on real virtual machines (root)
e2e-all: build
	scripts/e2e all

## soak: the primary is killed ROUNDS times under writers and replaced; nothing acknowledged may be lost
ROUNDS ?= 50
soak: build
	go run ./scripts/soak -rounds $(ROUNDS)

## soak-site: at full size, no copy is rented twice under kills of the primary, and a session reads its own writes
soak-site:
	PGAPP_TEST_RENTALS=1000 PGAPP_TEST_KILLS=1000 PGAPP_TEST_KILL_SECONDS=10 PGAPP_TEST_CHECKS=10000 \
	scripts/test -v -run 'TestRental(GivesTheLastCopyOnce|SessionReadsItsOwnWrites)$$'

## check: formatting, linters, dead code, tidiness
check:
	scripts/check

clean:
	rm -f pgapp
