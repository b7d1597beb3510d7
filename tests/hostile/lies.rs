//! The lies, by name.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use super::liar::{Call, Deed, Lie};
use super::wire::{
    CANCELED, CLUSTER, COMPACTED, CREATED, EVENTS, HEADER, KEY_VALUE, KEYS, LEASE, MEMBER, Message,
    OPERATIONS, RAFT_TERM, READ, REASON, REVISION, TTL, TYPE,
};

/// A lie and what to call it.
pub type Named = (&'static str, Lie);

/// More than the largest message that is read, and than what any candidate may ever hold.
pub const BULK: usize = 100 << 20;

/// Longer than any attempt.
pub const TOO_LATE: Duration = Duration::from_millis(1200);

/// For each answer to that call: what happens instead.
pub fn instead(
    call: Call,
    deeds: impl Fn(usize, Message) -> Vec<Deed> + Send + Sync + 'static,
) -> Lie {
    Lie::new(move |c, nth, message| {
        if c == call {
            deeds(nth, message)
        } else {
            vec![Deed::Say(message)]
        }
    })
}

/// For each answer to that call: something else is said.
pub fn change(call: Call, change: impl Fn(Message) -> Message + Send + Sync + 'static) -> Lie {
    instead(call, move |_, message| vec![Deed::Say(change(message))])
}

fn header(call: Call, field: u32, number: i64) -> Lie {
    change(call, move |m| {
        m.map(HEADER, |h| h.with_number(field, number))
    })
}

fn number(call: Call, field: u32, number: i64) -> Lie {
    change(call, move |m| m.with_number(field, number))
}

fn do_instead(call: Call, deed: &'static [Deed]) -> Lie {
    instead(call, move |_, _| deed.to_vec())
}

/// Answers that prove no renewal, whatever else they say.
pub fn of_no_proof() -> Vec<Named> {
    use Call::{KeepAlive, Txn};
    let late = |call| instead(call, |_, m| vec![Deed::Wait(TOO_LATE), Deed::Say(m)]);
    vec![
        ("a TTL of 0", number(KeepAlive, TTL, 0)),
        ("a negative TTL", number(KeepAlive, TTL, i64::MIN)),
        ("a shorter TTL", number(KeepAlive, TTL, 1)),
        ("another lease", number(KeepAlive, LEASE, 1)),
        ("no header", change(KeepAlive, |m| m.without(HEADER))),
        (
            "a transaction without header",
            change(Txn, |m| m.without(HEADER)),
        ),
        // What both have in common proves nothing if it is nothing.
        (
            "headers that say nothing",
            Lie::new(|_, _, m: Message| vec![Deed::Say(m.map(HEADER, |_| Message::default()))]),
        ),
        ("another cluster", header(KeepAlive, CLUSTER, 7)),
        (
            "a transaction of another cluster",
            header(Txn, CLUSTER, i64::MAX),
        ),
        ("an earlier raft term", header(KeepAlive, RAFT_TERM, 1)),
        ("a later raft term", header(Txn, RAFT_TERM, 99)),
        ("a negative revision", header(Txn, REVISION, i64::MIN)),
        ("a late keepalive", late(KeepAlive)),
        ("a late transaction", late(Txn)),
        ("a stream that ends", do_instead(KeepAlive, &[Deed::Close])),
        (
            "a stream that ends after its first answer",
            instead(KeepAlive, |_, m| vec![Deed::Say(m), Deed::Close]),
        ),
        ("silence", do_instead(Txn, &[Deed::Hang])),
        (
            "an error",
            do_instead(Txn, &[Deed::Fail(14, "etcdserver: no%0Aleader%1B[2J")]),
        ),
        (
            "a keepalive of 100 MB",
            do_instead(KeepAlive, &[Deed::Bulk(BULK)]),
        ),
        (
            "a transaction of 100 MB",
            do_instead(Txn, &[Deed::Bulk(BULK)]),
        ),
        (
            "operations left out",
            change(Txn, |m| m.without(OPERATIONS)),
        ),
        (
            "operations that say nothing",
            change(Txn, |m| m.map(OPERATIONS, |_| Message::default())),
        ),
    ]
}

/// Answers that are odd, but take nothing from the proof.
pub fn of_no_matter() -> Vec<Named> {
    use Call::{KeepAlive, Txn};
    vec![
        ("a huge TTL", number(KeepAlive, TTL, i64::MAX)),
        ("another member", header(Txn, MEMBER, -1)),
        ("a huge revision", header(Txn, REVISION, i64::MAX)),
        (
            "everything twice",
            instead(KeepAlive, |_, m| vec![Deed::Say(m.clone()), Deed::Say(m)]),
        ),
        (
            "answers in advance",
            instead(KeepAlive, |nth, m| match nth % 2 {
                0 => vec![Deed::Say(m.clone()), Deed::Say(m)],
                _ => Vec::new(),
            }),
        ),
    ]
}

/// What a watch may be told instead of its creation, or after it.
pub fn of_watches() -> Vec<Named> {
    let canceled = |m: Message| {
        m.with_number(CANCELED, 1)
            .and(REASON, "no%0Areason\u{1b}[2J\n")
    };
    let event = |event: Message| {
        move |m: Message| {
            let false_one = m
                .clone()
                .without(CREATED)
                .and(EVENTS, event.clone().bytes());
            vec![Deed::Say(m), Deed::Say(false_one)]
        }
    };
    let after = |deeds: Box<dyn Fn(Message) -> Vec<Deed> + Send + Sync>| {
        instead(Call::Watch, move |_, m| deeds(m))
    };
    let nobody = Message::default().and(1, "nobody");
    vec![
        ("canceled", change(Call::Watch, canceled)),
        (
            "compacted",
            change(Call::Watch, move |m| {
                canceled(m).with_number(COMPACTED, i64::MAX)
            }),
        ),
        ("closed", do_instead(Call::Watch, &[Deed::Close])),
        (
            "closed later",
            after(Box::new(|m| vec![Deed::Say(m), Deed::Close])),
        ),
        ("refused", do_instead(Call::Watch, &[Deed::Fail(13, "no")])),
        ("hangs", do_instead(Call::Watch, &[Deed::Hang])),
        ("of 100 MB", do_instead(Call::Watch, &[Deed::Bulk(BULK)])),
        ("without header", change(Call::Watch, |m| m.without(HEADER))),
        (
            "an event of an unknown type",
            after(Box::new(event(
                Message::default()
                    .with_number(TYPE, 7)
                    .and(KEY_VALUE, nobody.bytes()),
            ))),
        ),
        (
            "an event of nothing",
            after(Box::new(event(Message::default().with_number(TYPE, 1)))),
        ),
        ("in another order", reordered()),
    ]
}

/// A watch that is told of the deletion of `key` whenever anything happens.
pub fn deletion_of(key: &str) -> Lie {
    let deleted = Message::default()
        .with_number(TYPE, 1)
        .and(KEY_VALUE, Message::default().and(1, key).bytes());
    change(Call::Watch, move |m| {
        if m.all(EVENTS).is_empty() {
            return m;
        }
        m.without(EVENTS).and(EVENTS, deleted.bytes())
    })
}

/// What one answer to a request may be instead, whatever was asked.
pub fn of_one_answer(call: Call) -> Vec<Named> {
    vec![
        ("an error", do_instead(call, &[Deed::Fail(14, "no leader")])),
        (
            "a status that there is not",
            do_instead(call, &[Deed::Fail(99, "no%0Areason%1B[2J")]),
        ),
        (
            "no such lease",
            do_instead(
                call,
                &[Deed::Fail(5, "etcdserver: requested lease not found")],
            ),
        ),
        ("an end", do_instead(call, &[Deed::Close])),
        ("silence", do_instead(call, &[Deed::Hang])),
        ("nothing", change(call, |_| Message::default())),
        ("no header", change(call, |m| m.without(HEADER))),
        ("another cluster", header(call, CLUSTER, 7)),
        (
            "lateness",
            instead(call, |_, m| vec![Deed::Wait(TOO_LATE), Deed::Say(m)]),
        ),
        ("100 MB", do_instead(call, &[Deed::Bulk(BULK)])),
    ]
}

/// What may be said of how long a lease has.
pub fn of_times_to_live() -> Vec<Named> {
    let call = Call::TimeToLive;
    let mut all = of_one_answer(call);
    all.extend([
        ("a TTL of 0", number(call, TTL, 0)),
        ("a negative TTL", number(call, TTL, i64::MIN)),
        ("a huge TTL", number(call, TTL, i64::MAX)),
        ("another lease", number(call, LEASE, 1)),
    ]);
    all
}

/// The grant is true, but its answer names another lease than was asked for.
pub fn grant_of_another() -> Lie {
    number(Call::Grant, LEASE, 1)
}

/// Grants of a TTL that the lease does not have.
pub fn grants_of(ttl: i64) -> Lie {
    number(Call::Grant, TTL, ttl)
}

/// Keys among the candidates that are none, or none that anybody could be.
pub fn malformed_keys(key: &'static str) -> Lie {
    let names: [Vec<u8>; 8] = [
        Vec::new(),
        b"\xff\xfe".to_vec(),
        format!("{key}/").into(),
        format!("{key}/FFFF").into(),
        format!("{key}/1/2").into(),
        format!("{key}/ffffffffffffffffffffffff").into(),
        "x".repeat(1 << 20).into(),
        format!("{key}/\u{1b}[2J\nleaderrun: elected").into(),
    ];
    let kvs: Vec<Vec<u8>> = names
        .into_iter()
        // Its create revision, and the value, which is no text.
        .map(|name| {
            Message::default()
                .and(1, name)
                .with_number(2, -7)
                .and(5, *b"\xff\0")
        })
        .map(|kv| kv.bytes())
        .collect();
    change(Call::Txn, move |m| {
        let mut first = true;
        let operations = m.all(OPERATIONS);
        let read = |mut range: Message| {
            for kv in &kvs {
                range = range.and(KEYS, kv.clone());
            }
            range
        };
        // The look at the queue is the one that reads a range first.
        if operations.first().is_none_or(|op| op.all(READ).is_empty()) {
            return m;
        }
        let mut changed = m.without(OPERATIONS);
        for operation in operations {
            let operation = if std::mem::take(&mut first) {
                operation.map(READ, read)
            } else {
                operation
            };
            changed = changed.and(OPERATIONS, operation.bytes());
        }
        changed
    })
}

/// The first `count` answers of all are those of another cluster.
pub fn cluster_of_first(count: usize) -> Lie {
    let left = AtomicUsize::new(count);
    Lie::new(move |_, _, m: Message| {
        let lies = left
            .fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1))
            .is_ok();
        let other = |h: Message| h.with_number(CLUSTER, 7);
        vec![Deed::Say(if lies { m.map(HEADER, other) } else { m })]
    })
}

/// Every message of a watch waits for the one after it, which is told first.
fn reordered() -> Lie {
    let kept: Mutex<Option<Message>> = Mutex::default();
    instead(Call::Watch, move |_, message| {
        let mut kept = kept.lock().expect("one thread");
        if let Some(earlier) = kept.take() {
            return vec![Deed::Say(message), Deed::Say(earlier)];
        }
        *kept = Some(message);
        Vec::new()
    })
}
