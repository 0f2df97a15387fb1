//! The certificates behind a report: AMD's root (ARK), what issues certificates of chips (ASK) or of clouds (ASVK), and the
//! key that signed (AMD 57230, "VCEK Certificate and KDS Interface").

use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA384, UnparsedPublicKey};
use x509_parser::asn1_rs::{Any, Oid, oid};
use x509_parser::oid_registry::OID_PKCS1_RSASSAPSS;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};
use x509_parser::x509::AlgorithmIdentifier;

use crate::function::anchors::AmdAnchor;
use crate::function::claims::SnpTcb;

/// Why certificates do not stand behind a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ChainError {
    #[error("the {0} is no certificate")]
    NoCertificate(&'static str),
    #[error("the {0} is not signed by who should have issued it")]
    Issuer(&'static str),
    #[error("the {0} is not valid at this time")]
    Time(&'static str),
    #[error("no known generation of processors issued its certificate")]
    Product,
    #[error("the certificate is not of the kind of key that signed")]
    Kind,
    #[error("the certificate says nothing of {0}")]
    Missing(&'static str),
    #[error("AMD revoked what issued the certificate")]
    Revoked,
    #[error("AMD's revocation list is none of this generation's root")]
    Crl,
}

/// What a certificate of a chip says, in the words of its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chip {
    pub(super) tcb: SnpTcb,
    /// None for a cloud's key; eight bytes and zeros on Turin.
    pub(super) id: Option<[u8; 64]>,
}

/// A certificate of DER, and nothing behind it.
pub(super) fn parse<'a>(
    der: &'a [u8],
    what: &'static str,
) -> Result<X509Certificate<'a>, ChainError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(ChainError::NoCertificate(what)),
    }
}

/// The generation whose keys issued a certificate, with every signature on the way looked at.
pub(super) fn chain<'a>(
    leaf: &X509Certificate<'_>,
    intermediate: Option<&[u8]>,
    anchors: &'a [AmdAnchor],
    now: u64,
) -> Result<&'a AmdAnchor, ChainError> {
    let product = text(leaf, &PRODUCT).ok_or(ChainError::Missing("its product"))?;
    // `Milan-B0` is of the generation Milan.
    let product = product.split('-').next().unwrap_or_default().to_owned();
    let anchor = anchors.iter().find(|anchor| anchor.product == product);
    let anchor = anchor.ok_or(ChainError::Product)?;
    let ark = parse(&anchor.ark, "root")?;
    let ask = parse(intermediate.unwrap_or(&anchor.ask), "intermediate")?;
    for (certificate, issuer, what) in
        [(&ark, &ark, "root"), (&ask, &ark, "intermediate"), (leaf, &ask, "chip's certificate")]
    {
        signed(certificate, issuer).ok_or(ChainError::Issuer(what))?;
        if !valid(certificate, now) {
            return Err(ChainError::Time(what));
        }
    }
    let authority = |certificate: &X509Certificate<'_>| certificate.is_ca();
    if !authority(&ark) || !authority(&ask) || authority(leaf) {
        return Err(ChainError::Issuer("chip's certificate"));
    }
    Ok(anchor)
}

/// When the revocation list was issued, and until when it counts; refused where it revokes the intermediate.
pub(super) fn crl(
    der: &[u8],
    anchor: &AmdAnchor,
    intermediate: Option<&[u8]>,
) -> Result<(u64, u64), ChainError> {
    let ark = parse(&anchor.ark, "root")?;
    let ask = parse(intermediate.unwrap_or(&anchor.ask), "intermediate")?;
    let Ok(([], list)) = CertificateRevocationList::from_der(der) else {
        return Err(ChainError::Crl);
    };
    let algorithm = &list.signature_algorithm;
    let holds = *algorithm == list.tbs_cert_list.signature
        && list.issuer() == ark.subject()
        && pss(algorithm, &ark, list.tbs_cert_list.as_ref(), &list.signature_value.data).is_some();
    if !holds {
        return Err(ChainError::Crl);
    }
    let revoked =
        |serial: &[u8]| list.iter_revoked_certificates().any(|r| r.raw_serial() == serial);
    if revoked(ask.raw_serial()) {
        return Err(ChainError::Revoked);
    }
    let second = |time: i64| u64::try_from(time).map_err(|_| ChainError::Crl);
    let until = list.next_update().ok_or(ChainError::Crl)?;
    Ok((second(list.last_update().timestamp())?, second(until.timestamp())?))
}

/// What the extensions of a chip's certificate say.
pub(super) fn chip(leaf: &X509Certificate<'_>, vlek: bool) -> Result<Chip, ChainError> {
    let version = |id, what| number(leaf, id).ok_or(ChainError::Missing(what));
    let tcb = SnpTcb {
        bootloader: version(&BOOTLOADER, "its boot loader")?,
        tee: version(&TEE, "its operating system")?,
        snp: version(&SNP, "its firmware")?,
        microcode: version(&MICROCODE, "its microcode")?,
        fmc: number(leaf, &FMC).unwrap_or(0),
    };
    let cloud = value(leaf, &CLOUD).is_some();
    if cloud != vlek {
        return Err(ChainError::Kind);
    }
    let id = match vlek {
        true => None,
        false => Some(hardware(leaf).ok_or(ChainError::Missing("its chip's id"))?),
    };
    Ok(Chip { tcb, id })
}

/// Whether `issuer` signed a certificate, by name and by key, in the one way that AMD's keys sign.
fn signed(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> Option<()> {
    let algorithm = &certificate.signature_algorithm;
    let named = certificate.issuer() == issuer.subject();
    if !named || *algorithm != certificate.tbs_certificate.signature {
        return None;
    }
    let message = certificate.tbs_certificate.as_ref();
    pss(algorithm, issuer, message, &certificate.signature_value.data)
}

fn pss(
    algorithm: &AlgorithmIdentifier<'_>,
    issuer: &X509Certificate<'_>,
    message: &[u8],
    signature: &[u8],
) -> Option<()> {
    if algorithm.algorithm != OID_PKCS1_RSASSAPSS {
        return None;
    }
    let key = &issuer.public_key().subject_public_key.data;
    let key = UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, key);
    key.verify(message, signature).ok()
}

fn valid(certificate: &X509Certificate<'_>, now: u64) -> bool {
    let validity = certificate.validity();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    validity.not_before.timestamp() <= now && now <= validity.not_after.timestamp()
}

fn value<'a>(certificate: &'a X509Certificate<'_>, id: &Oid<'_>) -> Option<&'a [u8]> {
    certificate.get_extension_unique(id).ok()?.map(|extension| extension.value)
}

fn number(certificate: &X509Certificate<'_>, id: &Oid<'_>) -> Option<u8> {
    let (rest, any) = Any::from_der(value(certificate, id)?).ok()?;
    rest.is_empty().then_some(())?;
    any.integer().ok()?.as_u8().ok()
}

fn text<'a>(certificate: &'a X509Certificate<'_>, id: &Oid<'_>) -> Option<&'a str> {
    let (_, any) = Any::from_der(value(certificate, id)?).ok()?;
    std::str::from_utf8(any.data).ok()
}

/// The hardware id: 64 bytes, or eight on Turin; with or without an octet string around.
fn hardware(certificate: &X509Certificate<'_>) -> Option<[u8; 64]> {
    let bytes = value(certificate, &HARDWARE)?;
    let bytes = match bytes.len() {
        64 | 8 => bytes,
        _ => Any::from_der(bytes).ok().filter(|(rest, _)| rest.is_empty())?.1.data,
    };
    let mut id = [0; 64];
    match bytes.len() {
        64 | 8 => id.get_mut(..bytes.len())?.copy_from_slice(bytes),
        _ => return None,
    }
    Some(id)
}

const PRODUCT: Oid<'_> = oid!(1.3.6.1.4.1.3704.1.2);
const BOOTLOADER: Oid<'_> = oid!(1.3.6.1.4.1.3704.1.3.1);
const TEE: Oid<'_> = oid!(1.3.6.1.4.1.3704.1.3.2);
const SNP: Oid<'_> = oid!(1.3.6.1.4.1.3704.1.3.3);
const MICROCODE: Oid<'_> = oid!(1.3.6.1.4.1.3704.1.3.8);
const FMC: Oid<'_> = oid!(1.3.6.1.4.1.3704.1.3.9);
const HARDWARE: Oid<'_> = oid!(1.3.6.1.4.1.3704.1.4);
const CLOUD: Oid<'_> = oid!(1.3.6.1.4.1.3704.1.5);
