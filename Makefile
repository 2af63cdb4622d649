# Causeway: build, test, demonstrate, install.  `make` alone says what there is.

SWIFT   ?= swift
PYTHON  ?= python3
PREFIX  ?= /usr/local
SYSCONFDIR ?= /etc
DESTDIR ?=
# Where systemd looks for what belongs to locally installed software.
UNITDIR    ?= $(SYSCONFDIR)/systemd/system
SYSUSERSDIR ?= $(SYSCONFDIR)/sysusers.d
TMPFILESDIR ?= $(SYSCONFDIR)/tmpfiles.d
SYSCTLDIR  ?= $(SYSCONFDIR)/sysctl.d
MANDIR     ?= $(PREFIX)/share/man
DOCDIR     ?= $(PREFIX)/share/doc/causeway

# Tests, demo and interop use one and the same release build; what is installed or measured is built without test access.
TESTABLE = -c release -Xswiftc -enable-testing
PRODUCT  = -c release --static-swift-stdlib --scratch-path .build-product
PROGRAMS = causewayd causeway
FORMATTED = Package.swift Sources Tests Benchmarks

.PHONY: help deps programs build product demo demo-down test test-long interop-tests harness-tests interop scenarios containers bench install \
  uninstall fmt lint clean

help:
	@echo "make deps           install what building and testing need, say what is missing"
	@echo "make build          programs and tests, release"
	@echo "make demo           a tunnel to strongSwan in namespaces; KEEP=1 leaves it up, make demo-down ends it"
	@echo "make test           everything: build, lint, units, interop; at most 40 minutes"
	@echo "make test-long      sanitizer builds, the same, 100,000 simulated runs, the interop cases five times, storms of minutes"
	@echo "make interop-tests  the interop cases alone; CASES='nat* no-leak' chooses"
	@echo "make interop        the container images as two sites, the systemd unit under a systemd, in podman"
	@echo "make scenarios      strongSwan's own scenarios with causewayd as some of their hosts; writes Tests/Interop/scenarios.md"
	@echo "make containers     the images of Config/containers, with podman; BASE=IMAGE to stand on"
	@echo "make bench          throughput and CPU next to other userspace tunnels, into Benchmarks/results"
	@echo "make install        programs, manual pages, systemd files (PREFIX, DESTDIR); make uninstall"
	@echo "make fmt lint       format the sources, check the format"

deps:
	@SWIFT="$(SWIFT)" .ci/deps

programs:
	@for p in $(PROGRAMS); do $(SWIFT) build $(TESTABLE) --product $$p || exit 1; done

build:
	$(SWIFT) build $(TESTABLE) --build-tests

product:
	@for p in $(PROGRAMS); do $(SWIFT) build $(PRODUCT) --product $$p || exit 1; done

demo: deps programs
	@$(PYTHON) Tests/Interop/demo.py $(if $(filter-out 0,$(KEEP)),--keep)

demo-down:
	@$(PYTHON) Tests/Interop/demo.py --down

test: deps
	@SWIFT="$(SWIFT)" $(PYTHON) Tests/Interop/suite.py

# Sanitizer builds of the unit and simulator tests first, a hundred thousand simulated runs and ten million vici frames last.
# One run again: CAUSEWAY_SEED=n swift test ... --filter SimulationTests.
# Without leak detection: it takes lazily made globals for leaks.
test-long:
	CAUSEWAY_SEEDS=200 ASAN_OPTIONS=detect_leaks=0 $(SWIFT) test --sanitize=address --scratch-path .build-address --disable-xctest
	CAUSEWAY_SEEDS=200 $(SWIFT) test --sanitize=thread --scratch-path .build-thread --disable-xctest
	@SWIFT="$(SWIFT)" $(PYTHON) Tests/Interop/suite.py --long
	CAUSEWAY_SEEDS=100000 $(SWIFT) test $(TESTABLE) --skip-build --disable-xctest --filter SimulationTests
	CAUSEWAY_FRAMES=10000000 $(SWIFT) test $(TESTABLE) --skip-build --disable-xctest --filter ViciFrameMutationTests

# Not made here: `make test` has built them, and a build of its own would have other flags.
interop-tests:
	@$(PYTHON) Tests/Interop/run.py $(CASES)

# The same cases with strongSwan in place of causewayd: what fails here is a fault of the harness.
harness-tests:
	@CAUSEWAY_SUBJECT=strongswan $(PYTHON) Tests/Interop/run.py $(CASES)

# Skipped, and said so, where podman cannot run.
interop:
	@$(PYTHON) Tests/Interop/containers.py $(CASES)

# Skipped, and said so, where the scenarios are not at CAUSEWAY_SCENARIOS.
scenarios: programs
	@$(PYTHON) Tests/Interop/scenarios.py $(CASES)

# The programs are those of this machine, so the images stand on its release of Debian.
BASE ?= docker.io/library/debian:$(shell . /etc/os-release; echo $$VERSION_CODENAME)-slim
containers:
	$(MAKE) -s install DESTDIR=$(CURDIR)/.build-product/root
	podman build --build-arg BASE=$(BASE) -t causeway -f Config/containers/Containerfile .build-product/root
	podman build --build-arg BASE=$(BASE) -t causeway-peer -f Config/containers/Containerfile.strongswan Config/containers
	@if [ ! -e Config/containers/psk ]; then umask 077; head -c 24 /dev/urandom | base64 > Config/containers/psk; fi
	@echo "next: podman-compose -f Config/containers/compose.yaml up -d, podman exec gateway causeway status"

# All parts of Benchmarks; BENCH='--quick' is one short round.
bench: product
	@mkdir -p Benchmarks/results
	@$(SWIFT) build $(PRODUCT) --product microbench && { echo '# Micro'; echo; .build-product/release/microbench; } > Benchmarks/results/micro.md
	@cat Benchmarks/results/micro.md
	@CAUSEWAY_BIN=$(CURDIR)/.build-product/release $(PYTHON) Benchmarks/run.py $(BENCH)
	@CAUSEWAY_BIN=$(CURDIR)/.build-product/release $(PYTHON) Benchmarks/tunnels.py
	@CAUSEWAY_BIN=$(CURDIR)/.build-product/release $(PYTHON) Benchmarks/handshakes.py

# Nothing is started or enabled; an existing configuration stays as it is.
install: product
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(DOCDIR) $(DESTDIR)$(UNITDIR) \
	  $(DESTDIR)$(SYSUSERSDIR) $(DESTDIR)$(TMPFILESDIR) $(DESTDIR)$(SYSCTLDIR) $(DESTDIR)$(MANDIR)/man1 \
	  $(DESTDIR)$(MANDIR)/man5 $(DESTDIR)$(MANDIR)/man8
	install -d -m 0750 $(DESTDIR)$(SYSCONFDIR)/causeway
	install -d -m 0700 $(DESTDIR)$(SYSCONFDIR)/causeway/psk
	install -s -m 0755 .build-product/release/causewayd $(DESTDIR)$(PREFIX)/sbin/causewayd
	install -s -m 0755 .build-product/release/causeway $(DESTDIR)$(PREFIX)/bin/causeway
	install -m 0644 Docs/causewayd.8 $(DESTDIR)$(MANDIR)/man8/causewayd.8
	install -m 0644 Docs/causeway.1 $(DESTDIR)$(MANDIR)/man1/causeway.1
	install -m 0644 Docs/gateway.yaml.5 $(DESTDIR)$(MANDIR)/man5/gateway.yaml.5
	install -m 0644 LICENSE README.md Config/gateway.yaml $(DESTDIR)$(DOCDIR)/
	sed -e 's|/usr/local/|$(PREFIX)/|g' -e 's|/etc/causeway|$(SYSCONFDIR)/causeway|g' systemd/causewayd.service > $(DESTDIR)$(UNITDIR)/causewayd.service
	chmod 0644 $(DESTDIR)$(UNITDIR)/causewayd.service
	install -m 0644 systemd/sysusers.d/causeway.conf $(DESTDIR)$(SYSUSERSDIR)/causeway.conf
	install -m 0644 systemd/tmpfiles.d/causeway.conf $(DESTDIR)$(TMPFILESDIR)/causeway.conf
	install -m 0644 systemd/sysctl.d/60-causeway.conf $(DESTDIR)$(SYSCTLDIR)/60-causeway.conf
	@if [ -e $(DESTDIR)$(SYSCONFDIR)/causeway/gateway.yaml ]; then echo "kept $(DESTDIR)$(SYSCONFDIR)/causeway/gateway.yaml"; \
	  else install -m 0640 Config/gateway.yaml $(DESTDIR)$(SYSCONFDIR)/causeway/gateway.yaml; fi
	@if [ -z "$(DESTDIR)" ] && command -v systemd-sysusers >/dev/null; then \
	  systemd-sysusers $(SYSUSERSDIR)/causeway.conf && chgrp -R causeway $(SYSCONFDIR)/causeway && chown -R causeway $(SYSCONFDIR)/causeway/psk; fi
	@echo "next: edit $(SYSCONFDIR)/causeway/gateway.yaml, causeway check, sysctl --system, systemctl enable --now causewayd"

# What was configured stays: $(SYSCONFDIR)/causeway.
uninstall:
	rm -f $(DESTDIR)$(PREFIX)/sbin/causewayd $(DESTDIR)$(PREFIX)/bin/causeway $(DESTDIR)$(MANDIR)/man8/causewayd.8 \
	  $(DESTDIR)$(MANDIR)/man1/causeway.1 $(DESTDIR)$(MANDIR)/man5/gateway.yaml.5 $(DESTDIR)$(UNITDIR)/causewayd.service \
	  $(DESTDIR)$(SYSUSERSDIR)/causeway.conf $(DESTDIR)$(TMPFILESDIR)/causeway.conf $(DESTDIR)$(SYSCTLDIR)/60-causeway.conf
	rm -rf $(DESTDIR)$(DOCDIR)
	@echo "kept $(DESTDIR)$(SYSCONFDIR)/causeway"

fmt:
	$(SWIFT) format -i -r -p $(FORMATTED)

lint:
	$(SWIFT) format lint --strict -r -p $(FORMATTED)

clean:
	rm -rf .build .build-product .lab
