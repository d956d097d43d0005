//! A few things by their folded names, in order of them. Most users are in one room or two, and a hash table has places for many more.

/// Values by folded name.
#[derive(Debug)]
pub(crate) struct Table<T>(Vec<(Box<str>, T)>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Table<T> {
    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(one, _)| (**one).cmp(name))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&T> {
        self.place(name).ok().map(|at| &self.0[at].1)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut T> {
        self.place(name).ok().map(|at| &mut self.0[at].1)
    }

    /// Gives what stood there before.
    pub(crate) fn insert(&mut self, name: Box<str>, value: T) -> Option<T> {
        match self.place(&name) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                if self.0.len() < 4 {
                    self.0.reserve_exact(1);
                }
                self.0.insert(at, (name, value));
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<T> {
        self.place(name).ok().map(|at| self.0.remove(at).1)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|(_, value)| value)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&str, &mut T) -> bool) {
        self.0.retain_mut(|(name, value)| keep(name, value));
    }

    /// All of them; nothing is left.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (Box<str>, T)> + use<T> {
        std::mem::take(&mut self.0).into_iter()
    }

    pub(crate) fn clear(&mut self) {
        self.0 = Vec::new();
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> FromIterator<(Box<str>, T)> for Table<T> {
    fn from_iter<I: IntoIterator<Item = (Box<str>, T)>>(all: I) -> Self {
        let mut table = Self::default();
        for (name, value) in all {
            table.insert(name, value);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_is_found_until_it_is_taken_out() {
        let mut table = Table::default();
        for name in ["#c", "#a", "#b", "#d", "#e"] {
            assert!(table.insert(name.into(), name.to_uppercase()).is_none());
        }
        assert_eq!(table.insert("#b".into(), "again".to_owned()).as_deref(), Some("#B"));
        assert_eq!(table.get("#b").map(String::as_str), Some("again"));
        assert_eq!(table.remove("#a").as_deref(), Some("#A"));
        assert!(table.get("#a").is_none() && table.remove("#a").is_none());
        table.retain(|name, _| name != "#e");
        if let Some(value) = table.get_mut("#c") {
            value.push('!');
        }
        assert_eq!(table.values().collect::<Vec<_>>(), ["again", "#C!", "#D"]);
        let again: Table<String> = table.drain().collect();
        assert!(table.is_empty() && again.len() == 3);
    }
}
