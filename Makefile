# make test       everything that must hold, on a fresh Debian machine with Go 1.26
# make test-long  the same properties, longer: crashes, fuzzing, load
# make fuzz       what is read from others, each target of package mls for FUZZTIME
# make test-interop  package mls against two foreign engines in Node, check by check
# make bench      the figures of docs/PERFORMANCE.md
# make build      bin/sealpost, with the verifier page inside
# make web        the verifier page alone, web/verify/verify.html
# make lint       format, vet, modules
# make vectors    write spec/vectors again
GO ?= go
GOFLAGS ?= -buildvcs=false
export GOFLAGS

.PHONY: test test-long fuzz test-interop peers bench lint build web vectors

test: lint peers
	$(GO) test -timeout 20m ./...

test-long: peers fuzz
	SEALPOST_LONG=1 $(GO) test -timeout 80m ./...

# Each target of package mls in turn, ten minutes in all. Inputs that break a
# property are written under mls/testdata/fuzz, from where every test run takes
# them.
FUZZTIME ?= 45s
fuzz:
	@for f in $$($(GO) test -list '^Fuzz' ./mls | grep '^Fuzz'); do echo "$$f"; \
	  $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x ./mls || exit 1; done

test-interop: peers
	SEALPOST_INTEROP=required $(GO) test -count=1 -v ./mls/interop

# Where the engines, the browser or the packages of the second judge cannot be had,
# their tests say so and are skipped, or fail where they were asked for.
peers:
	-@mls/interop/install.sh
	-@web/verify/install.sh
	-@verify/js/install.sh

bench: build
	$(GO) test -run '^$$' -bench . -benchmem . ./mls ./internal/...
	bin/sealpost bench --duration 20s
	bin/sealpost bench --duration 20s --batch 32
	bin/sealpost bench lifecycle --duration 20s

# The page holds a compiled program, so it is made and not kept in git. The tag
# puts it into the binary; without the tag go build and go run need no step before.
build: web
	$(GO) build -tags webpage -o bin/sealpost ./cmd/sealpost

web:
	$(GO) run ./web/verify/build -o web/verify/verify.html

lint:
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "run gofmt -w on:"; echo "$$unformatted"; exit 1; fi
	$(GO) mod verify
	$(GO) vet ./...

vectors:
	$(GO) run ./spec/vectors/generate
