//! An etcd that lies within the protocol, and what may be done with it.

pub mod liar;
pub mod lies;
pub mod wire;
