//! What PostgreSQL's clients say before TLS: a request for it, in the clear, which wants one letter in answer
//! (PostgreSQL documentation, "SSL Session Encryption").
//!
//! Exactly these bytes are read from the socket, so that nothing that came in the clear is taken for what TLS protects
//! (CVE-2021-23214).

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Length 8, and 1234, 5679: `SSLRequest`.
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// Length 8, and 1234, 5680: `GSSENCRequest`.
const GSS_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];

/// Answers requests for TLS until TLS begins.
///
/// # Errors
/// Those of the socket, and `InvalidData` where neither TLS nor a request for it comes.
pub(crate) async fn answer(tcp: &mut TcpStream) -> io::Result<()> {
    // Each request is of use once; more are an attempt to hold the connection open.
    for _ in 0..2 {
        let mut first = [0];
        if tcp.peek(&mut first).await? == 0 || first != [0] {
            // A record of TLS begins with its type, which is never 0. What is no TLS at all, rustls refuses.
            return Ok(());
        }
        let mut request = [0; 8];
        tcp.read_exact(&mut request).await?;
        match request {
            TLS_REQUEST => return tcp.write_all(b"S").await,
            GSS_REQUEST => tcp.write_all(b"N").await?,
            _ => break,
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}
