//! One call of the client library, with the deadline that every await has.

use std::future::Future;
use std::pin::Pin;

use super::Endpoint;
use super::dial::no_answer;
use super::error::{Error, Kind};
use super::login::limited;
use crate::clock::BootInstant;

/// A request of the client library, on its way.
pub(super) type Request<'a, T> =
    Pin<Box<dyn Future<Output = Result<T, etcd_client::Error>> + Send + 'a>>;

/// The deadline around every await.
pub(super) async fn bounded<T>(
    endpoint: &Endpoint,
    doing: &'static str,
    until: BootInstant,
    call: impl Future<Output = Result<T, etcd_client::Error>>,
) -> Result<T, Error> {
    match limited(until, call).await {
        Ok(answer) => answer.map_err(|e| Error::from_client(endpoint, doing, &e)),
        Err(limit) => Err(Error::new(
            Kind::Elsewhere,
            endpoint,
            doing,
            no_answer(limit),
        )),
    }
}
