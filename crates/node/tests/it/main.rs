//! The node against the kernel: namespaces, links, processes and what is left of them. As root these run on the
//! machine itself; otherwise each starts itself again inside a user namespace.

mod admin;
mod claim;
mod manual;
mod network;
mod role;
mod sap;
mod supervise;
mod up;
mod wire;
mod world;
