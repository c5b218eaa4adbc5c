//! metrics

/// The metrics page in Prometheus' text format.
pub fn render() -> String {
    String::new()
}
