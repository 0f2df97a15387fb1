//! Keys: the endorsement key of the TCG's templates (EK Credential Profile 2.5, annex B), and attestation keys.

use ringmail_trust_core::host::encoding::Base64;
use ringmail_trust_core::host::tpm::public::{alg, curve};
use ringmail_trust_core::host::tpm::{Attributes, Credential, Hash, Public, Reader, Writer};

use super::Tpm;
use super::command::{Auth, Command, code};
use super::error::{Code, TpmError};
use crate::limits;

/// A handle of a loaded or persistent object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(pub u32);

/// Where makers keep the RSA endorsement key, if they made it before.
pub const PERSISTENT_RSA_EK: Handle = Handle(0x8101_0001);
/// The same of ECC over P-384.
pub const PERSISTENT_ECC_P384_EK: Handle = Handle(0x8101_0016);

/// `TPM_RH_OWNER`.
const OWNER: u32 = 0x4000_0001;
/// `TPM_RH_ENDORSEMENT`.
pub(super) const ENDORSEMENT: u32 = 0x4000_000b;

/// A key in the TPM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// By which commands name it.
    pub handle: Handle,
    /// What everyone may know of it.
    pub public: Public,
}

/// A kind of keys. The same template in the same hierarchy of the same TPM is the same key, each time it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// The endorsement key, RSA 2048: template L-1.
    RsaEk,
    /// The endorsement key, ECC P-256: template L-2.
    EccP256Ek,
    /// An attestation key, ECDSA over P-256.
    EccAk,
    /// An attestation key, RSA 2048 with PKCS #1.
    RsassaAk,
    /// An attestation key, RSA 2048 with PSS.
    RsapssAk,
    /// A key that signs anything, ECDSA over P-256: no verifier takes it for an attestation key.
    UnrestrictedEcc,
    /// A parent of other keys, ECC P-256.
    Storage,
}

impl Template {
    fn public(self) -> Vec<u8> {
        let made_here =
            Attributes::FIXED_TPM | Attributes::FIXED_PARENT | Attributes::SENSITIVE_DATA_ORIGIN;
        let ek = made_here
            | Attributes::ADMIN_WITH_POLICY
            | Attributes::RESTRICTED
            | Attributes::DECRYPT;
        let by_password = made_here | Attributes::USER_WITH_AUTH | Attributes::NO_DA;
        let ak = by_password | Attributes::RESTRICTED | Attributes::SIGN;
        let head = |kind: u16, attributes: u32, policy: &[u8]| {
            Writer::new().u16(kind).u16(Hash::Sha256.code()).u32(attributes).sized(policy)
        };
        let protecting =
            |writer: Writer| writer.u16(alg::AES).u16(128).u16(alg::CFB).u16(alg::NULL);
        let signing = |writer: Writer, scheme: u16| {
            writer.u16(alg::NULL).u16(scheme).u16(Hash::Sha256.code())
        };
        let rsa = |writer: Writer, unique: &[u8]| writer.u16(2048).u32(0).sized(unique);
        let ecc = |writer: Writer, unique: &[u8]| {
            writer.u16(curve::P256).u16(alg::NULL).sized(unique).sized(unique)
        };
        let written = match self {
            Template::RsaEk => rsa(protecting(head(alg::RSA, ek, &POLICY_A)), &[0; 256]),
            Template::EccP256Ek => ecc(protecting(head(alg::ECC, ek, &POLICY_A)), &[0; 32]),
            Template::EccAk => ecc(signing(head(alg::ECC, ak, &[]), alg::ECDSA), &[]),
            Template::RsassaAk => rsa(signing(head(alg::RSA, ak, &[]), alg::RSASSA), &[]),
            Template::RsapssAk => rsa(signing(head(alg::RSA, ak, &[]), alg::RSAPSS), &[]),
            Template::UnrestrictedEcc => {
                let unrestricted = by_password | Attributes::SIGN;
                ecc(signing(head(alg::ECC, unrestricted, &[]), alg::ECDSA), &[])
            }
            Template::Storage => {
                let storage = by_password | Attributes::RESTRICTED | Attributes::DECRYPT;
                ecc(protecting(head(alg::ECC, storage, &[])), &[])
            }
        };
        written.into_bytes()
    }

    fn hierarchy(self) -> u32 {
        match self {
            Template::Storage => OWNER,
            _ => ENDORSEMENT,
        }
    }
}

/// `PolicyA` of the EK Credential Profile: the endorsement hierarchy's password, `TPM2_PolicySecret`.
const POLICY_A: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24,
    0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];

/// No password, no data.
fn nothing_sensitive(writer: Writer) -> Writer {
    writer.sized(&[0; 4])
}

impl Tpm {
    /// Makes a primary key.
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn create_primary(&mut self, template: Template) -> Result<Key, TpmError> {
        let parameters =
            nothing_sensitive(Writer::new()).sized(&template.public()).sized(&[]).u32(0);
        let command = Command::new(code::CREATE_PRIMARY)
            .authorized(template.hierarchy(), Auth::EmptyPassword)
            .parameters(parameters)
            .answers_handle();
        let answer = self.run(&command)?;
        let public = answer.read(sized_public)?;
        Ok(Key { handle: Handle(answer.handle()), public })
    }

    /// Makes a key under a parent, whose password is empty; it has to be loaded. Answers its private part, encrypted by
    /// the parent, and its public area.
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn create(
        &mut self,
        parent: Handle,
        template: Template,
    ) -> Result<(Base64, Public), TpmError> {
        let parameters =
            nothing_sensitive(Writer::new()).sized(&template.public()).sized(&[]).u32(0);
        let command = Command::new(code::CREATE)
            .authorized(parent.0, Auth::EmptyPassword)
            .parameters(parameters);
        self.run(&command)?.read(|reader| {
            let private = reader.sized(limits::TPM_RESPONSE_BYTES)?.to_vec();
            Ok((Base64(private), sized_public(reader)?))
        })
    }

    /// Loads a key that was made under this parent.
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn load(
        &mut self,
        parent: Handle,
        private: &Base64,
        public: &Public,
    ) -> Result<Key, TpmError> {
        let command = Command::new(code::LOAD)
            .authorized(parent.0, Auth::EmptyPassword)
            .parameters(Writer::new().sized(&private.0).sized(public.as_bytes()))
            .answers_handle();
        let answer = self.run(&command)?;
        Ok(Key { handle: Handle(answer.handle()), public: public.clone() })
    }

    /// The public area of a loaded or persistent key; none where there is no such key.
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn read_public(&mut self, handle: Handle) -> Result<Option<Public>, TpmError> {
        let command = Command::new(code::READ_PUBLIC).handle(handle.0);
        match self.run(&command) {
            Ok(answer) => answer.read(sized_public).map(Some),
            Err(error) if error.is(Code::HANDLE) || error.is(Code::REFERENCE_H0) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The RSA endorsement key: where the maker keeps it, or made anew, which takes seconds on real hardware.
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn rsa_ek(&mut self) -> Result<Key, TpmError> {
        match self.read_public(PERSISTENT_RSA_EK)? {
            Some(public) => Ok(Key { handle: PERSISTENT_RSA_EK, public }),
            None => self.create_primary(Template::RsaEk),
        }
    }

    /// Opens a secret that was enclosed for the endorsement key `ek` and the key `ak`.
    ///
    /// # Errors
    /// [`TpmError::Refused`] with [`Code::INTEGRITY`] where it was enclosed for another key.
    pub fn activate_credential(
        &mut self,
        ek: Handle,
        ak: Handle,
        credential: &Credential,
    ) -> Result<Vec<u8>, TpmError> {
        // High-range templates let an empty password do, the others want their policy.
        let public = self.read_public(ek)?.ok_or(TpmError::Other("no such endorsement key"))?;
        let session = match public.attributes.has(Attributes::USER_WITH_AUTH) {
            true => None,
            false => Some(self.endorsement_session(public.name_hash)?),
        };
        let auth = session.map_or(Auth::EmptyPassword, |session| Auth::Policy(session.0));
        let command = Command::new(code::ACTIVATE_CREDENTIAL)
            .authorized(ak.0, Auth::EmptyPassword)
            .authorized(ek.0, auth)
            .parameters(
                Writer::new().sized(&credential.blob.0).sized(&credential.encrypted_seed.0),
            );
        let answer = self.run(&command);
        if let (Err(_), Some(session)) = (&answer, session) {
            // The session stays where its use was refused.
            drop(self.flush(session));
        }
        answer?.read(|reader| reader.sized(limits::TPM_RESPONSE_BYTES).map(<[u8]>::to_vec))
    }

    /// Unloads a key or ends a session; persistent keys stay.
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn flush(&mut self, handle: Handle) -> Result<(), TpmError> {
        if handle.0 >> 24 == PERSISTENT {
            return Ok(());
        }
        // The handle is a parameter here.
        let command = Command::new(code::FLUSH_CONTEXT).parameters(Writer::new().u32(handle.0));
        self.run(&command).map(drop)
    }
}

/// `TPM_HT_PERSISTENT`.
const PERSISTENT: u32 = 0x81;

fn sized_public(
    reader: &mut Reader<'_>,
) -> Result<Public, ringmail_trust_core::host::tpm::WireError> {
    Public::parse(reader.sized(limits::TPM_RESPONSE_BYTES)?)
}
