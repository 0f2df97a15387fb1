#!/bin/bash
# Makes chain.pcap: what a client and a service say to each other without a chain. Needs root, ip, ethtool, tcpdump, nginx,
# curl, dnsmasq, ping. Not part of any test: the result is committed.
#
#   rmdp-client                                     rmdp-service
#   c0 10.9.1.1/24, fd09:1::1/64 ---- MTU 1380 ---- s0 10.9.1.2/24, fd09:1::2/64      nginx, dnsmasq
#   (captured here)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
started=()
cleanup() {
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait
    for space in rmdp-client rmdp-service; do ip netns del "$space" 2>/dev/null || true; done
    rm -rf "$work" /etc/netns/rmdp-client
}
trap cleanup EXIT
client() { ip netns exec rmdp-client "$@"; }

ip netns add rmdp-client
ip netns add rmdp-service
ip link add c0 netns rmdp-client mtu 1380 type veth peer name s0 netns rmdp-service mtu 1380
for end in client:c0:1 service:s0:2; do
    IFS=: read -r name device number <<<"$end"
    ip netns exec "rmdp-$name" sysctl -qw net.ipv4.tcp_ecn=1
    ip netns exec "rmdp-$name" ethtool -K "$device" tx off tso off gso off gro off sg off >/dev/null
    ip -n "rmdp-$name" link set lo up
    ip -n "rmdp-$name" addr add "10.9.1.$number/24" dev "$device"
    ip -n "rmdp-$name" addr add "fd09:1::$number/64" dev "$device" nodad
    ip -n "rmdp-$name" link set "$device" up
done

head -c 15000 /dev/urandom | base64 -w 100 >"$work/file"
chmod 755 "$work" && chmod 644 "$work/file"
cat >"$work/nginx.conf" <<END
daemon off; pid $work/nginx.pid; error_log stderr; user root;
events {}
http { access_log off; server { listen 80; listen [::]:80; root $work; } }
END
ip netns exec rmdp-service nginx -c "$work/nginx.conf" -g 'worker_processes 1;' 2>/dev/null & started+=($!)
ip netns exec rmdp-service dnsmasq --no-daemon --no-resolv --no-hosts --user=root --pid-file="$work/dnsmasq.pid" \
    --host-record=www.example.test,192.0.2.7,2001:db8::7 2>/dev/null & started+=($!)
mkdir -p /etc/netns/rmdp-client
until client curl -so /dev/null --max-time 1 http://10.9.1.2/file; do :; done
until client curl -so /dev/null --max-time 1 'http://[fd09:1::2]/file'; do :; done
until echo nameserver 10.9.1.2 >/etc/netns/rmdp-client/resolv.conf && client getent ahosts www.example.test >/dev/null; do :; done

client tcpdump -i c0 --immediate-mode -U -Z root -w "$here/chain.pcap" 2>"$work/tcpdump" & capture=$! && started+=($!)
until grep -q listening "$work/tcpdump"; do sleep 0.1; done
client ping -qc 2 -i 0.2 10.9.1.2 >/dev/null
client ping -qc 2 -i 0.2 fd09:1::2 >/dev/null
client ping -qc 1 -Q 0xb9 10.9.1.2 >/dev/null
for server in 10.9.1.2 fd09:1::2; do
    echo "nameserver $server" >/etc/netns/rmdp-client/resolv.conf
    client getent ahosts www.example.test >/dev/null
done
client curl -s http://10.9.1.2/file http://10.9.1.2/nothing >/dev/null
client curl -s 'http://[fd09:1::2]/file' 'http://[fd09:1::2]/nothing' >/dev/null
size=-1
until [ "$(stat -c %s "$here/chain.pcap")" = $size ]; do
    size=$(stat -c %s "$here/chain.pcap")
    sleep 0.5
done
kill $capture && wait $capture || true
