//! The topics of Sparkplug B: `spBv1.0/GROUP/TYPE/NODE[/DEVICE]`, and those of host applications.
//!
//! Pure. Read next: `nodes.rs`.

/// The first level of all topics of edge nodes.
pub(super) const NAMESPACE: &str = "spBv1.0";

/// What a topic says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic<'a> {
    Node(Place<'a>),
    /// The state of a host application, by its id.
    Host(&'a str),
}

/// Whose message it is and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub(super) group: &'a str,
    pub(super) node: &'a str,
    pub(super) device: Option<&'a str>,
    pub(super) kind: MessageKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MessageKind {
    Birth,
    Death,
    Data,
    Command,
}

impl<'a> Topic<'a> {
    pub(super) fn parse(topic: &'a str) -> Result<Self, String> {
        let unknown = || format!("the topic is none of Sparkplug B, which are {NAMESPACE}/GROUP/TYPE/NODE/DEVICE");
        let levels: Vec<&str> = topic.split('/').collect();
        match *levels.as_slice() {
            // The second is that of version 2.2.
            [NAMESPACE, "STATE", host] | ["STATE", host] if !host.is_empty() => Ok(Self::Host(host)),
            [NAMESPACE, group, kind, node] => place(group, kind, node, None).map(Self::Node).ok_or_else(unknown),
            [NAMESPACE, group, kind, node, device] => {
                place(group, kind, node, Some(device)).map(Self::Node).ok_or_else(unknown)
            }
            _ => Err(unknown()),
        }
    }
}

fn place<'a>(group: &'a str, kind: &str, node: &'a str, device: Option<&'a str>) -> Option<Place<'a>> {
    if group.is_empty() || node.is_empty() || device.is_some_and(str::is_empty) {
        return None;
    }
    let (of, kind) = kind.split_at_checked(1)?;
    let kind = match kind {
        "BIRTH" => MessageKind::Birth,
        "DEATH" => MessageKind::Death,
        "DATA" => MessageKind::Data,
        "CMD" => MessageKind::Command,
        _ => return None,
    };
    let fits = if device.is_some() { of == "D" } else { of == "N" };
    fits.then_some(Place { group, node, device, kind })
}

impl Place<'_> {
    /// The name of the type.
    pub(super) fn kind_name(&self) -> &'static str {
        match (self.kind, self.device) {
            (MessageKind::Birth, None) => "NBIRTH",
            (MessageKind::Birth, Some(_)) => "DBIRTH",
            (MessageKind::Death, None) => "NDEATH",
            (MessageKind::Death, Some(_)) => "DDEATH",
            (MessageKind::Data, None) => "NDATA",
            (MessageKind::Data, Some(_)) => "DDATA",
            (MessageKind::Command, None) => "NCMD",
            (MessageKind::Command, Some(_)) => "DCMD",
        }
    }

    /// `GROUP/NODE`, which no other node has: names have no slash.
    pub(super) fn node_name(&self) -> String {
        format!("{}/{}", self.group, self.node)
    }

    /// `GROUP/NODE[/DEVICE]`.
    pub(super) fn full_name(&self) -> String {
        match self.device {
            Some(device) => format!("{}/{}/{device}", self.group, self.node),
            None => self.node_name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_say_whose_message_it_is() {
        let Ok(Topic::Node(place)) = Topic::parse("spBv1.0/plant/DDATA/press/motor") else { panic!("a node") };
        assert_eq!((place.group, place.node, place.device), ("plant", "press", Some("motor")));
        assert_eq!((place.kind, place.kind_name()), (MessageKind::Data, "DDATA"));
        assert_eq!((place.node_name().as_str(), place.full_name().as_str()), ("plant/press", "plant/press/motor"));
        assert_eq!(Topic::parse("spBv1.0/STATE/scada"), Ok(Topic::Host("scada")));
        assert_eq!(Topic::parse("STATE/scada"), Ok(Topic::Host("scada")));
        for bad in [
            "site/a",
            "spAv1.0/g/NDATA/n",
            "spBv1.0/g/NDATA/n/d",
            "spBv1.0/g/DDATA/n",
            "spBv1.0/g/XDATA/n",
            "spBv1.0//NDATA/n",
            "spBv1.0/g/NDATA/",
            "spBv1.0/g/DDATA/n/d/e",
            "spBv1.0/g//n",
            "spBv1.0/g/é/n",
            "STATE/",
        ] {
            assert!(Topic::parse(bad).unwrap_err().contains("none of Sparkplug B"), "{bad}");
        }
    }
}
