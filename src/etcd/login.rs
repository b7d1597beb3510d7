//! Logging in: a user and a password for a token, which goes with every request from then on.
//!
//! etcd's tokens end: simple ones when they were not used for a while, when the member restarts or
//! the user's password or roles change, JWTs after their time and with every change of any user or
//! role. The client library could renew a token by itself, but only with the password that it was
//! first given. So the login is ours: the password is read anew each time, and the failed request is
//! made again (see [`super::Connection`]).
//!
//! A password costs etcd a tenth of a second of computing by default, and when all tokens end at once,
//! every client asks for another. A login that is given up and begun again would only add to that. So it
//! is a task of its own, which outlives the attempt that has begun it, and the next one waits on.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::Client;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::Code;

use super::Endpoint;
use super::access::{Access, Login};
use super::dial::{blocking, no_answer};
use super::error::{Error, Kind};
use crate::clock::BootInstant;

const LOG_IN: &str = "log in";

/// How long a login may take, over all attempts that wait for it.
const LONGEST: Duration = Duration::from_secs(5);

/// A login on its way. Dropped, it is given up.
pub(super) struct LoggingIn(JoinHandle<Result<(), Error>>);

impl LoggingIn {
    /// Begins. All clones of the client have the token then; without a user there is nothing to do.
    pub fn begin(client: &Client, access: &Arc<Access>, endpoint: &Endpoint) -> Option<Self> {
        access.login.as_ref()?;
        let (mut client, access, endpoint) = (client.clone(), Arc::clone(access), endpoint.clone());
        Some(Self(tokio::spawn(async move {
            match &access.login {
                Some(login) => {
                    let until = BootInstant::now() + LONGEST;
                    log_in(&mut client, login, &endpoint, until).await
                }
                None => Ok(()),
            }
        })))
    }

    /// Waits for the end; `None` if it has not come by `until`.
    pub async fn end(&mut self, until: BootInstant) -> Option<Result<(), Error>> {
        // A panic aborts the process, and nobody else cancels the task.
        limited(until, &mut self.0).await.ok()?.ok()
    }

    /// The failure of not having waited long enough.
    pub fn unfinished(endpoint: &Endpoint) -> Error {
        let reason = "no answer yet".to_owned();
        Error::new(Kind::Elsewhere, endpoint, LOG_IN, reason)
    }
}

impl Drop for LoggingIn {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Gives the client a new token. Where etcd asks for no users, none is needed.
///
/// # Errors
/// [`Kind::Settings`] if the password cannot be read, or is not the user's.
async fn log_in(
    client: &mut Client,
    login: &Login,
    endpoint: &Endpoint,
    until: BootInstant,
) -> Result<(), Error> {
    let failed = |(kind, reason)| Error::new(kind, endpoint, LOG_IN, reason);
    let password = login.password.clone();
    let password = blocking(until, move || password.read()).await;
    let credentials = (login.user.clone(), password.map_err(failed)?);
    let answer = limited(until, client.update_user(Some(credentials))).await;
    let status = match answer.map_err(|limit| failed((Kind::Elsewhere, no_answer(limit))))? {
        Ok(()) => return Ok(()),
        Err(etcd_client::Error::GRpcStatus(status)) => status,
        Err(e) => return Err(Error::from_client(endpoint, LOG_IN, &e)),
    };
    let says = |text: &str| status.message().contains(text);
    match status.code() {
        Code::FailedPrecondition if says("authentication is not enabled") => Ok(()),
        Code::InvalidArgument | Code::FailedPrecondition
            if says("authentication failed") || says("user name not found") =>
        {
            let reason = format!(
                "it does not accept the user {:?} with the password in {}",
                login.user,
                login.password.origin()
            );
            Err(failed((Kind::Settings, reason)))
        }
        _ => {
            let error = etcd_client::Error::GRpcStatus(status);
            Err(Error::from_client(endpoint, LOG_IN, &error))
        }
    }
}

/// The deadline around an await; if it passes, how long that was.
pub(super) async fn limited<T>(
    until: BootInstant,
    call: impl Future<Output = T>,
) -> Result<T, Duration> {
    let limit = until.saturating_since(BootInstant::now());
    // Boxed, since a call's future is some kilobytes, and every future around it would be as well.
    timeout(limit, Box::pin(call)).await.map_err(|_| limit)
}
