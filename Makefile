# Causeway: what to run. `make demo` and `make test` do all the set-up themselves (root, Debian, Swift >= 6.3).
SWIFT   ?= swift
PREFIX  ?= /usr/local
DESTDIR ?=
BUILD   := .build/release
# One build serves programs and tests.
FLAGS   := -c release -Xswiftc -enable-testing
PACKAGES := libssl-dev libsodium-dev pkg-config gcc libc6-dev iproute2 iputils-ping nftables tcpdump python3 ca-certificates

.PHONY: all deps peers build demo test test-long bench interop-tests install uninstall fmt lint clean

all: build

deps:
	@Tests/deps.sh $(PACKAGES)

peers: deps
	@python3 Tests/Interop/peers.py fetch

build: deps
	$(SWIFT) build $(FLAGS) --build-tests

demo: build peers
	@python3 Tests/Interop/demo.py

test: deps peers
	@SWIFT="$(SWIFT)" Tests/test.sh

# Sanitizer builds of the unit and simulator tests; needs as root what `make test` needs.
test-long: test
	$(SWIFT) test --sanitize=address --scratch-path .build-address --disable-xctest
	$(SWIFT) test --sanitize=thread --scratch-path .build-thread --disable-xctest

# TCP through the tunnel beside strongSwan's kernel-libipsec in the same run.
bench: build peers
	@python3 Tests/Interop/bench.py

interop-tests: build peers
	@python3 Tests/Interop/run.py

install:
	$(SWIFT) build -c release --product causewayd
	$(SWIFT) build -c release --product causeway
	install -D -m 0755 $(BUILD)/causewayd $(DESTDIR)$(PREFIX)/sbin/causewayd
	install -D -m 0755 $(BUILD)/causeway $(DESTDIR)$(PREFIX)/bin/causeway
	sed 's|@PREFIX@|$(PREFIX)|g' systemd/causewayd.service | install -D -m 0644 /dev/stdin $(DESTDIR)/etc/systemd/system/causewayd.service
	install -D -m 0644 systemd/sysusers.d/causeway.conf $(DESTDIR)/usr/lib/sysusers.d/causeway.conf
	install -D -m 0644 systemd/tmpfiles.d/causeway.conf $(DESTDIR)/usr/lib/tmpfiles.d/causeway.conf
	install -D -m 0644 systemd/sysctl.d/60-causeway.conf $(DESTDIR)/usr/lib/sysctl.d/60-causeway.conf
	install -D -m 0644 Docs/causewayd.8 $(DESTDIR)$(PREFIX)/share/man/man8/causewayd.8
	install -D -m 0644 Docs/causeway.1 $(DESTDIR)$(PREFIX)/share/man/man1/causeway.1
	install -D -m 0644 Docs/gateway.yaml.5 $(DESTDIR)$(PREFIX)/share/man/man5/gateway.yaml.5
	install -d -m 0700 $(DESTDIR)/etc/causeway/psk
	install -D -m 0644 Config/gateway.yaml $(DESTDIR)/etc/causeway/gateway.yaml.sample

# The configuration and its secrets stay.
uninstall:
	rm -f $(DESTDIR)$(PREFIX)/sbin/causewayd $(DESTDIR)$(PREFIX)/bin/causeway
	rm -f $(DESTDIR)/etc/systemd/system/causewayd.service $(DESTDIR)/usr/lib/sysusers.d/causeway.conf
	rm -f $(DESTDIR)/usr/lib/tmpfiles.d/causeway.conf $(DESTDIR)/usr/lib/sysctl.d/60-causeway.conf
	rm -f $(DESTDIR)$(PREFIX)/share/man/man8/causewayd.8 $(DESTDIR)$(PREFIX)/share/man/man1/causeway.1
	rm -f $(DESTDIR)$(PREFIX)/share/man/man5/gateway.yaml.5 $(DESTDIR)/etc/causeway/gateway.yaml.sample

fmt:
	$(SWIFT) format -i -r Package.swift Sources Tests

lint:
	$(SWIFT) format lint --strict -r Package.swift Sources Tests

clean:
	rm -rf .build .build-* .lab
