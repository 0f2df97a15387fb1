//! Bytes in JSON: base64 (RFC 4648 section 4) for what is read by programs, hexadecimal for what people compare.

use std::fmt;

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};

/// Bytes that are base64 in JSON, padded.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Base64(pub Vec<u8>);

/// Bytes that are hexadecimal digits in JSON; written in lower case.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hex(pub Vec<u8>);

/// Why a text is not bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    /// It should be base64.
    #[error("it is not base64 with padding")]
    Base64,
    /// It should be hexadecimal.
    #[error("it is not an even number of hexadecimal digits")]
    Hex,
}

impl TryFrom<String> for Base64 {
    type Error = EncodingError;

    fn try_from(text: String) -> Result<Base64, EncodingError> {
        BASE64.decode(text.as_bytes()).map(Base64).map_err(|_| EncodingError::Base64)
    }
}

impl From<Base64> for String {
    fn from(bytes: Base64) -> String {
        BASE64.encode(&bytes.0)
    }
}

impl fmt::Debug for Base64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(&self.0))
    }
}

impl TryFrom<String> for Hex {
    type Error = EncodingError;

    fn try_from(text: String) -> Result<Hex, EncodingError> {
        HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map(Hex).map_err(|_| EncodingError::Hex)
    }
}

impl From<Hex> for String {
    fn from(bytes: Hex) -> String {
        HEXLOWER.encode(&bytes.0)
    }
}

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::{Base64, Hex};

    #[test]
    fn bytes_have_one_text() {
        let text = serde_json::to_string(&(Base64(b"ringmail".into()), Hex(vec![0, 0xfe])));
        assert_eq!(text.as_deref().ok(), Some(r#"["cmluZ21haWw=","00fe"]"#));
        let read: (Base64, Hex) =
            serde_json::from_str(r#"["cmluZ21haWw=","00FE"]"#).expect("both texts");
        assert_eq!(read, (Base64(b"ringmail".into()), Hex(vec![0, 0xfe])));
        for bad in [r#""cmluZ21haWw""#, r#""*""#, r#""cmlu=Z21haWw""#] {
            assert!(serde_json::from_str::<Base64>(bad).is_err(), "{bad}");
        }
        for bad in [r#""0""#, r#""0x""#, r#""0 1""#] {
            assert!(serde_json::from_str::<Hex>(bad).is_err(), "{bad}");
        }
    }
}
