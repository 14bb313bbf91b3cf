//! Settling in any order, acknowledging in one: for systems that want their acknowledgements in the order of delivery.

use std::collections::VecDeque;

/// What is unsettled, in the order in which it came. Tokens count up from 1.
///
/// ```
/// let mut queue = ferrule_sdk::AckQueue::new();
/// let (a, b) = (queue.push("a"), queue.push("b"));
/// queue.settle(b);
/// assert_eq!(queue.release(), None); // `a` came first
/// queue.settle(a);
/// assert_eq!((queue.release(), queue.release()), (Some("a"), Some("b")));
/// ```
#[derive(Debug)]
pub struct AckQueue<T> {
    /// The token of the entry in front.
    first: u64,
    entries: VecDeque<(T, bool)>,
}

impl<T> Default for AckQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> AckQueue<T> {
    /// Nothing unsettled.
    pub const fn new() -> Self {
        Self { first: 1, entries: VecDeque::new() }
    }

    /// Appends what is to be acknowledged (a packet identifier, an offset); the token goes with its record.
    pub fn push(&mut self, value: T) -> u64 {
        self.entries.push_back((value, false));
        self.first + self.entries.len() as u64 - 1
    }

    /// Marks a token as settled. False if there is no such token unsettled.
    pub fn settle(&mut self, token: u64) -> bool {
        let entry = token.checked_sub(self.first).and_then(|index| self.entries.get_mut(usize::try_from(index).ok()?));
        match entry {
            Some((_, settled)) if !*settled => {
                *settled = true;
                true
            }
            _ => false,
        }
    }

    /// The next that may be acknowledged: it is settled, and so is everything before it.
    pub fn release(&mut self) -> Option<T> {
        self.entries.front().filter(|(_, settled)| *settled)?;
        self.first += 1;
        self.entries.pop_front().map(|(value, _)| value)
    }

    /// How many were not released yet.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether everything was released.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets everything, as after a connection was lost; tokens go on counting, so that late ones settle nothing.
    pub fn clear(&mut self) {
        self.first += self.entries.len() as u64;
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn released(queue: &mut AckQueue<u32>) -> Vec<u32> {
        std::iter::from_fn(|| queue.release()).collect()
    }

    #[test]
    fn any_order_in_first_order_out() {
        let mut queue = AckQueue::new();
        let tokens: Vec<u64> = (0..6).map(|n| queue.push(n)).collect();
        assert_eq!(tokens, [1, 2, 3, 4, 5, 6]);
        assert!(queue.settle(3) && queue.settle(2));
        assert!(released(&mut queue).is_empty());
        assert!(queue.settle(1));
        assert_eq!(released(&mut queue), [0, 1, 2]);
        assert!(queue.settle(6) && queue.settle(5) && queue.settle(4));
        assert_eq!(released(&mut queue), [3, 4, 5]);
        assert!(queue.is_empty());
        assert_eq!(queue.push(9), 7);
    }

    #[test]
    fn unknown_and_repeated_tokens_settle_nothing() {
        let mut queue = AckQueue::new();
        let token = queue.push(1);
        assert!(!queue.settle(0) && !queue.settle(2) && !queue.settle(u64::MAX));
        assert!(queue.settle(token) && !queue.settle(token));
        assert_eq!(released(&mut queue), [1]);
        assert!(!queue.settle(token));
    }

    #[test]
    fn after_clear_old_tokens_settle_nothing() {
        let mut queue = AckQueue::new();
        let old = queue.push(1);
        queue.clear();
        let new = queue.push(2);
        assert!(!queue.settle(old));
        assert!(queue.settle(new));
        assert_eq!(released(&mut queue), [2]);
    }
}
