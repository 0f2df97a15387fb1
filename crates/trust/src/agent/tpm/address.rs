//! Where a TPM is, and the bytes to and from it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;

use super::error::TpmError;
use crate::limits;

/// Where a TPM is: a device such as `/dev/tpmrm0`, `unix:PATH` or `tcp:HOST:PORT` of a `swtpm`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TpmAddress {
    /// The kernel's device with its resource manager.
    Device(PathBuf),
    /// The data socket of `swtpm socket --server type=unixio`.
    Unix(PathBuf),
    /// The data socket of `swtpm socket --server type=tcp`.
    Tcp(String),
}

/// Why a text is no address of a TPM.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no TPM; write a device such as /dev/tpmrm0, unix:PATH or tcp:HOST:PORT")]
pub struct TpmAddressError(String);

impl FromStr for TpmAddress {
    type Err = TpmAddressError;

    fn from_str(text: &str) -> Result<TpmAddress, TpmAddressError> {
        let wrong = || TpmAddressError(text.to_owned());
        match text.split_once(':') {
            _ if text.starts_with('/') => Ok(TpmAddress::Device(text.into())),
            Some(("unix", path)) if !path.is_empty() => Ok(TpmAddress::Unix(path.into())),
            Some(("tcp", socket)) if socket.contains(':') => Ok(TpmAddress::Tcp(socket.to_owned())),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for TpmAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TpmAddress::Device(path) => write!(f, "{}", path.display()),
            TpmAddress::Unix(path) => write!(f, "unix:{}", path.display()),
            TpmAddress::Tcp(socket) => write!(f, "tcp:{socket}"),
        }
    }
}

/// An open way to a TPM.
#[derive(Debug)]
pub(super) enum Connection {
    Device(File),
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// Bytes of a response's header: tag, size, code.
const HEADER_BYTES: usize = 10;

impl Connection {
    pub(super) fn open(address: &TpmAddress) -> Result<Connection, TpmError> {
        let opened = || match address {
            TpmAddress::Device(path) => {
                File::options().read(true).write(true).open(path).map(Connection::Device)
            }
            TpmAddress::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(limits::TPM_ANSWERS_WITHIN))?;
                Ok(Connection::Unix(stream))
            }
            TpmAddress::Tcp(socket) => {
                let stream = TcpStream::connect(socket)?;
                stream.set_read_timeout(Some(limits::TPM_ANSWERS_WITHIN))?;
                stream.set_nodelay(true)?;
                Ok(Connection::Tcp(stream))
            }
        };
        opened().map_err(|source| TpmError::Io { doing: "connect to the TPM", source })
    }

    /// One command, one response.
    pub(super) fn exchange(&mut self, command: &[u8]) -> Result<Vec<u8>, TpmError> {
        let exchanged = match self {
            Connection::Device(file) => exchange_device(file, command),
            Connection::Unix(stream) => exchange_stream(stream, command),
            Connection::Tcp(stream) => exchange_stream(stream, command),
        };
        exchanged
            .map_err(|source| TpmError::Io { doing: "exchange a command with the TPM", source })
    }
}

/// The device takes a command in one write, and gives its response in one read.
fn exchange_device(file: &mut File, command: &[u8]) -> io::Result<Vec<u8>> {
    let written = file.write(command)?;
    if written != command.len() {
        return Err(io::Error::new(
            io::ErrorKind::WriteZero,
            "the device took a part of a command",
        ));
    }
    let mut response = vec![0; limits::TPM_RESPONSE_BYTES];
    let length = file.read(&mut response)?;
    response.truncate(length);
    Ok(response)
}

fn exchange_stream(stream: &mut (impl Read + Write), command: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(command)?;
    let mut response = vec![0; HEADER_BYTES];
    stream.read_exact(&mut response)?;
    let size = response.get(2..6).and_then(|size| size.try_into().ok()).map(u32::from_be_bytes);
    let size = size.unwrap_or_default() as usize;
    if !(HEADER_BYTES..=limits::TPM_RESPONSE_BYTES).contains(&size) {
        let what = format!("the TPM announces a response of {size} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    response.resize(size, 0);
    stream.read_exact(response.get_mut(HEADER_BYTES..).unwrap_or_default())?;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::TpmAddress;

    #[test]
    fn addresses_are_read_and_written_the_same() {
        for text in ["/dev/tpmrm0", "unix:/run/tpm/data", "tcp:127.0.0.1:2321"] {
            assert_eq!(text.parse::<TpmAddress>().expect(text).to_string(), text);
        }
        for bad in ["", "tpm0", "unix:", "tcp:2321", "http://x"] {
            assert!(bad.parse::<TpmAddress>().is_err(), "{bad}");
        }
    }
}
