//! A list that nearly always has one element: who listens to a name, who waits for it.
//!
//! A million names with a `Vec` each would be a million small allocations, and one more miss of the cache per message.

/// None, one, or more of something small.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Few<T> {
    /// Nothing.
    #[default]
    None,
    /// One, in place.
    One(T),
    /// More; never empty. Boxed, so that the usual list is small.
    Many(Box<Vec<T>>),
}

impl<T: Copy + PartialEq> Few<T> {
    /// All of them, in the order of their coming.
    #[inline]
    pub fn as_slice(&self) -> &[T] {
        match self {
            Few::None => &[],
            Few::One(one) => std::slice::from_ref(one),
            Few::Many(many) => many,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        matches!(self, Few::None)
    }

    /// Appends one.
    pub fn push(&mut self, value: T) {
        match self {
            Few::None => *self = Few::One(value),
            Few::One(one) => *self = Few::Many(Box::new(vec![*one, value])),
            Few::Many(many) => many.push(value),
        }
    }

    /// Removes every one that equals `value`.
    pub fn remove(&mut self, value: T) {
        match self {
            Few::One(one) if *one == value => *self = Few::None,
            Few::None | Few::One(_) => {}
            Few::Many(many) => {
                many.retain(|other| *other != value);
                match *many.as_slice() {
                    [] => *self = Few::None,
                    [one] => *self = Few::One(one),
                    _ => {}
                }
            }
        }
    }
}

impl<T: Copy + PartialEq> Extend<T> for Few<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, values: I) {
        values.into_iter().for_each(|value| self.push(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_order_and_shrinks_again() {
        let mut few = Few::default();
        few.extend([1u32, 2, 3, 2]);
        assert_eq!(few.as_slice(), [1, 2, 3, 2]);
        few.remove(2);
        assert_eq!(few.as_slice(), [1, 3]);
        few.remove(1);
        assert_eq!(few, Few::One(3));
        few.remove(7);
        few.remove(3);
        assert!(few.is_empty() && few.as_slice().is_empty());
    }
}
