#!/bin/sh
# One gateway of the pair; returns when it is ready (b) or the tunnel is up (a).
set -e
umask 077
: "${CAUSEWAY_BIN:?the directory of causewayd and causeway}"
[ "${ENCAP:-udp}" = esp ] && encap=false || encap=true
printf '%s' "$PSK" >"$WORKDIR/psk"
cat >"$WORKDIR/gateway.yaml" <<C
gateway:
  name: bench-$ROLE-$$
  addresses: [$LOCAL]
  networks: [$LOCAL_NET]
  interface: ${TUN:-cw0}
  mtu: $MTU
$(printf '%b' "${CAUSEWAY_BENCH_GATEWAY:-}")
sites:
  bench: { address: $PEER, networks: [$PEER_NET] }
connections:
  bench:
    site: bench
    start: passive
    psk-file: psk
    local-id: "$LOCAL_ID"
    remote-id: "$PEER_ID"
    esp-proposals: [${CIPHER:-aes128gcm16}]
    encap: $encap
    tunnels:
      net: { local: [$LOCAL_NET], remote: [$PEER_NET] }
C
vici="$WORKDIR/causeway.vici"
"$CAUSEWAY_BIN/causewayd" --config "$WORKDIR/gateway.yaml" --vici "$vici" >"$WORKDIR/log" 2>&1 &
for _ in $(seq 100); do
  if [ "$ROLE" = b ] && "$CAUSEWAY_BIN/causeway" --uri "unix://$vici" status >/dev/null 2>&1; then exit 0; fi
  if [ "$ROLE" = a ] && "$CAUSEWAY_BIN/causeway" --uri "unix://$vici" up bench >/dev/null 2>&1; then exit 0; fi
  sleep 0.1
done
echo "the tunnel is not up after 10 s" >&2
tail -5 "$WORKDIR/log" >&2
exit 1
