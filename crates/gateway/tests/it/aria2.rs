//! aria2 with sixteen connections against an unmodified nginx.

use tokio::process::Command;

use crate::backend::Backend;
use crate::curl::Dir;
use crate::nginx::Nginx;
use crate::world::{World, pki};

#[tokio::test]
async fn sixteen_connections_fetch_one_file() {
    let nginx = Nginx::start("aria2").await;
    let content: Vec<u8> = (0..64_000_000_usize).map(|n| (n * 31 / 7) as u8).collect();
    nginx.file("big.bin", &content);
    let world = World::new(&Backend { address: nginx.address, accepted: Default::default() });
    let dir = Dir::new("aria2");
    let output = Command::new("aria2c")
        .args(["--no-conf", "-x16", "-s16", "-k1M", "--check-certificate=true", "--no-netrc"])
        .arg(format!("--ca-certificate={}", dir.file("ca.pem", &pki().ca_pem)))
        .arg(format!("--certificate={}", dir.file("cert.pem", &pki().alice.cert_pem)))
        .arg(format!("--private-key={}", dir.file("key.pem", &pki().alice.key_pem)))
        .arg(format!("--dir={}", dir.0.display()))
        // By address: aria2 asks the system for names, and sends none of these.
        .arg(format!("https://127.0.0.1:{}/open/big.bin", world.address.port()))
        .output()
        .await
        .expect("aria2c is installed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(std::fs::read(dir.0.join("big.bin")).unwrap() == content, "{said}");
    assert!(world.counters.connections_authenticated.get() >= 16, "{:?}", world.counters);
    assert_eq!(world.counters.requests.get(), world.counters.requests_allowed.get());
}
