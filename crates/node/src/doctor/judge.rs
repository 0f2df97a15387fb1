//! What a machine's facts mean for ringmail, and what to do about them.

use ringmail_dataplane_io::limits::{RECEIVE_BUFFER_BYTES, SEND_BUFFER_BYTES};

use super::{Facts, Finding, Program, State};

/// Bytes that a link asks for to receive, and to send.
const SOCKET_BUFFERS: (u64, u64) = (RECEIVE_BUFFER_BYTES as u64, SEND_BUFFER_BYTES as u64);

/// Files that a gateway with ten thousand clients has open.
const OPEN_FILES: u64 = 65_536;

/// The least MTU for which the usual inner packets need no smaller MSS than the Internet has.
const MTU_BYTES: u32 = 1500;

/// How far clocks of elements may be apart before certificates and leases are at risk.
const OFFSET_US: i64 = 1_000_000;

/// Judges everything, in the order in which a newcomer meets it.
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut all = Vec::new();
    let mut add = |check, state, found: String, means, mend: &str| {
        let mend = if state == State::Ok { String::new() } else { mend.to_owned() };
        all.push(Finding { check, state, found, means, mend });
    };
    add(
        "kernel",
        State::Ok,
        facts.kernel.clone(),
        "What it can do is tried below; its version decides nothing.",
        "",
    );
    let (state, found) = tried(&facts.namespace, State::Missing);
    let found = match (state, facts.root) {
        (State::Ok, true) => "root of the machine".to_owned(),
        (State::Ok, false) => "in a user namespace".to_owned(),
        _ => found,
    };
    add(
        "privileges",
        state,
        found,
        "Elements run in network namespaces: of the machine as root, else in a user namespace.",
        "run as root, or allow user namespaces: sysctl user.max_user_namespaces=16384, and on Ubuntu \
         kernel.apparmor_restrict_unprivileged_userns=0",
    );
    let (state, found) = tried(&facts.tun, State::Missing);
    add(
        "tun",
        state,
        found,
        "Gateway and egress take plain packets from a TUN, in super-packets of up to 64 KiB.",
        "load the module tun (modprobe tun), let /dev/net/tun be readable (chmod 666 /dev/net/tun), and pass it into the \
         container if this is one",
    );
    let state = if facts.tun_uso { State::Ok } else { State::Degraded };
    add(
        "tun-uso",
        state,
        if facts.tun_uso { "works" } else { "not there" }.to_owned(),
        "UDP inside chains crosses the TUN in super-packets; without it packet by packet, at a fraction of the rate.",
        "Linux 6.2 or newer",
    );
    for (check, tried_out, means) in [
        (
            "udp-gso",
            &facts.udp_gso,
            "Links send many frames in one call; without it at about a tenth of the rate.",
        ),
        (
            "udp-gro",
            &facts.udp_gro,
            "Links receive many frames in one call; without it at about a third of the rate.",
        ),
    ] {
        let (state, found) = tried(tried_out, State::Degraded);
        add(check, state, found, means, "Linux 5.0 or newer");
    }
    let (state, found) = tried(&facts.packet_socket, State::Degraded);
    add(
        "packet-socket",
        state,
        found,
        "Ethernet links, attached functions and captures use raw packets of an interface.",
        "give CAP_NET_RAW, and the module af_packet where the kernel has it as one",
    );
    let (state, found) = tried(&facts.xdp, State::Degraded);
    add(
        "xdp-socket",
        state,
        found,
        "`driver: xdp` of Ethernet links needs it, and nothing else.",
        "run as root of the machine on a kernel with CONFIG_XDP_SOCKETS, or keep `driver: packet`",
    );
    let (state, found) = tried(&facts.nft, State::Degraded);
    add(
        "nft",
        state,
        found,
        "Attached functions that filter or translate addresses are often nft rules; ringmail itself needs none.",
        "apt-get install nftables, on a kernel with nf_tables",
    );
    guards(facts, &mut add);
    let small: Vec<String> = facts
        .interfaces
        .iter()
        .filter(|(_, mtu)| *mtu < MTU_BYTES)
        .map(|(name, mtu)| format!("{name} {mtu}"))
        .collect();
    let every: Vec<String> =
        facts.interfaces.iter().map(|(name, mtu)| format!("{name} {mtu}")).collect();
    let found = match (small.is_empty(), every.is_empty()) {
        (_, true) => "no interface is up".to_owned(),
        (true, false) => every.join(", "),
        (false, false) => format!("below {MTU_BYTES}: {}", small.join(", ")),
    };
    add(
        "mtu",
        if small.is_empty() { State::Ok } else { State::Degraded },
        found,
        "Encapsulation takes about 100 bytes a frame; elements on several machines want 1500 bytes or more between them.",
        "raise the MTU of these interfaces, or set `links.mtu` to theirs",
    );
    clock(facts, &mut add);
    let (state, found) = tried(&facts.entropy, State::Missing);
    add(
        "entropy",
        state,
        found,
        "Keys are made from it; without it, the start waits.",
        "wait until the machine has gathered some, or give a virtual machine a virtio-rng device",
    );
    cpu(facts, &mut add);
    let (soft, hard) = facts.open_files;
    add(
        "open-files",
        if soft >= OPEN_FILES { State::Ok } else { State::Degraded },
        format!("{soft}, may be raised to {hard}"),
        "A gateway holds two or three files open for each connection; past the limit, new ones are refused.",
        &format!("ulimit -n {OPEN_FILES}, or LimitNOFILE={OPEN_FILES} in the unit"),
    );
    buffers(facts, &mut add);
    let missing: Vec<&Program> = facts.programs.iter().filter(|p| p.path.is_none()).collect();
    let names: Vec<&str> = missing.iter().map(|program| program.name).collect();
    let packages: Vec<&str> = missing.iter().map(|program| program.package).collect();
    add(
        "programs",
        if missing.is_empty() { State::Ok } else { State::Degraded },
        match missing.is_empty() {
            true => format!("all {} are there", facts.programs.len()),
            false => format!("not there: {}", names.join(", ")),
        },
        "Tests, captures and the manual's examples use them; chains run without.",
        &format!("apt-get install -y --no-install-recommends {}", packages.join(" ")),
    );
    all
}

type Add<'a> = &'a mut dyn FnMut(&'static str, State, String, &'static str, &str);

/// What keeps out of a domain what is not of it. `ringmail up` sees to the last two in the namespaces that it makes.
fn guards(facts: &Facts, add: Add<'_>) {
    let (state, found) = tried(&facts.rules, State::Degraded);
    add(
        "routing-rules",
        state,
        found,
        "By rules of routing an egress lets in only what comes from a service by the interface that leads to it.",
        "a kernel with CONFIG_IP_MULTIPLE_TABLES and CONFIG_IPV6_MULTIPLE_TABLES, and CAP_NET_ADMIN",
    );
    let listed = |names: &[String], none: &str| match names.is_empty() {
        true => (State::Ok, none.to_owned()),
        false => (State::Degraded, names.join(", ")),
    };
    let (state, found) = listed(&facts.any_address, "every interface is strict or loose");
    add(
        "any-address",
        state,
        found,
        "By these interfaces packets come in with any address, also one of the domain's; it matters where clients are.",
        "on a gateway's machine, for the interface towards clients: sysctl -w net.ipv4.conf.INTERFACE.rp_filter=1",
    );
    let (state, found) = listed(&facts.passes_on, "from no interface");
    add(
        "passes-on",
        state,
        found,
        "From these interfaces the kernel passes packets on; of all elements only an egress needs that, and not from its links.",
        "sysctl -w net.ipv4.ip_forward=0; on an egress's machine, for the interface of the links: sysctl -w \
         net.ipv4.conf.INTERFACE.forwarding=0",
    );
}

fn clock(facts: &Facts, add: Add<'_>) {
    let means = "Certificates, path sets and leases hold from and until a time; clocks of elements may be a second apart.";
    let mend = "run an NTP client: apt-get install chrony, or timedatectl set-ntp true";
    let (state, found) = match &facts.clock {
        Err(error) => (State::Degraded, format!("not known: {error}")),
        Ok(clock) if !clock.synchronized => (State::Degraded, "nobody keeps it right".to_owned()),
        Ok(clock) => {
            let far = clock.offset_us.abs() > OFFSET_US || clock.max_error_us > OFFSET_US;
            let state = if far { State::Degraded } else { State::Ok };
            let (offset, most) = (clock.offset_us, clock.max_error_us);
            (state, format!("kept right, {offset} us off, {most} us at most"))
        }
    };
    add("clock", state, found, means, mend);
}

fn cpu(facts: &Facts, add: Add<'_>) {
    let slow = match facts.architecture {
        "x86_64" | "aarch64" => !facts.features.contains(&"aes"),
        _ => true,
    };
    let features = match facts.features.is_empty() {
        true => "none of AES, VAES, AVX2, AVX-512".to_owned(),
        false => facts.features.join(", "),
    };
    add(
        "processor",
        if slow { State::Degraded } else { State::Ok },
        format!("{} x {}: {features}", facts.processors, facts.architecture),
        "AES-GCM runs in the processor's own instructions; without them, choose the suite chacha20-poly1305.",
        "write `suite: chacha20-poly1305` in the domain file, or use a processor with AES instructions",
    );
}

fn buffers(facts: &Facts, add: Add<'_>) {
    let means = "Links ask for 32 MiB to receive and 16 MiB to send, so that a burst waits instead of getting lost.";
    let (most_received, most_sent) = SOCKET_BUFFERS;
    let Some((receive, send)) = facts.socket_buffers else {
        let found = "not shown in this network namespace".to_owned();
        add("socket-buffers", State::Ok, found, means, "");
        return;
    };
    let enough = receive >= most_received && send >= most_sent;
    let root = facts.root;
    add(
        "socket-buffers",
        if enough || root { State::Ok } else { State::Degraded },
        match root && !enough {
            true => format!("receive {receive}, send {send}; root goes past that"),
            false => format!("receive {receive}, send {send}"),
        },
        means,
        &format!("sysctl -w net.core.rmem_max={most_received} net.core.wmem_max={most_sent}"),
    );
}

fn tried(outcome: &Result<(), String>, otherwise: State) -> (State, String) {
    match outcome {
        Ok(()) => (State::Ok, "works".to_owned()),
        Err(reason) => (otherwise, reason.clone()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::doctor::Clock;

    /// A machine on which everything is as it should be.
    fn good() -> Facts {
        Facts {
            kernel: "6.18.0".to_owned(),
            root: true,
            namespace: Ok(()),
            tun: Ok(()),
            tun_uso: true,
            udp_gso: Ok(()),
            udp_gro: Ok(()),
            packet_socket: Ok(()),
            xdp: Ok(()),
            nft: Ok(()),
            rules: Ok(()),
            any_address: Vec::new(),
            passes_on: Vec::new(),
            interfaces: vec![("eth0".to_owned(), 1500)],
            clock: Ok(Clock { synchronized: true, offset_us: -12, max_error_us: 9000 }),
            entropy: Ok(()),
            processors: 4,
            features: vec!["aes", "vaes"],
            architecture: "x86_64",
            open_files: (1 << 20, 1 << 20),
            socket_buffers: Some((32 << 20, 16 << 20)),
            programs: vec![Program {
                name: "curl",
                package: "curl",
                path: Some(PathBuf::from("/")),
            }],
        }
    }

    fn no() -> Result<(), String> {
        Err("not permitted".to_owned())
    }

    fn state(facts: &Facts, check: &str) -> (State, String) {
        let all = judge(facts);
        let finding = all.iter().find(|finding| finding.check == check).expect(check);
        (finding.state, finding.mend.clone())
    }

    #[test]
    fn a_good_machine_needs_nothing() {
        for finding in judge(&good()) {
            assert_eq!(finding.state, State::Ok, "{finding:?}");
            assert!(finding.mend.is_empty() && finding.means.ends_with('.'), "{finding:?}");
        }
    }

    #[test]
    fn every_lack_has_a_state_and_a_mend() {
        let clock = Clock { synchronized: true, offset_us: 0, max_error_us: 0 };
        type Lacking = Box<dyn Fn(&mut Facts)>;
        let lacks: [(&str, State, Lacking); 20] = [
            ("privileges", State::Missing, Box::new(|f| f.namespace = no())),
            ("tun", State::Missing, Box::new(|f| f.tun = no())),
            ("tun-uso", State::Degraded, Box::new(|f| f.tun_uso = false)),
            ("udp-gso", State::Degraded, Box::new(|f| f.udp_gso = no())),
            ("udp-gro", State::Degraded, Box::new(|f| f.udp_gro = no())),
            ("packet-socket", State::Degraded, Box::new(|f| f.packet_socket = no())),
            ("xdp-socket", State::Degraded, Box::new(|f| f.xdp = no())),
            ("nft", State::Degraded, Box::new(|f| f.nft = no())),
            ("routing-rules", State::Degraded, Box::new(|f| f.rules = no())),
            ("any-address", State::Degraded, Box::new(|f| f.any_address = vec!["eth0".to_owned()])),
            ("passes-on", State::Degraded, Box::new(|f| f.passes_on = vec!["eth0".to_owned()])),
            ("mtu", State::Degraded, Box::new(|f| f.interfaces.push(("wg0".to_owned(), 1420)))),
            ("clock", State::Degraded, Box::new(|f| f.clock = Err("refused".to_owned()))),
            (
                "clock",
                State::Degraded,
                Box::new(move |f| f.clock = Ok(Clock { synchronized: false, ..clock })),
            ),
            (
                "clock",
                State::Degraded,
                Box::new(move |f| f.clock = Ok(Clock { offset_us: -2_000_000, ..clock })),
            ),
            ("entropy", State::Missing, Box::new(|f| f.entropy = no())),
            ("processor", State::Degraded, Box::new(|f| f.features.clear())),
            ("open-files", State::Degraded, Box::new(|f| f.open_files = (1024, 4096))),
            (
                "socket-buffers",
                State::Degraded,
                Box::new(|f| (f.root, f.socket_buffers) = (false, Some((212_992, 212_992)))),
            ),
            ("programs", State::Degraded, Box::new(|f| f.programs[0].path = None)),
        ];
        for (check, expected, take_away) in lacks {
            let mut facts = good();
            take_away(&mut facts);
            let (found, mend) = state(&facts, check);
            assert_eq!(found, expected, "{check}");
            assert!(!mend.is_empty(), "{check} has no mend");
            let others = judge(&facts).into_iter().filter(|finding| finding.check != check);
            assert!(others.into_iter().all(|finding| finding.state == State::Ok), "{check}");
        }
    }

    #[test]
    fn the_mend_is_the_very_line() {
        let mut facts = good();
        (facts.root, facts.socket_buffers) = (false, Some((212_992, 212_992)));
        let expected = "sysctl -w net.core.rmem_max=33554432 net.core.wmem_max=16777216";
        assert_eq!(state(&facts, "socket-buffers").1, expected);
        facts.programs[0].path = None;
        let expected = "apt-get install -y --no-install-recommends curl";
        assert_eq!(state(&facts, "programs").1, expected);
    }
}
