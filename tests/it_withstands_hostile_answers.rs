//! Whatever etcd answers, within the protocol: nothing hangs, nothing panics, and the deadline never moves but by a
//! renewal that was truthfully confirmed.

#[path = "hostile/asking.rs"]
mod asking;
mod hostile;
#[path = "hostile/leading.rs"]
mod leading;
#[path = "hostile/leaving.rs"]
mod leaving;
#[path = "hostile/sequences.rs"]
mod sequences;
mod support;
#[path = "hostile/waiting.rs"]
mod waiting;
