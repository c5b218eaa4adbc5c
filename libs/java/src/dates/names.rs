//! English names in dates, for writing and for reading in any case.

pub(super) const ERAS: [[&str; 2]; 2] = [["BC", "Before Christ"], ["AD", "Anno Domini"]];
pub(super) const HALVES: [[&str; 2]; 2] = [["AM", "AM"], ["PM", "PM"]];

/// From Sunday.
pub(super) const DAYS: [[&str; 2]; 7] = [
    ["Sun", "Sunday"],
    ["Mon", "Monday"],
    ["Tue", "Tuesday"],
    ["Wed", "Wednesday"],
    ["Thu", "Thursday"],
    ["Fri", "Friday"],
    ["Sat", "Saturday"],
];

pub(super) const MONTHS: [[&str; 2]; 12] = [
    ["Jan", "January"],
    ["Feb", "February"],
    ["Mar", "March"],
    ["Apr", "April"],
    ["May", "May"],
    ["Jun", "June"],
    ["Jul", "July"],
    ["Aug", "August"],
    ["Sep", "September"],
    ["Oct", "October"],
    ["Nov", "November"],
    ["Dec", "December"],
];

pub(super) const UTC: [&str; 2] = ["UTC", "Coordinated Universal Time"];

/// Names of zones that are read, with their minutes ahead of UTC. Java knows hundreds, some with two meanings.
pub(super) const ZONES: [(&str, i32); 29] = [
    ("GMT", 0),
    ("UTC", 0),
    ("Coordinated Universal Time", 0),
    ("WET", 0),
    ("WEST", 60),
    ("BST", 60),
    ("CET", 60),
    ("CEST", 120),
    ("EET", 120),
    ("EEST", 180),
    ("MSK", 180),
    ("IST", 330),
    ("JST", 540),
    ("KST", 540),
    ("AWST", 480),
    ("ACST", 570),
    ("AEST", 600),
    ("AEDT", 660),
    ("NZST", 720),
    ("NZDT", 780),
    ("EST", -300),
    ("EDT", -240),
    ("CST", -360),
    ("CDT", -300),
    ("MST", -420),
    ("MDT", -360),
    ("PST", -480),
    ("PDT", -420),
    ("HST", -600),
];

/// The length of a name at the start of a text, in any case, as Java's `regionMatches` sees it.
pub(super) fn starts_with(text: &str, name: &str) -> Option<usize> {
    let mut characters = text.chars();
    let mut length = 0;
    for wanted in name.chars() {
        let found = characters.next()?;
        // Letters beyond ASCII whose other case is one of ASCII.
        let plain = match found {
            'ſ' => 's',
            '\u{212A}' => 'k',
            'İ' | 'ı' => 'i',
            other => other,
        };
        if !plain.eq_ignore_ascii_case(&wanted) {
            return None;
        }
        length += found.len_utf8();
    }
    Some(length)
}

/// Which of the names a text starts with, the longest that does, and its length.
pub(super) fn find(text: &str, names: &[[&str; 2]]) -> Option<(usize, usize)> {
    let lengths = names.iter().enumerate().flat_map(|(index, forms)| {
        forms.iter().filter_map(move |name| starts_with(text, name).map(|length| (index, length)))
    });
    lengths.max_by_key(|(_, length)| *length)
}
