# causewayd in the place of a host of strongSwan's scenarios: KEY=VALUE, values are shell fragments run in that host.
name=causewayd
# path of the binary, from scenarios.py
env=CAUSEWAYD
# In the foreground; connections come over vici alone, from stock swanctl. The TUN device has the name that the
# scenarios' firewalls and updown scripts let through. strongSwan has the interval of NAT keepalives in strongswan.conf.
start=K=$(sed -n 's/^ *keep_alive *= *\([0-9]*\)s*$/\1/p' /etc/strongswan.conf); printf 'gateway: { name: dut, interface: ipsec0, keepalive: %ss }\n' "${K:-20}" >/run/gateway.yaml; exec "$CAUSEWAYD" --config /run/gateway.yaml --vici /run/charon.vici --log-level info
# swanctl's own words, all of them: by itself it tells what was refused and what was loaded
load=swanctl --load-all --noprompt
tun=ipsec+
