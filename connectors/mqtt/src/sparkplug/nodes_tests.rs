//! What is remembered of nodes, and what is not.

use super::super::topic::Topic;
use super::*;

fn place(topic: &str) -> Place<'_> {
    match Topic::parse(topic) {
        Ok(Topic::Node(place)) => place,
        other => panic!("{topic}: {other:?}"),
    }
}

fn metric(name: &str, alias: u64) -> Metric<'_> {
    Metric { name: Some(name), alias: Some(alias), datatype: Some(10), ..Metric::default() }
}

fn bd(number: u64) -> Metric<'static> {
    Metric { name: Some("bdSeq"), value: Some(Carried::Long(number)), ..Metric::default() }
}

const NBIRTH: &str = "spBv1.0/g/NBIRTH/n";
const NDATA: &str = "spBv1.0/g/NDATA/n";
const NDEATH: &str = "spBv1.0/g/NDEATH/n";
const DBIRTH: &str = "spBv1.0/g/DBIRTH/n/d";
const DDATA: &str = "spBv1.0/g/DDATA/n/d";

fn name(nodes: &Nodes, topic: &str, alias: u64) -> Option<String> {
    nodes.table(&place(topic))?.by_alias(alias).map(|known| known.name.to_string())
}

#[test]
fn each_birth_replaces_its_own_names() {
    let mut nodes = Nodes::new(1 << 20);
    nodes.born(&place(NBIRTH), Some(0), &[metric("speed", 1), metric("load", 2)]);
    nodes.born(&place(DBIRTH), Some(1), &[metric("heat", 1)]);
    assert_eq!(name(&nodes, NDATA, 1).as_deref(), Some("speed"));
    assert_eq!(name(&nodes, DDATA, 1).as_deref(), Some("heat"));
    assert_eq!(nodes.table(&place(DDATA)).unwrap().by_name("heat"), Some(DataType::Double));
    assert_eq!((name(&nodes, DDATA, 2), name(&nodes, "spBv1.0/h/NDATA/n", 1)), (None, None), "names are not lent");
    nodes.born(&place(DBIRTH), Some(2), &[metric("cold", 1)]);
    assert_eq!(name(&nodes, DDATA, 1).as_deref(), Some("cold"));
    nodes.born(&place(NBIRTH), Some(0), &[metric("speed", 7)]);
    assert_eq!((name(&nodes, NDATA, 1), name(&nodes, DDATA, 1)), (None, None), "a new life, and no device yet");
}

#[test]
fn a_number_that_is_left_out_is_a_gap_once() {
    let mut nodes = Nodes::new(1 << 20);
    let data = place(NDATA);
    assert!(!nodes.has_gap(&data, 200, false), "nothing is known before");
    let mut gaps = |numbers: &[(u8, bool)]| -> Vec<bool> {
        numbers.iter().map(|(seq, again)| nodes.has_gap(&data, *seq, *again)).collect()
    };
    assert_eq!(gaps(&[(201, false), (203, false), (204, false)]), [false, true, false]);
    assert_eq!(gaps(&[(203, true), (204, true), (205, true), (206, false)]), [false; 4], "what comes again");
    assert_eq!(gaps(&[(255, false), (0, false), (1, false)]), [true, false, false], "it starts over");
    nodes.born(&place(NBIRTH), Some(0), &[]);
    assert!(!nodes.has_gap(&place(DDATA), 1, false), "a node counts for its devices");
    assert!(nodes.has_gap(&place(NDATA), 3, false));
}

#[test]
fn a_death_takes_devices_along_unless_it_is_of_an_earlier_life() {
    let mut nodes = Nodes::new(1 << 20);
    nodes.born(&place(NBIRTH), Some(0), &[bd(4), metric("speed", 1)]);
    nodes.born(&place(DBIRTH), Some(1), &[metric("heat", 1)]);
    nodes.born(&place("spBv1.0/g/DBIRTH/n/a"), Some(2), &[]);
    assert_eq!(nodes.died(&place(NDEATH), &[bd(3)]), Death { counts: false, devices: vec![] });
    assert_eq!(name(&nodes, NDATA, 1).as_deref(), Some("speed"));
    assert_eq!(nodes.died(&place(NDEATH), &[bd(4)]), Death { counts: true, devices: vec!["a".into(), "d".into()] });
    assert_eq!((name(&nodes, NDATA, 1), name(&nodes, DDATA, 1)), (None, None));
    nodes.born(&place(NBIRTH), Some(0), &[bd(5)]);
    nodes.born(&place(DBIRTH), Some(1), &[metric("heat", 1)]);
    assert_eq!(nodes.died(&place("spBv1.0/g/DDEATH/n/d"), &[]), Death { counts: true, devices: vec![] });
    assert_eq!(name(&nodes, DDATA, 1), None);
    assert_eq!(nodes.died(&place(NDEATH), &[]), Death { counts: true, devices: vec![] }, "d was gone before");
}

#[test]
fn nodes_that_were_silent_longest_make_room() {
    let mut nodes = Nodes::new(100 * 1024);
    for number in 0..1000 {
        let topic = format!("spBv1.0/g/NBIRTH/n{number}");
        nodes.born(&place(&topic), Some(0), &[metric("speed", 1)]);
        let device = format!("spBv1.0/g/DBIRTH/n{number}/d");
        nodes.born(&place(&device), Some(1), &[metric("speed", 1)]);
        // This one is heard all the time.
        nodes.has_gap(&place("spBv1.0/g/NDATA/n0"), 1, false);
        nodes.shrink();
        assert!(nodes.bytes <= 100 * 1024, "{} bytes", nodes.bytes);
    }
    assert_eq!(name(&nodes, "spBv1.0/g/NDATA/n0", 1).as_deref(), Some("speed"));
    assert_eq!(name(&nodes, "spBv1.0/g/NDATA/n1", 1), None);
    assert_eq!(name(&nodes, "spBv1.0/g/DDATA/n999/d", 1).as_deref(), Some("speed"));
    let counted: usize =
        nodes.all.iter().map(|(name, node)| ENTRY + name.len() + node.own.bytes + devices_of(node)).sum();
    assert_eq!(nodes.bytes, counted, "the books are right");
    let mut one = Nodes::new(10);
    one.born(&place(NBIRTH), Some(0), &[metric("speed", 1)]);
    assert_eq!((one.shrink(), one.bytes), (1, 0), "one that is too large is not kept");
}

#[test]
fn a_node_is_asked_once_in_a_while() {
    let mut nodes = Nodes::new(1 << 20);
    let (now, interval) = (Instant::now(), Duration::from_secs(10));
    let data = place(DDATA);
    assert!(nodes.may_ask(&data, now, interval));
    assert!(!nodes.may_ask(&place(NDATA), now + Duration::from_secs(9), interval), "it is the same node");
    assert!(nodes.may_ask(&data, now + interval, interval));
    nodes.born(&place(NBIRTH), Some(0), &[]);
    assert!(
        !nodes.may_ask(&data, now + interval, interval),
        "a birth that explains nothing must not be asked for again"
    );
}
