//! The one form that a quote can have: what no signature covers (lengths, types, the certificate chain's text, padding) has
//! one permitted value, so that no byte of a quote can be changed unnoticed (Intel SGX DCAP, ECDSA quote format 3 to 5).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dcap_qvl::quote::{AuthData, CertificationData, Quote};

use crate::limits::{CHAIN_CERTIFICATES, QUOTE_PADDING_BYTES};

/// Why bytes are no quote; the fault of who sent them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FormError {
    #[error("it is no quote")]
    NoQuote,
    #[error("its version is not one of this technology")]
    Version,
    #[error("its lengths do not agree with each other")]
    Lengths,
    #[error("something else than zeros follows it")]
    Trailing,
    #[error("it does not hold the platform's certificate chain (certification data of type 5)")]
    NoChain,
    #[error("the text of its certificate chain is not PEM as Intel writes it")]
    ChainText,
    #[error("its certificate chain is not leaf, issuer and the trusted root")]
    Chain,
}

/// Which technology a quote has to be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tee {
    Sgx,
    Tdx,
}

/// The quote of some bytes, if they have the one form that they can have.
pub(super) fn strict(bytes: &[u8], tee: Tee, root: &[u8]) -> Result<Quote, FormError> {
    let quote = Quote::parse(bytes).map_err(|_| FormError::NoQuote)?;
    let version = quote.header.version;
    let meant = match tee {
        Tee::Sgx => quote.report.is_sgx() && version == 3,
        Tee::Tdx => !quote.report.is_sgx() && matches!(version, 4 | 5),
    };
    if !meant {
        return Err(FormError::Version);
    }
    let (length, chain) = authentication(&quote.auth_data)?;
    let signed = quote.signed_length();
    let stated = bytes.get(signed..signed + LENGTH).and_then(|bytes| bytes.try_into().ok());
    if stated.map(u32::from_le_bytes) != u32::try_from(length).ok() {
        return Err(FormError::Lengths);
    }
    let rest = bytes.get(signed + LENGTH + length..).ok_or(FormError::Lengths)?;
    if rest.len() > QUOTE_PADDING_BYTES || rest.iter().any(|byte| *byte != 0) {
        return Err(FormError::Trailing);
    }
    certificates(&quote, chain, root)?;
    Ok(quote)
}

/// The length that the authentication data has if nothing is left over in it, and its certificate chain.
fn authentication(data: &AuthData) -> Result<(usize, &CertificationData), FormError> {
    match data {
        AuthData::V3(data) => {
            let chain = &data.certification_data;
            let report = REPORT + SIGNATURE + 2 + data.qe_auth_data.data.len();
            Ok((SIGNATURE + KEY + report + TYPED + chain.body.data.len(), chain))
        }
        AuthData::V4(data) => {
            let (outer, inner) = (&data.certification_data, &data.qe_report_data);
            let chain = &inner.certification_data;
            let report = REPORT + SIGNATURE + 2 + inner.qe_auth_data.data.len();
            if outer.cert_type != QE_REPORT_DATA
                || outer.body.data.len() != report + TYPED + chain.body.data.len()
            {
                return Err(FormError::Lengths);
            }
            Ok((SIGNATURE + KEY + TYPED + outer.body.data.len(), chain))
        }
    }
}

fn certificates(quote: &Quote, chain: &CertificationData, root: &[u8]) -> Result<(), FormError> {
    if chain.cert_type != PCK_CHAIN {
        return Err(FormError::NoChain);
    }
    let certificates =
        dcap_qvl::intel::extract_cert_chain(quote).map_err(|_| FormError::ChainText)?;
    let text = chain.body.data.as_slice();
    let end = text.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if pem(&certificates) != text[..end] {
        return Err(FormError::ChainText);
    }
    match certificates.last() {
        Some(last) if certificates.len() == CHAIN_CERTIFICATES && last == root => Ok(()),
        _ => Err(FormError::Chain),
    }
}

/// Certificates as Intel's service writes them: 64 characters a line, a newline behind each.
fn pem(certificates: &[Vec<u8>]) -> Vec<u8> {
    let mut text = String::new();
    for der in certificates {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let digits = STANDARD.encode(der);
        let mut rest = digits.as_str();
        while !rest.is_empty() {
            let (line, more) = rest.split_at(rest.len().min(64));
            text.push_str(line);
            text.push('\n');
            rest = more;
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text.into_bytes()
}

const LENGTH: usize = 4;
const SIGNATURE: usize = 64;
const KEY: usize = 64;
const REPORT: usize = 384;
/// A type and a length.
const TYPED: usize = 2 + 4;
const QE_REPORT_DATA: u16 = 6;
const PCK_CHAIN: u16 = 5;
