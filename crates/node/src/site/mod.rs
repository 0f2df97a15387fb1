//! The built-in web site of the paper's testbed (section VII.A): 9 files, 1.2 MB, and a file of any size to download.
//!
//! It stands where a real service would: a plain HTTP/1.1 server that knows nothing of chains. No file holds the string
//! that the example's inspection forbids.

mod content;
mod server;

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::net::TcpListener;

use crate::control::{ControlChannel, ElementStatus, FromElement, ToElement};

pub use content::{FORBIDDEN, PAGE, PAGE_BYTES, page};
pub use server::{DOWNLOAD_PREFIX, UPLOAD_PATH, serve};

/// Serves the site at `address` until the parent says shut down or is gone.
///
/// # Errors
/// When the address cannot be bound.
pub async fn run(address: &str, control: ControlChannel) -> Result<()> {
    let address: SocketAddr =
        address.parse().with_context(|| format!("{address} is no address"))?;
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("the site cannot listen at {address}"))?;
    let (mut receiver, mut sender) = control.split();
    sender.send(&FromElement::Ready).await?;
    let told = async {
        loop {
            match receiver.recv().await {
                Ok(Some(ToElement::Shutdown { .. }) | None) | Err(_) => return,
                // A parent that is gone is noticed by the next receive.
                Ok(Some(ToElement::Status { request })) => {
                    let status =
                        ElementStatus { role: "service".to_owned(), ..ElementStatus::default() };
                    drop(sender.send(&FromElement::Status { request, status }).await);
                }
                Ok(Some(ToElement::ExportKeys { request })) => {
                    drop(sender.send(&FromElement::Keys { request, keys: Vec::new() }).await);
                }
                Ok(Some(ToElement::Pin { request, .. })) => {
                    let reason = "a service has no paths".to_owned();
                    drop(sender.send(&FromElement::Refused { request, reason }).await);
                }
                Ok(Some(_)) => {}
            }
        }
    };
    tokio::select! {
        never = serve(listener) => match never? {},
        () = told => Ok(()),
    }
}
