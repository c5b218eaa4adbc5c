//! Guards of the tree: what the compiler does not check and a tired reviewer overlooks.
//!
//! Each guard is a plain function from text to complaints, proven below on a snippet that breaks it. `tidy/source.rs`
//! reads the tree, `tidy/arrows.rs` holds the dependency law, `tidy/packages.rs` licences and doubles, `tidy/text.rs`
//! sizes, links and words.

mod arrows;
mod packages;
pub(crate) mod source;
mod text;

/// Fails with every complaint of a guard, and says how the rule is called.
fn assert_none(rule: &str, complaints: &[String]) {
    assert!(complaints.is_empty(), "{rule}:\n  {}", complaints.join("\n  "));
}
