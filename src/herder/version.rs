//! `*.plugin.version`: one version, a range such as `[1.0,2.0)`, or `latest`.

use pipette_api::Info;

/// Says why a plugin's version is not the wanted one. The error is a text that is neither version nor range.
pub fn misfit(info: &Info, wanted: &str) -> Result<Option<String>, String> {
    let wanted = wanted.trim();
    if wanted == "latest" || wanted.is_empty() {
        return Ok(None);
    }
    let shown = if wanted.starts_with(['[', '(']) { wanted.to_owned() } else { format!("[{wanted},{wanted}]") };
    if fits(&shown, info.version)? {
        return Ok(None);
    }
    Ok(Some(misfit_text(info, &shown)))
}

/// That no installed version is in a range.
pub(super) fn misfit_text(info: &Info, range: &str) -> String {
    let Info { class, version, .. } = info;
    format!("Plugin {class} not found that matches the version range {range}, available versions: [{version}]")
}

fn fits(range: &str, version: &str) -> Result<bool, String> {
    let open = !range.starts_with('[');
    let Some(body) = range[1..].strip_suffix([']', ')']) else { return Err(format!("Unbounded range: {range}")) };
    let Some((low, high)) = body.split_once(',') else {
        return Ok(!open && range.ends_with(']') && compare(version, body).is_eq());
    };
    let (low, high) = (low.trim(), high.trim());
    let above = low.is_empty() || compare(version, low).is_gt() || (!open && compare(version, low).is_eq());
    let below =
        high.is_empty() || compare(version, high).is_lt() || (range.ends_with(']') && compare(version, high).is_eq());
    Ok(above && below)
}

/// Numbers by value, everything else as text; missing parts are zero.
fn compare(left: &str, right: &str) -> std::cmp::Ordering {
    let parts = |text: &str| -> Vec<(u64, String)> {
        let part =
            |part: &str| (part.parse().unwrap_or(0), part.trim_start_matches(|c: char| c.is_ascii_digit()).into());
        let mut parts: Vec<(u64, String)> = text.split(['.', '-']).map(part).collect();
        while parts.last().is_some_and(|(number, rest)| *number == 0 && rest.is_empty()) {
            parts.pop();
        }
        parts
    };
    parts(left).cmp(&parts(right))
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn ranges_are_mavens() {
        for (range, fit) in [
            ("[4.3.1,4.3.1]", true),
            ("[4.3,5)", true),
            ("[4.3.1,)", true),
            ("(4.3.1,)", false),
            ("(,4.3.1)", false),
            ("(,4.10]", true),
            ("[9.0,10.0)", false),
            ("[4.3.1]", true),
        ] {
            assert_eq!(fits(range, "4.3.1"), Ok(fit), "{range}");
        }
        assert_eq!(fits("[1,", "4.3.1"), Err("Unbounded range: [1,".into()));
    }
}
