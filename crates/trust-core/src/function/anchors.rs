//! Whom a verifier believes about hardware: the vendors' roots. Tests bring their own.

/// The roots of the vendors of hardware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchors {
    /// Intel's provisioning certification root: DER.
    pub intel: Vec<u8>,
    /// AMD's root keys, one a generation of processors.
    pub amd: Vec<AmdAnchor>,
}

/// The root of one generation of AMD's processors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmdAnchor {
    /// The generation, as certificates of chips name it: `Milan`.
    pub product: String,
    /// The root (ARK): DER.
    pub ark: Vec<u8>,
    /// What issues certificates of chips (ASK): DER.
    pub ask: Vec<u8>,
}

impl Anchors {
    /// The vendors' own.
    pub fn vendors() -> Anchors {
        let amd = AMD.iter().map(|(product, ark, ask)| AmdAnchor {
            product: (*product).to_owned(),
            ark: ark.to_vec(),
            ask: ask.to_vec(),
        });
        Anchors { intel: INTEL.to_vec(), amd: amd.collect() }
    }
}

/// Intel SGX Root CA, serial 22650cd65a9d3489f383b49552bf501b392706ac, until 2049.
const INTEL: &[u8] = include_bytes!("roots/intel-sgx-root.der");

/// As AMD's key distribution service gives them: `cert_chain` of each product.
const AMD: [(&str, &[u8], &[u8]); 3] = [
    ("Milan", include_bytes!("roots/amd-milan-ark.der"), include_bytes!("roots/amd-milan-ask.der")),
    ("Genoa", include_bytes!("roots/amd-genoa-ark.der"), include_bytes!("roots/amd-genoa-ask.der")),
    ("Turin", include_bytes!("roots/amd-turin-ark.der"), include_bytes!("roots/amd-turin-ask.der")),
];

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::digest::{SHA256, digest};

    /// SHA-256 of each root, as the vendors' services give them: a change here is a change of whom everybody believes.
    #[test]
    fn the_roots_are_the_vendors() {
        let anchors = Anchors::vendors();
        let hash = |der: &[u8]| -> String {
            digest(&SHA256, der).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
        };
        assert_eq!(
            hash(&anchors.intel),
            "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"
        );
        let amd: Vec<_> = anchors
            .amd
            .iter()
            .map(|amd| (amd.product.as_str(), hash(&amd.ark), hash(&amd.ask)))
            .collect();
        assert_eq!(
            amd,
            [
                (
                    "Milan",
                    "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd".to_owned(),
                    "67d303bd3905fd38db8b20e0793699870e7fa612eaad5dec358293fd8c0bac1b".to_owned()
                ),
                (
                    "Genoa",
                    "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1".to_owned(),
                    "5464738c1546aed5f2cecf1dc98c5c960a92e8913238a61711bc90ec6e828521".to_owned()
                ),
                (
                    "Turin",
                    "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a".to_owned(),
                    "5b77ef5fe7a7a004fd9032668fba9d0fda22f88c4442069a479636a6ae3b3185".to_owned()
                )
            ]
        );
    }
}
