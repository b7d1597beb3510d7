//! Which hook is run next, and until when; what is dropped. Pure: it is told the time.

use std::collections::VecDeque;

use super::{HookEvent, LIMIT};
use crate::clock::BootInstant;
use crate::election::Token;

/// How many events wait at most. Who has a hook that hangs wants the latest news, not all of it.
const LONGEST: usize = 16;

/// A hook to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What it is told of.
    pub event: HookEvent,
    /// What is added to its environment.
    pub variables: Vec<(String, String)>,
    /// The term that it must not outlive, and when that has to be dead.
    pub fence: Option<(Token, BootInstant)>,
}

/// What runs.
#[derive(Debug)]
pub(super) struct Running {
    pub event: HookEvent,
    fence: Option<(Token, BootInstant)>,
    limit: BootInstant,
}

impl Running {
    /// When it is killed.
    pub fn dead_by(&self) -> BootInstant {
        self.fence.map_or(self.limit, |(_, at)| at.min(self.limit))
    }
}

/// The events, in their order.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pending: VecDeque<Order>,
    running: Option<Running>,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This is to be run now, and counts as running from now on.
    Run(Order),
    /// This would outlive its term, and is not run.
    Late(HookEvent),
    /// Nothing, or not yet.
    Nothing,
}

impl Queue {
    /// Appends an event. Returns one that has to give way.
    pub fn push(&mut self, order: Order) -> Option<HookEvent> {
        let dropped = if self.pending.len() >= LONGEST {
            self.pending.pop_front()
        } else {
            None
        };
        self.pending.push_back(order);
        dropped.map(|order| order.event)
    }

    pub fn next(&mut self, now: BootInstant) -> Next {
        if self.running.is_some() {
            return Next::Nothing;
        }
        let Some(order) = self.pending.pop_front() else {
            return Next::Nothing;
        };
        if order.fence.is_some_and(|(_, at)| at <= now) {
            return Next::Late(order.event);
        }
        self.running = Some(Running {
            event: order.event,
            fence: order.fence,
            limit: now + LIMIT,
        });
        Next::Run(order)
    }

    /// What ran has ended.
    pub fn ended(&mut self) -> Option<Running> {
        self.running.take()
    }

    /// What runs.
    pub const fn running(&self) -> Option<&Running> {
        self.running.as_ref()
    }

    /// Whether nothing runs and nothing waits.
    pub fn is_idle(&self) -> bool {
        self.running.is_none() && self.pending.is_empty()
    }

    /// The term `token` has to be dead at `at` from now on. Returns the instant if what runs has to know.
    pub fn fence(&mut self, token: Token, at: BootInstant) -> Option<BootInstant> {
        for order in &mut self.pending {
            if let Some((of, until)) = &mut order.fence
                && *of == token
            {
                *until = at;
            }
        }
        match &mut self.running {
            Some(Running {
                fence: Some((of, until)),
                ..
            }) if *of == token => {
                *until = at;
                Some(at)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> BootInstant {
        BootInstant::from_duration(Duration::from_secs(seconds))
    }

    fn order(event: HookEvent, fence: Option<(Token, BootInstant)>) -> Order {
        Order {
            event,
            variables: Vec::new(),
            fence,
        }
    }

    #[test]
    fn one_at_a_time_and_in_order() {
        let mut queue = Queue::default();
        let (first, second) = (
            order(HookEvent::Standby, None),
            order(HookEvent::Elected, None),
        );
        assert_eq!(queue.push(first.clone()), None);
        assert_eq!(queue.push(second.clone()), None);
        assert_eq!(queue.next(at(1)), Next::Run(first));
        assert_eq!(queue.next(at(1)), Next::Nothing);
        assert_eq!(queue.ended().unwrap().dead_by(), at(1) + LIMIT);
        assert_eq!(queue.next(at(2)), Next::Run(second));
        assert!(!queue.is_idle());
        queue.ended();
        assert!(queue.is_idle());
    }

    #[test]
    fn the_oldest_gives_way_when_too_many_wait() {
        let mut queue = Queue::default();
        queue.push(order(HookEvent::Standby, None));
        queue.next(at(1));
        assert_eq!(queue.push(order(HookEvent::Elected, None)), None);
        for _ in 1..LONGEST {
            assert_eq!(queue.push(order(HookEvent::NewLeader, None)), None);
        }
        let dropped = queue.push(order(HookEvent::Released, None));
        assert_eq!(dropped, Some(HookEvent::Elected));
        assert_eq!(queue.running().unwrap().event, HookEvent::Standby);
        assert_eq!(queue.pending.len(), LONGEST);
    }

    #[test]
    fn the_fence_moves_with_the_renewals_of_its_own_term() {
        let (ours, other) = (Token(7), Token(8));
        let mut queue = Queue::default();
        queue.push(order(HookEvent::Elected, Some((ours, at(3)))));
        queue.push(order(HookEvent::Started, Some((ours, at(3)))));
        queue.push(order(HookEvent::Stopped, None));
        assert!(matches!(queue.next(at(1)), Next::Run(_)));
        assert_eq!(queue.running().unwrap().dead_by(), at(3));
        assert_eq!(queue.fence(other, at(9)), None);
        assert_eq!(queue.running().unwrap().dead_by(), at(3));
        assert_eq!(queue.fence(ours, at(9)), Some(at(9)));
        assert_eq!(
            queue.running().unwrap().dead_by(),
            at(6),
            "the limit stands"
        );
        // The fence begins: SIGKILL comes sooner than the last renewal allows.
        assert_eq!(queue.fence(ours, at(2)), Some(at(2)));
        queue.ended();
        assert_eq!(queue.next(at(2)), Next::Late(HookEvent::Started));
        assert!(matches!(queue.next(at(2)), Next::Run(_)), "no part of it");
    }
}
