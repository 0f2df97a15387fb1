//! The attestation report of SEV-SNP, byte by byte (AMD 56860, "ATTESTATION_REPORT"; versions 2, 3 and 5).
//!
//! ```text
//! 000 version u32 | 004 guest SVN u32 | 008 policy u64 | 010 family id | 020 image id | 030 VMPL u32
//! 034 signature algorithm u32 | 038 current TCB u64 | 040 platform info u64 | 048 key flags u32 | 050 report data
//! 090 measurement | 0c0 host data | 0e0 ID key digest | 110 author key digest | 140 report id | 160 report id MA
//! 180 reported TCB u64 | 188 family, model, stepping | 1a0 chip id | 1e0 committed TCB … 1f0 launch TCB u64 …
//! 2a0 signature: r, s as 72 bytes each, little endian; zeros to 4a0
//! ```
//!
//! The signature covers what stands before it. Of the signature itself, the bytes that no number of P-384 needs must be zero:
//! so no byte of a report can be changed unnoticed.

use crate::function::claims::SnpTcb;

/// Its length.
pub(super) const REPORT_BYTES: usize = 0x4a0;

/// A report whose form is right. Whether its signature holds is another matter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report<'a>(&'a [u8; REPORT_BYTES]);

/// Why bytes are no report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReportError {
    #[error("it has not {REPORT_BYTES} bytes")]
    Length,
    #[error("its version is {0}, and 2, 3 and 5 are known")]
    Version(u32),
    #[error("its signature algorithm is {0}, not ECDSA P-384 with SHA-384")]
    Algorithm(u32),
    #[error("bytes of its signature that mean nothing are not zero")]
    Padding,
    #[error("neither the chip's key nor a cloud's signed it")]
    Signer,
}

impl<'a> Report<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Report<'a>, ReportError> {
        let report = Report(bytes.try_into().map_err(|_| ReportError::Length)?);
        if !matches!(report.version(), 2 | 3 | 5) {
            return Err(ReportError::Version(report.version()));
        }
        match report.u32(0x34) {
            ECDSA_P384_SHA384 => {}
            other => return Err(ReportError::Algorithm(other)),
        }
        if !matches!(report.signing_key(), VCEK | VLEK) {
            return Err(ReportError::Signer);
        }
        let (r, s) = (&report.0[R + NUMBER..R + FIELD], &report.0[S + NUMBER..]);
        if r.iter().chain(s).any(|byte| *byte != 0) {
            return Err(ReportError::Padding);
        }
        Ok(report)
    }

    pub(super) fn version(&self) -> u32 {
        self.u32(0)
    }

    pub(super) fn guest_svn(&self) -> u32 {
        self.u32(4)
    }

    pub(super) fn policy(&self) -> u64 {
        u64::from_le_bytes(self.array(8))
    }

    pub(super) fn family_id(&self) -> [u8; 16] {
        self.array(0x10)
    }

    pub(super) fn image_id(&self) -> [u8; 16] {
        self.array(0x20)
    }

    pub(super) fn vmpl(&self) -> u32 {
        self.u32(0x30)
    }

    /// 0 the chip's (VCEK), 1 a cloud's (VLEK).
    pub(super) fn signing_key(&self) -> u32 {
        self.u32(0x48) >> 2 & 7
    }

    pub(super) fn report_data(&self) -> [u8; 64] {
        self.array(0x50)
    }

    pub(super) fn measurement(&self) -> [u8; 48] {
        self.array(0x90)
    }

    pub(super) fn host_data(&self) -> [u8; 32] {
        self.array(0xc0)
    }

    pub(super) fn id_key(&self) -> [u8; 48] {
        self.array(0xe0)
    }

    pub(super) fn author_key(&self) -> [u8; 48] {
        self.array(0x110)
    }

    /// The versions of firmware for which the signing key was made.
    pub(super) fn reported_tcb(&self, product: &str) -> SnpTcb {
        let bytes: [u8; 8] = self.array(0x180);
        // Turin has a byte for the FMC in front (AMD 56860, "TCB_VERSION").
        match product {
            "Milan" | "Genoa" => SnpTcb {
                bootloader: bytes[0],
                tee: bytes[1],
                snp: bytes[6],
                microcode: bytes[7],
                fmc: 0,
            },
            _ => SnpTcb {
                fmc: bytes[0],
                bootloader: bytes[1],
                tee: bytes[2],
                snp: bytes[3],
                microcode: bytes[7],
            },
        }
    }

    /// Zeros where the host's owner hides it; on Turin eight bytes and zeros.
    pub(super) fn chip_id(&self) -> [u8; 64] {
        self.array(0x1a0)
    }

    pub(super) fn signed(&self) -> &'a [u8] {
        &self.0[..R]
    }

    /// r ‖ s, big endian, 48 bytes each.
    pub(super) fn signature(&self) -> [u8; 2 * NUMBER] {
        let mut signature = [0; 2 * NUMBER];
        let (r, s) = signature.split_at_mut(NUMBER);
        for (number, at) in [(r, R), (s, S)] {
            number.copy_from_slice(&self.0[at..at + NUMBER]);
            number.reverse();
        }
        signature
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.0[at..at + N]);
        bytes
    }
}

/// Bits of the guest policy (AMD 56860, "GUEST_POLICY").
pub(super) const POLICY_SMT: u64 = 1 << 16;
pub(super) const POLICY_MIGRATION: u64 = 1 << 18;
pub(super) const POLICY_DEBUG: u64 = 1 << 19;

pub(super) const VCEK: u32 = 0;
pub(super) const VLEK: u32 = 1;
const ECDSA_P384_SHA384: u32 = 1;
const R: usize = 0x2a0;
const FIELD: usize = 72;
const S: usize = R + FIELD;
/// Bytes of a number of P-384.
const NUMBER: usize = 48;
