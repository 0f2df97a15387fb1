//! What a proof says once its signatures hold: facts, before any policy.

use ringmail_model::summary::Hex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::evidence::EvidenceKind;

/// What a proof says, by kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Claims {
    /// Of an SGX enclave.
    Sgx(SgxClaims),
    /// Of a TDX machine.
    Tdx(Box<TdxClaims>),
    /// Of an SEV-SNP machine.
    Snp(Box<SnpClaims>),
    /// Of a program that the host's kernel measured.
    Tpm(ProgramClaims),
    /// Of a program that only its host speaks for.
    Software(ProgramClaims),
}

/// What an SGX report says (Intel SDM, REPORT).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SgxClaims {
    /// MRENCLAVE: what was loaded.
    pub mr_enclave: Hex<32>,
    /// MRSIGNER: who signed it.
    pub mr_signer: Hex<32>,
    /// ISVPRODID.
    pub product: u16,
    /// ISVSVN.
    pub svn: u16,
    /// Whether a debugger may look inside.
    pub debug: bool,
    /// What it is bound to.
    pub report_data: Hex<64>,
    /// On what it runs.
    pub platform: IntelPlatform,
}

/// What a TDX report says (Intel TDX module ABI, TDREPORT).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TdxClaims {
    /// MRTD: what the machine was built from.
    pub mr_td: Hex<48>,
    /// RTMR 0 to 3: what it measured since.
    pub rtmrs: [Hex<48>; 4],
    /// MRCONFIGID.
    pub mr_config_id: Hex<48>,
    /// MROWNER.
    pub mr_owner: Hex<48>,
    /// MROWNERCONFIG.
    pub mr_owner_config: Hex<48>,
    /// MRSEAM: the TDX module.
    pub mr_seam: Hex<48>,
    /// TD attributes, as they stand.
    pub attributes: Hex<8>,
    /// XFAM, as it stands.
    pub xfam: Hex<8>,
    /// Whether a debugger or profiler may look inside.
    pub debug: bool,
    /// What it is bound to.
    pub report_data: Hex<64>,
    /// On what it runs.
    pub platform: IntelPlatform,
}

/// What Intel says of a platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct IntelPlatform {
    /// The platform's provisioning id, from its PCK certificate.
    pub ppid: Hex<16>,
    /// What Intel says of its firmware, the quoting enclave's included.
    pub tcb: TcbStatus,
    /// Advisories that concern it.
    pub advisories: Vec<String>,
    /// The number of Intel's evaluation: grows with each recovery of the TCB.
    pub tcb_evaluation: u32,
    /// When the oldest of what Intel says was issued, the root's revocation list apart: seconds since 1970.
    pub collateral_issued_unix_s: u64,
    /// Until when all of it may be used: seconds since 1970.
    pub collateral_until_unix_s: u64,
}

/// What Intel says of the firmware of a platform, in its own words.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum TcbStatus {
    /// All is up to date.
    UpToDate,
    /// Software has to be hardened against what the hardware leaves open.
    SWHardeningNeeded,
    /// The platform has to be configured.
    ConfigurationNeeded,
    /// Both.
    ConfigurationAndSWHardeningNeeded,
    /// Firmware is outdated.
    OutOfDate,
    /// Firmware is outdated, and has to be configured.
    OutOfDateConfigurationNeeded,
    /// The machine was started on outdated firmware, which is up to date by now.
    TDRelaunchAdvised,
    /// The same, and the platform has to be configured.
    TDRelaunchAdvisedConfigurationNeeded,
    /// The platform's keys are no longer good.
    Revoked,
}

/// What an SEV-SNP report says (AMD 56860, ATTESTATION_REPORT).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SnpClaims {
    /// MEASUREMENT: what the machine was launched from.
    pub measurement: Hex<48>,
    /// ID_KEY_DIGEST: who signed its identity; zeros if nobody.
    pub id_key: Hex<48>,
    /// AUTHOR_KEY_DIGEST: who signed that key; zeros if nobody.
    pub author_key: Hex<48>,
    /// HOST_DATA: what the host gave it at launch.
    pub host_data: Hex<32>,
    /// FAMILY_ID.
    pub family_id: Hex<16>,
    /// IMAGE_ID.
    pub image_id: Hex<16>,
    /// GUEST_SVN.
    pub guest_svn: u32,
    /// The privilege level that asked for the report: 0 is the highest.
    pub vmpl: u32,
    /// Whether a debugger may look inside.
    pub debug: bool,
    /// Whether a migration agent may take it elsewhere.
    pub migration: bool,
    /// Whether it may share a core with others.
    pub smt: bool,
    /// What it is bound to.
    pub report_data: Hex<64>,
    /// The generation of processors, such as `Milan`.
    pub product: String,
    /// The versions of firmware that stand behind the signature.
    pub tcb: SnpTcb,
    /// The chip's id; none where the host's owner hides it.
    pub chip_id: Option<Hex<64>>,
    /// Whether the chip's own key signed (VCEK), or one that AMD gave a cloud (VLEK).
    pub signed_by: SnpKey,
    /// When AMD's revocation list was issued, if there is one: seconds since 1970.
    pub crl_issued_unix_s: Option<u64>,
}

/// Security versions of AMD's firmware.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SnpTcb {
    /// The boot loader.
    pub bootloader: u8,
    /// The trusted execution environment's operating system.
    pub tee: u8,
    /// SEV-SNP's firmware.
    pub snp: u8,
    /// Microcode.
    pub microcode: u8,
    /// The FMC, on Turin and later.
    pub fmc: u8,
}

/// Which key signed an SEV-SNP report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SnpKey {
    /// The chip's own.
    Vcek,
    /// One that AMD gave a cloud.
    Vlek,
}

/// What a host says of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ProgramClaims {
    /// Its path.
    pub path: String,
    /// SHA-256 of its file.
    pub sha256: Hex<32>,
    /// Whether a TPM signed; else it was a key in a file.
    pub tpm: bool,
}

/// A platform's own id, which enrolment pairs with the host's TPM.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum PlatformId {
    /// Intel's, of SGX and TDX.
    IntelPpid(Hex<16>),
    /// AMD's.
    AmdChip(Hex<64>),
}

impl Claims {
    /// Their kind.
    pub fn kind(&self) -> EvidenceKind {
        match self {
            Claims::Sgx(_) => EvidenceKind::Sgx,
            Claims::Tdx(_) => EvidenceKind::Tdx,
            Claims::Snp(_) => EvidenceKind::Snp,
            Claims::Tpm(_) => EvidenceKind::Tpm,
            Claims::Software(_) => EvidenceKind::Software,
        }
    }

    /// The platform's own id, if it has one and tells it.
    pub fn platform_id(&self) -> Option<PlatformId> {
        match self {
            Claims::Sgx(sgx) => Some(PlatformId::IntelPpid(sgx.platform.ppid)),
            Claims::Tdx(tdx) => Some(PlatformId::IntelPpid(tdx.platform.ppid)),
            Claims::Snp(snp) => snp.chip_id.map(PlatformId::AmdChip),
            Claims::Tpm(_) | Claims::Software(_) => None,
        }
    }

    /// What says most shortly which code it is.
    pub fn measurement(&self) -> String {
        match self {
            Claims::Sgx(sgx) => sgx.mr_enclave.to_string(),
            Claims::Tdx(tdx) => tdx.mr_td.to_string(),
            Claims::Snp(snp) => snp.measurement.to_string(),
            Claims::Tpm(program) | Claims::Software(program) => program.sha256.to_string(),
        }
    }
}

impl TcbStatus {
    /// Intel's word.
    pub fn name(self) -> &'static str {
        match self {
            TcbStatus::UpToDate => "UpToDate",
            TcbStatus::SWHardeningNeeded => "SWHardeningNeeded",
            TcbStatus::ConfigurationNeeded => "ConfigurationNeeded",
            TcbStatus::ConfigurationAndSWHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
            TcbStatus::OutOfDate => "OutOfDate",
            TcbStatus::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
            TcbStatus::TDRelaunchAdvised => "TDRelaunchAdvised",
            TcbStatus::TDRelaunchAdvisedConfigurationNeeded => {
                "TDRelaunchAdvisedConfigurationNeeded"
            }
            TcbStatus::Revoked => "Revoked",
        }
    }
}

impl SnpTcb {
    /// The versions that are lower than those of a minimum, by name.
    pub fn below(&self, least: &SnpTcb) -> Vec<String> {
        let all = [
            ("bootloader", self.bootloader, least.bootloader),
            ("tee", self.tee, least.tee),
            ("snp", self.snp, least.snp),
            ("microcode", self.microcode, least.microcode),
            ("fmc", self.fmc, least.fmc),
        ];
        let below = all.iter().filter(|(_, has, least)| has < least);
        below.map(|(name, has, least)| format!("{name} {has} < {least}")).collect()
    }
}
