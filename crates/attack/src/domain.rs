//! The domain that is attacked.
//!
//! ```text
//!  alice ───┐                ┌─ sf1 ─────────────────┐
//!  bob ─────┼─ TLS ─ gateway ┤  sf1 ─ sf2 (inspects) ├─ egress ─┬─ www
//!  mallory ─┘                ├  sf3 (firewall) ──────┤          └─ vault
//!                            ├  sf1 ─ sf4 (is told)  ┤
//!                            └  legacy (knows no chains) ┘
//! ```
//!
//! Mallory is a client of the domain who may read `/public/**` and nothing else.

/// What the domain is called.
pub(crate) const NAME: &str = "attack.example";

/// The two services, by server name.
pub(crate) const WWW: &str = "www.attack.example";
pub(crate) const VAULT: &str = "vault.attack.example";

/// Where clients connect to.
pub(crate) const LISTENER: &str = "192.0.2.1:443";

/// Where the services are.
pub(crate) const WWW_ADDRESS: &str = "10.79.0.10:80";
pub(crate) const VAULT_ADDRESS: &str = "10.79.0.20:80";

/// The word that the inspection stops.
pub(crate) const FORBIDDEN: &str = "contraband";

const TEXT: &str = "\
domain: attack.example
profile: mpls
suite: aes-128-gcm
keying: sap

limits: {lease_s: 30, drain_ms: 1000}

links:
  network: 10.77.0.0/24
  mtu: 1550
  jumbo: true

gateway:
  outside: [192.0.2.0/24]
  inner: [10.78.0.0/24, 'fd00:78::/64']
  workers: 1
  access_log: {file: access.log}
  limits:
    connections: 48
    connections_a_client: 32
    handshakes_an_address: 24
    handshake_timeout_ms: 1500
    header_timeout_ms: 1500
    pool_idle_timeout_ms: 500
  listeners:
    - name: web
      address: 192.0.2.1:443
      certificates:
        - server_names: [www.attack.example]
        - server_names: [vault.attack.example]

egress:
  networks: [10.79.0.0/24, 'fd00:79::/64']
  workers: 1

clients:
  - name: alice
    address: 192.0.2.11
  - name: bob
    address: 192.0.2.12
  - name: mallory
    address: 192.0.2.13

services:
  - name: www
    addresses: [10.79.0.10:80, '[fd00:79::10]:80']
    server_names: [www.attack.example]
  - name: vault
    addresses: [10.79.0.20:80]
    server_names: [vault.attack.example]

functions:
  - name: sf1
    kind: forward
    intrusive: false
    workers: 1
  - name: sf2
    kind: dpi
    intrusive: true
    workers: 1
    dpi:
      rules:
        - {name: forbidden, bytes: contraband, action: reset}
  - name: sf3
    kind: firewall
    intrusive: true
    workers: 1
    firewall:
      rules:
        - {name: web, protocols: [tcp, udp], ports: [80], action: allow}
  - name: sf4
    kind: firewall
    intrusive: true
    workers: 1
    metadata: [identity]
    firewall:
      default: reject
      rules:
        - {name: bob, identities: ['spiffe://attack.example/client/bob'], protocols: [tcp], ports: [80], action: allow}

  - name: legacy
    kind: attached
    intrusive: true
    workers: 1
    attached: {shape: router, checksums: full}

paths:
  - name: plain
    hops: [sf1]
    service: www
  - name: inspected
    hops: [sf1, sf2]
    service: www
  - name: filtered
    hops: [sf3]
    service: www
  - name: legacy
    hops: [legacy]
    service: www
  - name: told
    hops: [sf1, sf4]
    service: www
  - name: vault
    hops: [sf1, sf2]
    service: vault

rules:
  - name: told
    when: {clients: [alice, bob], hosts: [www.attack.example], methods: [PUT]}
    path: told
  - name: alice-legacy
    when: {clients: [alice], hosts: [www.attack.example], methods: [OPTIONS]}
    path: legacy
  - name: alice
    when: {clients: [alice], hosts: [www.attack.example]}
    path: plain
  - name: bob
    when: {clients: [bob], hosts: [www.attack.example]}
    path: inspected
  - name: bob-vault
    when: {clients: [bob], hosts: [vault.attack.example]}
    path: vault
  - name: mallory
    when: {clients: [mallory], methods: [GET], paths: ['/public/**']}
    path: filtered
";

/// The domain file in this profile, which may have the integrity of RFC 9145 behind a plus.
pub(crate) fn file(profile: &str) -> String {
    let (profile, integrity) = match profile.split_once('+') {
        Some((profile, integrity)) => (profile, format!("integrity: {integrity}\n")),
        None => (profile, String::new()),
    };
    let text = TEXT.replacen("profile: mpls\n", &format!("profile: {profile}\n{integrity}"), 1);
    if profile != "mpls" {
        return text;
    }
    // Labels alone tell functions nothing.
    let identities = "identities: ['spiffe://attack.example/client/bob'], ";
    text.replacen("    metadata: [identity]\n", "", 1).replacen(identities, "", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domain_is_sound() {
        for profile in crate::PROFILES {
            let loaded = ringmail_model::check::load(&file(profile), "attack.yaml");
            let loaded = loaded.unwrap_or_else(|wrong| panic!("{wrong}"));
            assert_eq!(loaded.domain.domain.to_string(), NAME);
        }
    }
}
