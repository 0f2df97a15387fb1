//! Quotes of SGX and TDX under a root of the test: PCK chain, TCB information, quoting enclave's identity and all.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams,
    CustomExtension, DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber,
};
use ringmail_trust_core::function::{Anchors, IntelCollateral, IntelQuote};
use serde_json::json;
use time::format_description::well_known::Rfc3339;

use super::{DAY, NOW, moment};

/// A platform: its keys, certificates and firmware.
pub(crate) struct Intel {
    root: (Certificate, Issuer<'static, KeyPair>),
    pck_ca: (Certificate, Issuer<'static, KeyPair>),
    pck: (Certificate, KeyPair),
    tcb_signer: (Certificate, KeyPair),
}

/// What an enclave is like.
#[derive(Clone)]
pub(crate) struct Enclave {
    pub(crate) mr_enclave: [u8; 32],
    pub(crate) mr_signer: [u8; 32],
    pub(crate) product: u16,
    pub(crate) svn: u16,
    pub(crate) debug: bool,
}

/// What a machine is like.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) mr_td: [u8; 48],
    pub(crate) rtmrs: [[u8; 48]; 4],
    pub(crate) attributes: [u8; 8],
}

/// What Intel says of the platform.
#[derive(Clone)]
pub(crate) struct Says {
    pub(crate) status: &'static str,
    pub(crate) advisories: Vec<&'static str>,
    pub(crate) issued: u64,
    pub(crate) evaluation: u32,
    pub(crate) pck_revoked: bool,
    pub(crate) signer_revoked: bool,
    /// The least first component of the TCB; the platform has 5.
    pub(crate) wants: u8,
}

impl Default for Enclave {
    fn default() -> Enclave {
        Enclave { mr_enclave: [0xe1; 32], mr_signer: [0x51; 32], product: 7, svn: 3, debug: false }
    }
}

impl Default for Machine {
    fn default() -> Machine {
        Machine {
            mr_td: [0x7d; 48],
            rtmrs: [[0x10; 48], [0x11; 48], [0x12; 48], [0x13; 48]],
            attributes: [0, 0, 0, 0x10, 0, 0, 0, 0],
        }
    }
}

impl Default for Says {
    fn default() -> Says {
        Says {
            status: "UpToDate",
            advisories: Vec::new(),
            issued: NOW - DAY,
            evaluation: 20,
            pck_revoked: false,
            signer_revoked: false,
            wants: 5,
        }
    }
}

pub(crate) const PPID: [u8; 16] = [0x99; 16];

impl Intel {
    pub(crate) fn new() -> Intel {
        Intel::with_ppid(PPID)
    }

    pub(crate) fn with_ppid(ppid: [u8; 16]) -> Intel {
        let root_key = KeyPair::generate().expect("a key");
        let root_params = params("Test SGX Root CA", 1, true);
        let root = root_params.self_signed(&root_key).expect("a root");
        let root_issuer = Issuer::new(root_params, root_key);

        let ca_key = KeyPair::generate().expect("a key");
        let ca_params = params("Test SGX PCK Processor CA", 2, true);
        let ca = ca_params.signed_by(&ca_key, &root_issuer).expect("an intermediate");
        let ca_issuer = Issuer::new(ca_params, ca_key);

        let pck_key = KeyPair::generate().expect("a key");
        let mut pck_params = params("Test SGX PCK Certificate", 3, false);
        let extension = CustomExtension::from_oid_content(SGX, sgx_extension(&ppid));
        pck_params.custom_extensions = vec![extension];
        let pck = pck_params.signed_by(&pck_key, &ca_issuer).expect("a PCK certificate");

        let signer_key = KeyPair::generate().expect("a key");
        let signer = params("Test SGX TCB Signing", 4, false);
        let signer = signer.signed_by(&signer_key, &root_issuer).expect("a signer");
        Intel {
            root: (root, root_issuer),
            pck_ca: (ca, ca_issuer),
            pck: (pck, pck_key),
            tcb_signer: (signer, signer_key),
        }
    }

    /// The vendors' anchors, with this root in the place of Intel's.
    pub(crate) fn anchors(&self) -> Anchors {
        Anchors { intel: self.root.0.der().to_vec(), ..Anchors::vendors() }
    }

    pub(crate) fn sgx(&self, enclave: &Enclave, report_data: [u8; 64], says: &Says) -> IntelQuote {
        let report = enclave_report(enclave, &report_data);
        let quote = self.quote(3, 0, &report);
        IntelQuote { quote: quote.into(), collateral: Some(self.collateral("SGX", says)) }
    }

    pub(crate) fn tdx(&self, machine: &Machine, report_data: [u8; 64], says: &Says) -> IntelQuote {
        let mut report = vec![5, 0];
        report.resize(16, 5);
        report.extend([0x5e; 48]); // MRSEAM
        report.extend([0; 48 + 8]); // MRSIGNERSEAM, SEAMATTRIBUTES
        report.extend(machine.attributes);
        report.extend([0xe7, 2, 6, 0, 0, 0, 0, 0]); // XFAM
        report.extend(machine.mr_td);
        report.extend([0; 3 * 48]); // MRCONFIGID, MROWNER, MROWNERCONFIG
        machine.rtmrs.iter().for_each(|rtmr| report.extend(rtmr));
        report.extend(report_data);
        let quote = self.quote(4, 0x81, &report);
        IntelQuote { quote: quote.into(), collateral: Some(self.collateral("TDX", says)) }
    }

    pub(crate) fn collateral(&self, id: &str, says: &Says) -> IntelCollateral {
        let until = text(says.issued + 30 * DAY);
        let issued = text(says.issued);
        let components = |first: u8| -> Vec<_> {
            (0..16).map(|nth| json!({ "svn": if nth == 0 { first } else { 0 } })).collect()
        };
        let level = |first: u8, status: &str, advisories: &[&str]| {
            let mut tcb = json!({ "sgxtcbcomponents": components(first), "pcesvn": 1 });
            if id == "TDX" {
                tcb["tdxtcbcomponents"] = json!(components(0));
            }
            let date = "2026-01-01T00:00:00Z";
            json!({ "tcb": tcb, "tcbDate": date, "tcbStatus": status, "advisoryIDs": advisories })
        };
        let mut tcb = json!({
            "id": id, "version": 3, "issueDate": issued, "nextUpdate": until,
            "fmspc": "00A067110000", "pceId": "0000", "tcbType": 0,
            "tcbEvaluationDataNumber": says.evaluation,
            "tcbLevels": [level(says.wants, says.status, &says.advisories)],
        });
        if id == "TDX" {
            tcb["tdxModule"] = json!({
                "mrsigner": "0".repeat(96), "attributes": "0".repeat(16), "attributesMask": "F".repeat(16),
            });
        }
        let qe = json!({
            "id": if id == "TDX" { "TD_QE" } else { "QE" }, "version": 2,
            "issueDate": issued, "nextUpdate": until, "tcbEvaluationDataNumber": says.evaluation,
            "miscselect": "00000000", "miscselectMask": "FFFFFFFF",
            "attributes": format!("11{}", "0".repeat(30)),
            "attributesMask": format!("FBFFFFFFFFFFFFFF{}", "0".repeat(16)),
            "mrsigner": "8C".repeat(32), "isvprodid": 1,
            "tcbLevels": [{
                "tcb": { "isvsvn": 8 }, "tcbDate": "2026-01-01T00:00:00Z", "tcbStatus": "UpToDate",
            }],
        });
        let (tcb, qe) = (tcb.to_string(), qe.to_string());
        let chain = format!("{}{}", self.tcb_signer.0.pem(), self.root.0.pem());
        let crl = |issuer: &Issuer<'_, KeyPair>, revoked: Option<u64>| {
            let revoked = revoked.map(|serial| RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: moment(says.issued),
                reason_code: None,
                invalidity_date: None,
            });
            let list = CertificateRevocationListParams {
                this_update: moment(says.issued),
                next_update: moment(says.issued + 30 * DAY),
                crl_number: SerialNumber::from(1),
                issuing_distribution_point: None,
                revoked_certs: revoked.into_iter().collect(),
                key_identifier_method: KeyIdMethod::Sha256,
            };
            list.signed_by(issuer).expect("a list").der().to_vec()
        };
        IntelCollateral {
            root_ca_crl: crl(&self.root.1, says.signer_revoked.then_some(4)).into(),
            pck_crl: crl(&self.pck_ca.1, says.pck_revoked.then_some(3)).into(),
            tcb_info_signature: sign(&self.tcb_signer.1, tcb.as_bytes()).into(),
            tcb_info: tcb,
            tcb_info_issuer_chain: chain.clone(),
            qe_identity_signature: sign(&self.tcb_signer.1, qe.as_bytes()).into(),
            qe_identity: qe,
            qe_identity_issuer_chain: chain,
        }
    }

    fn quote(&self, version: u16, tee: u32, report: &[u8]) -> Vec<u8> {
        let attestation_key = KeyPair::generate().expect("a key");
        let key = &fixed(&attestation_key).public_key().as_ref()[1..].to_vec();
        let auth = [0xaa; 32];
        let mut bound = [0; 64];
        bound[..32].copy_from_slice(digest(&SHA256, &[key, &auth[..]].concat()).as_ref());
        let quoting = Enclave {
            mr_enclave: [0x9e; 32],
            mr_signer: [0x8c; 32],
            product: 1,
            svn: 8,
            debug: false,
        };
        let qe_report = enclave_report(&quoting, &bound);
        let chain: String =
            [&self.pck.0, &self.pck_ca.0, &self.root.0].map(Certificate::pem).concat();

        let mut certified = qe_report.clone();
        certified.extend(sign(&self.pck.1, &qe_report));
        certified.extend(32u16.to_le_bytes());
        certified.extend(auth);
        certified.extend(5u16.to_le_bytes());
        certified.extend((chain.len() as u32 + 1).to_le_bytes());
        certified.extend(chain.as_bytes());
        certified.push(0);

        let mut quote = Vec::new();
        quote.extend(version.to_le_bytes());
        quote.extend(2u16.to_le_bytes());
        quote.extend(tee.to_le_bytes());
        quote.extend([9, 0, 13, 0]);
        quote.extend(INTEL_VENDOR);
        quote.extend([0; 20]);
        quote.extend(report);
        let mut data = sign(&attestation_key, &quote);
        data.extend(key);
        if version > 3 {
            data.extend(6u16.to_le_bytes());
            data.extend((certified.len() as u32).to_le_bytes());
        }
        data.extend(certified);
        quote.extend((data.len() as u32).to_le_bytes());
        quote.extend(data);
        quote
    }
}

fn enclave_report(enclave: &Enclave, report_data: &[u8; 64]) -> Vec<u8> {
    let mut report = vec![5; 16];
    report.extend([0; 4 + 28]);
    report.push(0x11 | if enclave.debug { 2 } else { 0 });
    report.extend([0; 15]);
    report.extend(enclave.mr_enclave);
    report.extend([0; 32]);
    report.extend(enclave.mr_signer);
    report.extend([0; 96]);
    report.extend(enclave.product.to_le_bytes());
    report.extend(enclave.svn.to_le_bytes());
    report.extend([0; 60]);
    report.extend(report_data);
    report
}

fn params(name: &str, serial: u64, authority: bool) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(serial));
    params.not_before = moment(NOW - 3650 * DAY);
    params.not_after = moment(NOW + 3650 * DAY);
    params.use_authority_key_identifier_extension = true;
    if authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    } else {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    }
    params
}

/// The extension of PCK certificates (Intel SGX PCK certificate specification).
fn sgx_extension(ppid: &[u8; 16]) -> Vec<u8> {
    use yasna::models::ObjectIdentifier;
    let oid = |tail: &[u64]| ObjectIdentifier::new([SGX, tail].concat());
    yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            let mut bytes = |tail: &[u64], value: &[u8]| {
                writer.next().write_sequence(|writer| {
                    writer.next().write_oid(&oid(tail));
                    writer.next().write_bytes(value);
                });
            };
            bytes(&[1], ppid);
            bytes(&[3], &[0; 2]);
            bytes(&[4], &[0, 0xa0, 0x67, 0x11, 0, 0]);
            writer.next().write_sequence(|writer| {
                writer.next().write_oid(&oid(&[2]));
                writer.next().write_sequence(|writer| {
                    writer.next().write_sequence(|writer| {
                        writer.next().write_oid(&oid(&[2, 17]));
                        writer.next().write_u16(13);
                    });
                    writer.next().write_sequence(|writer| {
                        writer.next().write_oid(&oid(&[2, 18]));
                        writer.next().write_bytes(&[5; 16]);
                    });
                });
            });
            writer.next().write_sequence(|writer| {
                writer.next().write_oid(&oid(&[5]));
                writer.next().write_enum(0);
            });
        });
    })
}

fn sign(key: &KeyPair, message: &[u8]) -> Vec<u8> {
    fixed(key).sign(&SystemRandom::new(), message).expect("a signature").as_ref().to_vec()
}

fn fixed(key: &KeyPair) -> EcdsaKeyPair {
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    EcdsaKeyPair::from_pkcs8(algorithm, &key.serialize_der()).expect("a key")
}

fn text(unix_s: u64) -> String {
    moment(unix_s).format(&Rfc3339).expect("a time")
}

const SGX: &[u64] = &[1, 2, 840, 113741, 1, 13, 1];
const INTEL_VENDOR: [u8; 16] = [
    0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
];
