# Works in GNU make and in bmake. `make up` and `make test` are all that a new user needs; the rest is for developers.
.POSIX:
.PHONY: up down purge test lint test-net test-zfs test-web conformance soak bench env docs

PLATFORM = sim

up:
	@sh tools/python.sh up

down:
	@sh tools/python.sh down

purge:
	@sh tools/python.sh purge

test:
	@sh tools/test.sh

lint:
	@sh tools/test.sh lint

test-net:
	@sh tools/test.sh net

test-zfs:
	@sh tools/test.sh zfs

test-web:
	@sh tools/test.sh web

conformance:
	@SKEP_CONFORMANCE=$(PLATFORM) sh tools/test.sh conformance

soak:
	@sh tools/test.sh soak

bench:
	@sh tools/test.sh bench

docs:
	@sh tools/test.sh docs
