//! Where in a document something is wrong: `order.items[3].qty`. [`crate::Parser`] keeps it while an error is on its way
//! out, so that good documents pay nothing.

/// One step into a value.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// The member of that name.
    Member(&'a [u8]),
    /// The element of that number.
    Element(usize),
}

/// Names are cut after this many characters, and of a long path only so many steps at either end are shown: a bad
/// document must not become a bad log.
const MAX_NAME: usize = 40;
const MAX_STEPS: usize = 16;

/// The steps of the last error, innermost first.
#[derive(Debug, Default)]
pub(crate) struct Place(Vec<String>);

impl Place {
    #[cold]
    pub(crate) fn push(&mut self, step: Step<'_>) {
        self.0.push(match step {
            Step::Element(index) => format!("[{index}]"),
            Step::Member(name) => member(&String::from_utf8_lossy(name)),
        });
    }

    /// The path; the steps are forgotten.
    pub(crate) fn take(&mut self) -> String {
        let steps = std::mem::take(&mut self.0);
        let mut path = String::new();
        let left_out = steps.len().saturating_sub(MAX_STEPS);
        for (index, step) in steps.iter().rev().enumerate() {
            if left_out > 0 && index == MAX_STEPS / 2 {
                path.push('…');
            }
            if !(MAX_STEPS / 2..MAX_STEPS / 2 + left_out).contains(&index) {
                path.push_str(step);
            }
        }
        path.strip_prefix('.').map(str::to_owned).unwrap_or(path)
    }
}

fn member(name: &str) -> String {
    let plain = |char: char| char.is_alphanumeric() || matches!(char, '_' | '-' | '$');
    let short: String = name.chars().take(MAX_NAME).collect();
    let cut = if short.len() < name.len() { "…" } else { "" };
    if !short.is_empty() && short.chars().all(plain) { format!(".{short}{cut}") } else { format!("[{short:?}{cut}]") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(steps: &[Step<'_>]) -> String {
        let mut place = Place::default();
        steps.iter().rev().for_each(|step| place.push(*step));
        let path = place.take();
        assert!(place.0.is_empty());
        path
    }

    #[test]
    fn paths_are_read_from_the_outside_in() {
        use Step::{Element, Member};
        assert_eq!(path(&[]), "");
        assert_eq!(path(&[Member(b"order"), Member(b"items"), Element(3), Member(b"qty")]), "order.items[3].qty");
        assert_eq!(path(&[Element(0), Member(b"a.b"), Member(b"")]), "[0][\"a.b\"][\"\"]");
        let long = path(&[Element(1); 1000]);
        assert_eq!(long, format!("{0}…{0}", "[1]".repeat(8)));
        assert_eq!(path(&[Member(&vec![b'x'; 1 << 20])]), format!("{}…", "x".repeat(40)));
    }
}
