//! Is the term in the environment still the leader's? By a linearizable read.

use super::{Answer, Place, YES, look, no};
use crate::election::{Standing, Token};

pub(super) async fn verify(place: &Place, leader_key: &str, token: Token) -> Answer {
    let mut pool = place.pool();
    let key = place.key.as_str();
    let view = look(&mut pool, key).await?;
    let seats = view.seats();
    let ours = seats
        .iter()
        .find(|seat| seat.key == leader_key && seat.token == token);
    // Also where it is not the first: a key that was written by hand may stand before it.
    let leads = ours.is_some_and(|seat| match view.standing(Some(seat)) {
        Standing::Leads(_) => true,
        Standing::Unrecorded => seats.first() == Some(seat) && seat.has_lease(),
        Standing::Vacant | Standing::TakeOver(_) | Standing::Unreadable => false,
    });
    Ok(if leads { YES } else { no() })
}
