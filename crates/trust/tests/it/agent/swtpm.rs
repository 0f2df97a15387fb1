//! A TPM in a process, manufactured for the test; and a host that measures files with it.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ringmail_trust::agent::tpm::{Template, Tpm, TpmAddress};
use ringmail_trust::agent::{HostAgent, ImaFile, ImaForm};
use ringmail_trust_core::host::encoding::Base64;
use ringmail_trust_core::host::ima::entries;
use ringmail_trust_core::host::policy::{PolicySet, RuntimePolicy, ScopedPolicy};
use ringmail_trust_core::host::tpm::{EkRoots, Hash, PcrSelection, TpmName};
use ringmail_trust_core::host::{
    Challenge, Check, HostEvidence, HostReference, HostState, HostVerdict, ImaEntries, Round,
    appraise,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;

use crate::harness::Place;

/// A TPM, and the CA that certified it.
pub(super) struct Swtpm {
    place: Place,
    child: Option<Child>,
}

impl Swtpm {
    /// A new one, with a CA of its own.
    pub(super) fn manufacture() -> Swtpm {
        let place = Place::new();
        let at = |name: &str| place.path().join(name);
        fs::create_dir(at("ca")).expect("a directory");
        fs::create_dir(at("state")).expect("a directory");
        let ca = at("ca").display().to_string();
        let localca = format!(
            "statedir = {ca}\nsigningkey = {ca}/signkey.pem\nissuercert = {ca}/issuercert.pem\n\
             certserial = {ca}/certserial\n"
        );
        fs::write(at("localca.conf"), localca).expect("a file");
        let options =
            "--platform-manufacturer Ringmail\n--platform-version 1\n--platform-model test\n";
        fs::write(at("localca.options"), options).expect("a file");
        let setup = format!(
            "create_certs_tool = /usr/bin/swtpm_localca\ncreate_certs_tool_config = {}\n\
             create_certs_tool_options = {}\n",
            at("localca.conf").display(),
            at("localca.options").display()
        );
        fs::write(at("setup.conf"), setup).expect("a file");
        let output = Command::new("swtpm_setup")
            .args(["--tpm2", "--create-ek-cert", "--pcr-banks", "sha1,sha256"])
            .arg("--config")
            .arg(at("setup.conf"))
            .arg("--tpm-state")
            .arg(at("state"))
            .output()
            .expect("swtpm_setup, of Debian's swtpm-tools");
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "swtpm_setup: {said}{errors}");
        let mut swtpm = Swtpm { place, child: None };
        swtpm.power_on();
        swtpm
    }

    fn at(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn power_on(&mut self) {
        let socket = self.at("data");
        drop(fs::remove_file(&socket));
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .arg("--tpmstate")
            .arg(format!("dir={}", self.at("state").display()))
            .arg("--server")
            .arg(format!("type=unixio,path={}", socket.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("swtpm, of Debian");
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(60);
        while !socket.exists() {
            let child = self.child.as_mut().expect("a process");
            let ended = child.try_wait().expect("a process");
            assert!(ended.is_none(), "swtpm ended with {ended:?}");
            assert!(Instant::now() < deadline, "swtpm opens no socket");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn power_off(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// A line to it; it takes one at a time.
    pub(super) fn connect(&self) -> Tpm {
        Tpm::open(&TpmAddress::Unix(self.at("data"))).expect("a TPM")
    }

    fn certificate(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.at("ca").join(name)).expect("a certificate")
    }

    /// The root of its maker.
    pub(super) fn roots(&self) -> EkRoots {
        EkRoots::new([self.certificate("swtpm-localca-rootca-cert.pem")]).expect("a root")
    }

    /// What stands between its certificates and the root.
    pub(super) fn intermediates(&self) -> Vec<Vec<u8>> {
        vec![self.certificate("issuercert.pem").to_vec()]
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        self.power_off();
    }
}

/// A host that measures files, and the verifier's side of it.
pub(super) struct Host {
    pub(super) swtpm: Swtpm,
    pub(super) agent: HostAgent,
    template: Template,
    pub(super) enrolled: TpmName,
    pub(super) reference: HostReference,
    pub(super) state: HostState,
    rounds: u8,
}

/// Real files that every Debian has.
pub(super) const FILES: [&str; 4] =
    ["/usr/bin/env", "/usr/bin/ls", "/usr/bin/cp", "/etc/debian_version"];

/// Registers that firmware extends.
const BOOT: [u8; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

impl Host {
    /// One that has booted and run [`FILES`]; its reference values are those of its own boot.
    pub(super) fn boot(template: Template) -> Host {
        let swtpm = Swtpm::manufacture();
        fs::write(swtpm.at("list"), "").expect("a list");
        let agent = Host::agent(&swtpm, template);
        let enrolled = agent.ak().name();
        let digests = FILES.iter().map(|path| {
            let contents = fs::read(path).expect(path);
            ((*path).to_owned(), json!([Hash::Sha256.digest(&[&contents]).to_string()]))
        });
        let policy = json!({
            "meta": {"version": 1, "generator": 1},
            "release": 0,
            "digests": digests.collect::<serde_json::Map<_, _>>(),
            "excludes": [],
            "keyrings": {},
            "ima": {"ignored_keyrings": [], "log_hash_alg": "sha1", "dm_policy": null},
            "ima-buf": {},
            "verification-keys": "",
        });
        let policy = RuntimePolicy::from_json(policy.to_string().as_bytes()).expect("a policy");
        let policies = vec![ScopedPolicy::everywhere("base", Arc::new(policy))];
        let policies = PolicySet::unite(policies).expect("a policy");
        let reference = HostReference {
            banks: vec![Hash::Sha1, Hash::Sha256],
            ..HostReference::of_policies(policies)
        };
        let state = HostState::default();
        let mut host = Host { swtpm, agent, template, enrolled, reference, state, rounds: 0 };
        host.firmware(b"firmware");
        let registers = boot_registers();
        let golden = host.agent.tpm().read_pcrs(&registers).expect("registers");
        let allowed = |pcr| (pcr, vec![golden[&Hash::Sha256][&pcr]]);
        host.reference.boot = [(Hash::Sha256, BOOT.map(allowed).into())].into();
        host.measure_boot();
        FILES.iter().for_each(|path| host.run(path));
        host
    }

    fn agent(swtpm: &Swtpm, template: Template) -> HostAgent {
        let list = ImaFile::new(swtpm.at("list"), ImaForm::Text);
        let agent = HostAgent::new(swtpm.connect(), template, list).expect("an agent");
        agent.with_certificates(None, swtpm.intermediates())
    }

    /// What firmware does.
    pub(super) fn firmware(&mut self, what: &[u8]) {
        for pcr in BOOT {
            let digests = [Hash::Sha1, Hash::Sha256].map(|bank| (bank, bank.digest(&[what])));
            self.agent.tpm().extend_pcr(pcr, &digests).expect("extended");
        }
    }

    /// The kernel's first entry.
    pub(super) fn measure_boot(&mut self) {
        let selection = boot_registers();
        let values = self.agent.tpm().read_pcrs(&selection).expect("registers");
        let digest = selection.digest(Hash::Sha256, &values).expect("all");
        self.measure(&format!("sha256:{digest} boot_aggregate"));
    }

    /// Runs a file: the kernel measures it.
    pub(super) fn run(&mut self, path: &str) {
        let contents = fs::read(path).expect(path);
        self.measure(&format!("sha256:{} {path}", Hash::Sha256.digest(&[&contents])));
    }

    /// The kernel puts an entry on its list, and extends register 10.
    pub(super) fn measure(&mut self, fields: &str) {
        let line = self.list_entry(fields);
        let list = ImaEntries::Text(line);
        let entry = entries(&list, Hash::Sha1).next().expect("an entry").expect("an entry");
        let digests = [Hash::Sha1, Hash::Sha256].map(|bank| (bank, entry.template_digest(bank)));
        self.agent.tpm().extend_pcr(10, &digests).expect("extended");
    }

    /// The kernel puts an entry on its list, and is about to extend register 10.
    pub(super) fn list_entry(&mut self, fields: &str) -> String {
        let draft = ImaEntries::Text(format!("10 {} ima-ng {fields}", Hash::Sha1.ones()));
        let entry = entries(&draft, Hash::Sha1).next().expect("an entry").expect("an entry");
        let line = format!("10 {} ima-ng {fields}\n", entry.template_digest(Hash::Sha1));
        let mut list = fs::OpenOptions::new().append(true).open(self.swtpm.at("list"));
        list.as_mut().expect("a list").write_all(line.as_bytes()).expect("written");
        line
    }

    pub(super) fn list(&self) -> String {
        fs::read_to_string(self.swtpm.at("list")).expect("a list")
    }

    pub(super) fn set_list(&self, text: &str) {
        fs::write(self.swtpm.at("list"), text).expect("a list");
    }

    /// Power off and on: registers are new, the list is empty, and the agent starts.
    pub(super) fn reboot(&mut self) {
        self.agent.tpm().shutdown().expect("shut down");
        self.swtpm.power_off();
        self.swtpm.power_on();
        self.set_list("");
        self.agent = Host::agent(&self.swtpm, self.template);
    }

    /// A new question.
    pub(super) fn challenge(&mut self) -> Challenge {
        self.rounds += 1;
        Challenge { nonce: Base64(vec![self.rounds; 32]), issued_unix_ms: 1_000_000 }
    }

    /// What the host answers.
    pub(super) fn answer(&mut self, challenge: &Challenge) -> HostEvidence {
        let first = self.state.next_entry(&self.reference.fingerprint());
        let registers = self.reference.wanted_registers();
        self.agent.evidence(&challenge.nonce.0, &registers, first).expect("evidence")
    }

    /// What the verifier says.
    pub(super) fn judge(&mut self, challenge: &Challenge, evidence: &HostEvidence) -> HostVerdict {
        let received_unix_ms = challenge.issued_unix_ms + 100;
        let round = Round { enrolled: &self.enrolled, challenge, received_unix_ms };
        let appraisal = appraise(evidence, &round, &self.reference, &self.state);
        self.state = appraisal.state;
        appraisal.verdict
    }

    pub(super) fn round(&mut self) -> HostVerdict {
        let challenge = self.challenge();
        let evidence = self.answer(&challenge);
        self.judge(&challenge, &evidence)
    }
}

fn boot_registers() -> PcrSelection {
    PcrSelection::new([(Hash::Sha256, &BOOT[..])])
}

/// The checks that failed, each once.
pub(super) fn failed(verdict: &HostVerdict) -> Vec<Check> {
    let mut checks: Vec<Check> = verdict.failed.iter().map(|failed| failed.check).collect();
    checks.dedup();
    checks
}
