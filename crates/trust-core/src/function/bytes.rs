//! Bytes in the JSON of evidence: base64 (RFC 4648 section 4, with padding), of limited length.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::limits::EVIDENCE_FIELD_BYTES;

/// Bytes, in JSON as base64.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub Vec<u8>);

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Bytes {
        Bytes(bytes)
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Bytes {
        Bytes(bytes.to_vec())
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(&self.0))
    }
}

/// A length and the first bytes: evidence is long.
impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())?;
        self.0.iter().take(8).try_for_each(|byte| write!(f, " {byte:02x}"))
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        if text.len() / 4 * 3 > EVIDENCE_FIELD_BYTES {
            return Err(de::Error::custom(format!("more than {EVIDENCE_FIELD_BYTES} bytes")));
        }
        let bytes = STANDARD.decode(text.as_bytes());
        bytes.map(Bytes).map_err(|error| de::Error::custom(format!("no base64: {error}")))
    }
}

impl JsonSchema for Bytes {
    fn schema_name() -> Cow<'static, str> {
        "Base64".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "contentEncoding": "base64" })
    }

    fn inline_schema() -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_way_to_write_bytes() {
        let read = |text: &str| serde_json::from_str::<Bytes>(&format!("\"{text}\"")).ok();
        assert_eq!(read("AQI="), Some(Bytes(vec![1, 2])));
        assert_eq!(serde_json::to_string(&Bytes(vec![1, 2])).unwrap(), "\"AQI=\"");
        for other in ["AQI", "AQJ=", "AQI==", " AQI=", "A-I=", "0102"] {
            assert!(read(other) != Some(Bytes(vec![1, 2])), "{other}");
        }
        assert_eq!(read(&"AAAA".repeat(EVIDENCE_FIELD_BYTES / 3 + 1)), None, "too long");
    }
}
