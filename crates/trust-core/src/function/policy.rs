//! Which functions a verifier accepts: reference values (RFC 9334 section 8.3), one YAML file.

use ringmail_model::domain::SpiffePattern;
use ringmail_model::summary::Hex;
use ringmail_model::{Diagnostic, Diagnostics, Name, Severity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::claims::{SnpTcb, TcbStatus};
use crate::limits::REFERENCES;

/// Which functions a verifier accepts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(title = "ringmail function policy")]
pub struct FunctionPolicy {
    /// Whether a function may run where nothing protects it from its host. Never in production: its certificates say
    /// nothing about its code.
    pub allow_software: bool,
    /// What the vendors' statements about platforms have to be like.
    pub collateral: CollateralPolicy,
    /// What is accepted: evidence has to agree with one of them.
    pub references: Vec<FunctionReference>,
}

/// What the vendors' statements about platforms have to be like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CollateralPolicy {
    /// Seconds since the oldest of them was issued, at most, whatever its vendor allows. Intel issues anew at least every 30
    /// days; its root's revocation list, once a year, is not meant.
    pub max_age_s: u64,
    /// Whether AMD's revocation list has to be there.
    pub amd_crl: AmdCrl,
    /// The least number of Intel's evaluation: an older one, though in date, does not know the last recovery.
    pub min_tcb_evaluation: u32,
}

/// Whether AMD's revocation list has to be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AmdCrl {
    /// Without it a report is refused.
    #[default]
    Required,
    /// Without it nobody asks whether AMD revoked an intermediate key.
    Optional,
}

/// One function, as it is accepted: on each kind of platform that is named, with the values that are named there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FunctionReference {
    /// What it is called in verdicts.
    pub name: Name,
    /// Who it may be: patterns of SPIFFE ids.
    pub spiffe_ids: Vec<SpiffePattern>,
    /// As an enclave of Intel SGX.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sgx: Option<SgxReference>,
    /// As a confidential machine of Intel TDX.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tdx: Option<TdxReference>,
    /// As a confidential machine of AMD SEV-SNP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snp: Option<SnpReference>,
    /// As a program that the kernel of a host with a TPM measures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<ProgramReference>,
    /// As a program that only its host speaks for: `allow-software` has to say so as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software: Option<ProgramReference>,
}

/// What an SGX enclave has to be like. Of a list one entry must hold; an empty list asks nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SgxReference {
    /// MRENCLAVE.
    pub measurements: Vec<Hex<32>>,
    /// MRSIGNER.
    pub signers: Vec<Hex<32>>,
    /// ISVPRODID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<u16>,
    /// ISVSVN, at least.
    pub min_svn: u16,
    /// What Intel may say of the platform.
    pub tcb: Vec<TcbStatus>,
    /// Advisories that may concern the platform.
    pub advisories: Vec<String>,
}

/// What a TDX machine has to be like. Of a list one entry must hold; an empty list asks nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TdxReference {
    /// MRTD.
    pub measurements: Vec<Hex<48>>,
    /// RTMR 0: the machine's firmware settings.
    pub rtmr0: Vec<Hex<48>>,
    /// RTMR 1: boot loader and kernel.
    pub rtmr1: Vec<Hex<48>>,
    /// RTMR 2: command line and initial file system.
    pub rtmr2: Vec<Hex<48>>,
    /// RTMR 3: what the system measured itself.
    pub rtmr3: Vec<Hex<48>>,
    /// MRCONFIGID.
    pub config_ids: Vec<Hex<48>>,
    /// MROWNER.
    pub signers: Vec<Hex<48>>,
    /// What Intel may say of the platform.
    pub tcb: Vec<TcbStatus>,
    /// Advisories that may concern the platform.
    pub advisories: Vec<String>,
}

/// What an SEV-SNP machine has to be like. Of a list one entry must hold; an empty list asks nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SnpReference {
    /// The launch digest.
    pub measurements: Vec<Hex<48>>,
    /// Digests of the keys that signed its identity block.
    pub signers: Vec<Hex<48>>,
    /// Digests of the keys that signed those.
    pub authors: Vec<Hex<48>>,
    /// HOST_DATA.
    pub host_data: Vec<Hex<32>>,
    /// GUEST_SVN, at least.
    pub min_svn: u32,
    /// The lowest privilege that may speak for it: a report of a higher level is refused.
    pub max_vmpl: u32,
    /// Generations of processors, such as `Milan`.
    pub products: Vec<String>,
    /// The least versions of firmware.
    pub min_tcb: SnpTcb,
    /// Whether it may share a core with others.
    pub allow_smt: bool,
    /// Whether a key that AMD gave a cloud may sign in the place of the chip's own.
    pub allow_vlek: bool,
}

/// Which programs are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProgramReference {
    /// SHA-256 of the program's file.
    pub measurements: Vec<Hex<32>>,
    /// Its paths; an empty list asks nothing.
    pub paths: Vec<String>,
}

impl FunctionPolicy {
    /// The policy of a YAML text.
    ///
    /// # Errors
    /// All that is wrong with it, each with its place and its mend.
    pub fn from_yaml(text: &str, file_name: &str) -> Result<FunctionPolicy, Diagnostics> {
        let (policy, positions) =
            ringmail_model::domain::from_yaml::<FunctionPolicy>(text, file_name)?;
        let mut diagnostics = Diagnostics::default();
        policy.mistakes(&mut |place: &str, code, message, mend: &str| {
            let at = positions.at(place);
            diagnostics.push(Diagnostic {
                severity: Severity::Error,
                code,
                file: file_name.to_owned(),
                line: at.map_or(0, |at| at.line),
                column: at.map_or(0, |at| at.column),
                at: place.to_owned(),
                message,
                mend: mend.to_owned(),
            });
        });
        diagnostics.sort();
        if diagnostics.has_errors() { Err(diagnostics) } else { Ok(policy) }
    }

    /// What no policy means: a reference that would accept anything, or that nothing can agree with.
    fn mistakes(&self, say: &mut dyn FnMut(&str, &'static str, String, &str)) {
        if self.references.len() > REFERENCES {
            let message = format!("{} references, more than {REFERENCES}", self.references.len());
            say("references", "too-many", message, "split the policy");
            return;
        }
        for (nth, reference) in self.references.iter().enumerate() {
            let place = format!("references[{nth}]");
            let known = &self.references[..nth];
            if known.iter().any(|other| other.name == reference.name) {
                let message = format!("a second reference is called `{}`", reference.name);
                say(&format!("{place}.name"), "same-name", message, "give it another name");
            }
            if reference.spiffe_ids.is_empty() {
                let message = "it is for nobody".to_owned();
                let mend =
                    "name patterns of SPIFFE ids, such as spiffe://campus.example/element/dpi*";
                say(&format!("{place}.spiffe-ids"), "no-spiffe-ids", message, mend);
            }
            reference.mistakes(&place, self.allow_software, say);
        }
    }
}

impl FunctionReference {
    fn mistakes(
        &self,
        place: &str,
        allow_software: bool,
        say: &mut dyn FnMut(&str, &'static str, String, &str),
    ) {
        let FunctionReference { name: _, spiffe_ids: _, sgx, tdx, snp, tpm, software } = self;
        let any = "it would accept any code";
        if let Some(sgx) = sgx {
            let place = format!("{place}.sgx");
            if sgx.measurements.is_empty() && sgx.signers.is_empty() {
                say(&place, "any-code", any.to_owned(), "add `measurements` or `signers`");
            } else if sgx.measurements.is_empty() && sgx.product.is_none() {
                let message = "it would accept every enclave of its signer".to_owned();
                say(&place, "any-product", message, "add `product`, and `min-svn`");
            }
        }
        if tdx.as_ref().is_some_and(|tdx| tdx.measurements.is_empty()) {
            say(&format!("{place}.tdx"), "any-code", any.to_owned(), "add `measurements`");
        }
        if snp.as_ref().is_some_and(|snp| snp.measurements.is_empty() && snp.signers.is_empty()) {
            let mend = "add `measurements` or `signers`";
            say(&format!("{place}.snp"), "any-code", any.to_owned(), mend);
        }
        if tpm.as_ref().is_some_and(|tpm| tpm.measurements.is_empty()) {
            say(&format!("{place}.tpm"), "any-code", any.to_owned(), "add `measurements`");
        }
        if software.is_some() && !allow_software {
            let message =
                "software evidence is not allowed, so nothing agrees with this".to_owned();
            let mend = "delete it; or, where no production runs, say `allow-software: true`";
            say(&format!("{place}.software"), "software", message, mend);
        }
        if [sgx.is_some(), tdx.is_some(), snp.is_some(), tpm.is_some(), software.is_some()]
            .iter()
            .all(|some| !some)
        {
            let message = "it names no kind of evidence".to_owned();
            say(place, "no-kind", message, "add `sgx`, `tdx`, `snp`, `tpm` or `software`");
        }
    }
}

impl Default for CollateralPolicy {
    fn default() -> CollateralPolicy {
        const DAYS: u64 = 24 * 3600;
        CollateralPolicy { max_age_s: 30 * DAYS, amd_crl: AmdCrl::Required, min_tcb_evaluation: 0 }
    }
}

impl Default for SgxReference {
    fn default() -> SgxReference {
        SgxReference {
            measurements: Vec::new(),
            signers: Vec::new(),
            product: None,
            min_svn: 0,
            tcb: vec![TcbStatus::UpToDate],
            advisories: Vec::new(),
        }
    }
}

impl Default for TdxReference {
    fn default() -> TdxReference {
        TdxReference {
            measurements: Vec::new(),
            rtmr0: Vec::new(),
            rtmr1: Vec::new(),
            rtmr2: Vec::new(),
            rtmr3: Vec::new(),
            config_ids: Vec::new(),
            signers: Vec::new(),
            tcb: vec![TcbStatus::UpToDate],
            advisories: Vec::new(),
        }
    }
}

impl Default for SnpReference {
    fn default() -> SnpReference {
        SnpReference {
            measurements: Vec::new(),
            signers: Vec::new(),
            authors: Vec::new(),
            host_data: Vec::new(),
            min_svn: 0,
            max_vmpl: 0,
            products: Vec::new(),
            min_tcb: SnpTcb::default(),
            allow_smt: true,
            allow_vlek: false,
        }
    }
}

/// The name of the form of policy files; they do not hold it, as the domain file does not.
pub const POLICY_SCHEMA: &str = "ringmail.function-policy/1";

/// The JSON Schema of policy files.
pub fn policy_schema() -> schemars::Schema {
    let mut schema = schemars::schema_for!(FunctionPolicy);
    schema.insert("$id".to_owned(), POLICY_SCHEMA.into());
    schema.insert("title".to_owned(), POLICY_SCHEMA.into());
    schema
}
