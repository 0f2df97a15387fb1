#!/bin/bash
# Makes the captures of programs that nobody here wrote: http.pcap, dns.pcap, icmp.pcap.
# Needs root, ip, ethtool, nft, tcpdump, nginx, curl, dnsmasq, ping. Not part of any test: the results are committed.
#
#   rmpk-a                        rmpk-r                         rmpk-b
#   a0 10.9.1.1/24 ------ ra 10.9.1.254   rb 10.9.2.254 ------ b0 10.9.2.1/24    nginx, dnsmasq
#   a0 fd09:1::1/64       ra fd09:1::fe   rb fd09:2::fe        b0 fd09:2::1/64
#   (captured here)       drops a few         MTU 1400
#                         TCP segments
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
spaces=(rmpk-a rmpk-r rmpk-b)
started=()

cleanup() {
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait
    for space in "${spaces[@]}"; do ip netns del "$space" 2>/dev/null || true; done
    rm -rf "$work" /etc/netns/rmpk-a
}
trap cleanup EXIT

a() { ip netns exec rmpk-a "$@"; }
r() { ip netns exec rmpk-r "$@"; }

capture() { # NAME INTERFACE FILTER: starts tcpdump and returns once it listens
    ip netns exec rmpk-a tcpdump -i "$2" --immediate-mode -U -Z root -w "$here/$1" "$3" 2>"$work/tcpdump" &
    tcpdump=$! && started+=($!)
    until grep -q listening "$work/tcpdump"; do sleep 0.1; done
}
capture_ends() { # NAME: waits until nothing more comes, and ends tcpdump
    local size=-1
    until [ "$(stat -c %s "$here/$1")" = $size ]; do
        size=$(stat -c %s "$here/$1")
        sleep 0.5
    done
    kill $tcpdump
    wait $tcpdump || true
}

for space in "${spaces[@]}"; do
    ip netns add "$space"
    ip netns exec "$space" sysctl -qw net.ipv4.tcp_ecn=1 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
    ip -n "$space" link set lo up
done
r sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
ip link add a0 netns rmpk-a type veth peer name ra netns rmpk-r
ip link add b0 netns rmpk-b type veth peer name rb netns rmpk-r
for port in a:a0 r:ra r:rb b:b0; do
    ip netns exec "rmpk-${port%:*}" ethtool -K "${port#*:}" tx off tso off gso off gro off sg off >/dev/null
done
ip -n rmpk-r addr add 10.9.1.254/24 dev ra
ip -n rmpk-r addr add fd09:1::fe/64 dev ra nodad
ip -n rmpk-r addr add 10.9.2.254/24 dev rb
ip -n rmpk-r addr add fd09:2::fe/64 dev rb nodad
ip -n rmpk-r link set ra up
ip -n rmpk-r link set rb up mtu 1400
ip -n rmpk-b addr add 10.9.2.1/24 dev b0
ip -n rmpk-b addr add fd09:2::1/64 dev b0 nodad
ip -n rmpk-b link set b0 up
ip -n rmpk-b route add default via 10.9.2.254
ip -n rmpk-b route add default via fd09:2::fe

# ICMP: with what a starting interface says of itself (MLD, neighbour discovery), errors of every kind, fragments, options.
ip -n rmpk-a link set a0 up
capture icmp.pcap a0 ''
ip -n rmpk-a addr add 10.9.1.1/24 dev a0
ip -n rmpk-a addr add fd09:1::1/64 dev a0 nodad
ip -n rmpk-a route add default via 10.9.1.254
ip -n rmpk-a route add default via fd09:1::fe
a ping -qc 2 -i 0.2 10.9.2.1 >/dev/null || true
a ping -qc 2 -i 0.2 fd09:2::1 >/dev/null || true
a ping -qc 1 -W 1 -t 1 10.9.2.1 >/dev/null || true
a ping -qc 1 -W 1 -t 1 fd09:2::1 >/dev/null || true
a ping -qc 1 -W 1 -M do -s 1450 10.9.2.1 >/dev/null || true
a ping -qc 1 -W 1 -M do -s 1450 fd09:2::1 >/dev/null || true
a ping -qc 2 -W 1 -s 3000 10.9.2.1 >/dev/null || true
a ping -qc 2 -W 1 -s 3000 fd09:2::1 >/dev/null || true
a ping -qc 1 -W 1 -R 10.9.2.1 >/dev/null || true
a ping -qc 1 -W 1 -T tsandaddr 10.9.2.1 >/dev/null || true
a ping -qc 1 -W 1 -Q 0xb9 10.9.2.1 >/dev/null || true
a bash -c 'echo closed > /dev/udp/10.9.2.1/9; echo closed > /dev/udp/fd09:2::1/9; ! (: < /dev/tcp/10.9.2.1/9)' 2>/dev/null
capture_ends icmp.pcap

# HTTP: a file of 20 kB twice, with ECN, and with SACK because the router loses some segments.
head -c 15000 /dev/urandom | base64 -w 100 >"$work/file"
chmod 755 "$work" && chmod 644 "$work/file"
cat >"$work/nginx.conf" <<END
daemon off; pid $work/nginx.pid; error_log stderr; user root;
events {}
http { access_log off; server { listen 80; listen [::]:80; root $work; } }
END
ip netns exec rmpk-b nginx -c "$work/nginx.conf" -g 'worker_processes 1;' & started+=($!)
until a curl -so /dev/null --max-time 1 http://10.9.2.1/file; do :; done
r nft -f - <<END
table inet loss {
    chain forward {
        type filter hook forward priority 0;
        tcp sport 80 meta length > 1000 numgen inc mod 11 == 4 drop
    }
}
END
capture http.pcap a0 'tcp'
a curl -so /dev/null http://10.9.2.1/file
a curl -so /dev/null 'http://[fd09:2::1]/file'
capture_ends http.pcap

# DNS: A and AAAA over IPv4, over IPv6, a name that is not there.
ip netns exec rmpk-b dnsmasq --no-daemon --no-resolv --no-hosts --user=root --pid-file="$work/dnsmasq.pid" \
    --host-record=www.example.test,192.0.2.7,2001:db8::7 2>/dev/null & started+=($!)
mkdir -p /etc/netns/rmpk-a
capture dns.pcap a0 'udp port 53'
for server in 10.9.2.1 fd09:2::1; do
    echo "nameserver $server" >/etc/netns/rmpk-a/resolv.conf
    until a getent ahosts www.example.test >/dev/null; do :; done
    a getent ahosts nowhere.example.test >/dev/null || true
done
capture_ends dns.pcap
