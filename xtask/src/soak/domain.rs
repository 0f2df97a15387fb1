//! The domain of a soak: two clients, three functions, an HTTPS and a `tls` listener, and the files that reloads go through.

/// What the domain is called.
pub(crate) const NAME: &str = "soak.example";

/// The HTTPS listener.
pub(crate) const WEB: &str = "www.soak.example:443:192.0.2.1";

/// The `tls` listener, behind which is the same service.
pub(crate) const RAW: &str = "raw.soak.example:8443:192.0.2.1";

const BASE: &str = "\
domain: soak.example
suite: aes-128-gcm
keying: sap

limits: {drain_ms: 10000, lease_s: 15}

links:
  network: 10.77.0.0/24
  mtu: 1500

gateway:
  outside: [192.0.2.0/24]
  inner: [10.78.0.0/24]
  access_log: {file: access.log, max_bytes: 100000000, keep: 1}
  limits: {pool_idle_timeout_ms: 500}   # idle ones ask once a second whether the service is there
  listeners:
    - name: web
      address: 192.0.2.1:443
      certificates:
        - server_names: [www.soak.example]
    - name: raw
      kind: tls
      address: 192.0.2.1:8443
      certificates:
        - server_names: [raw.soak.example]

egress:
  networks: [10.79.0.0/24]

clients:
  - name: client1
    address: 192.0.2.11
  - name: client2
    address: 192.0.2.12

services:
  - name: www
    addresses: [10.79.0.10:80]
    server_names: [www.soak.example, raw.soak.example]
    site: {files: 9, total_bytes: 600000, download_bytes: 20000000}

functions:
  - name: sf1
    kind: forward
    intrusive: false
  - name: sf2
    kind: dpi
    intrusive: true
    dpi:
      rules:
        - {name: forbidden, bytes: contraband, action: reset}
  - name: sf3
    kind: firewall
    intrusive: true
    firewall:
      rules:
        - {name: web, protocols: [tcp], ports: [80], action: allow}

paths:
  - name: plain
    hops: [sf1]
    service: www
  - name: inspected
    hops: [sf3, sf2]
    service: www

rules:
  - name: raw
    when: {clients: [client2], protocols: [raw-http]}
    path: inspected
  - name: client1
    when: {clients: [client1]}
    path: plain
  - name: client2
    when: {clients: [client2]}
    path: inspected
";

/// The file of a variant; 0 is what the domain comes up with.
pub(crate) fn file(variant: u64) -> String {
    let changes: &[(&str, &str)] = match variant {
        1 => &[("hops: [sf1]\n", "hops: [sf1, sf2]\n")],
        2 => &[("bytes: contraband", "bytes: something else that nobody sends")],
        // Another function comes; with every other variant it goes.
        3 => &[
            ("functions:\n", "functions:\n  - {name: sf4, kind: forward, intrusive: true}\n"),
            ("hops: [sf1]\n", "hops: [sf4, sf1]\n"),
            ("hops: [sf3, sf2]\n", "hops: [sf4, sf3]\n"),
        ],
        4 => &[("lease_s: 15}", "lease_s: 20, rekey_after_s: 5, replay_window_packets: 8192}")],
        5 => &[
            ("hops: [sf3, sf2]\n", "hops: [sf2, sf3, sf1]\n"),
            (
                "- {name: web,",
                "- {name: none, sources: [10.78.9.0/24], action: drop}\n        - {name: web,",
            ),
        ],
        _ => &[],
    };
    changes.iter().fold(BASE.to_owned(), |file, (old, new)| file.replacen(old, new, 1))
}

#[cfg(test)]
mod tests {
    use super::super::plan::VARIANTS;
    use super::*;

    #[test]
    fn every_variant_is_another_file() {
        let files: std::collections::BTreeSet<String> = (0..VARIANTS).map(file).collect();
        assert_eq!(files.len() as u64, VARIANTS);
    }
}
