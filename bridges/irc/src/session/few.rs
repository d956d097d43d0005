//! A list that is empty in nearly every session: it costs eight bytes there.

use std::ops::{Deref, DerefMut};

/// A list, mostly empty.
#[derive(Debug)]
#[allow(clippy::box_collection, reason = "8 bytes instead of 24")]
pub(crate) struct Few<T>(Option<Box<Vec<T>>>);

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}

impl<T> DerefMut for Few<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.0.as_deref_mut().map_or(&mut [], Vec::as_mut_slice)
    }
}

impl<T> From<Option<T>> for Few<T> {
    fn from(first: Option<T>) -> Self {
        Self(first.map(|first| Box::new(vec![first])))
    }
}

impl<T> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let all: Vec<T> = items.into_iter().collect();
        Self((!all.is_empty()).then(|| Box::new(all)))
    }
}

impl<T> Few<T> {
    pub(crate) fn push(&mut self, item: T) {
        self.0.get_or_insert_default().push(item);
    }

    /// All of it; nothing is left.
    pub(crate) fn take(&mut self) -> Vec<T> {
        self.0.take().map(|all| *all).unwrap_or_default()
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.retain_mut(|item| keep(item));
    }

    pub(crate) fn retain_mut(&mut self, keep: impl FnMut(&mut T) -> bool) {
        if let Some(all) = &mut self.0 {
            all.retain_mut(keep);
            if all.is_empty() {
                self.0 = None;
            }
        }
    }
}
