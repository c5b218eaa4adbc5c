//! Takes away objects that no record refers to any more: orphans of crashes, and what is left of records that Kafka has
//! deleted.
//!
//! First the objects are listed, then the topics are read, then the objects are listed again: what is taken away is older than
//! the grace both times, can have been put there by the connector, and no record refers to it. Whatever is unclear ends it
//! before the first deletion. What no listing and no topic can tell is a record that is still on its way: the grace is for
//! those.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pipette_api::{ConnectError, Result};
use pipette_store::{Object, Store};
use tokio::task::JoinSet;

use super::scan::Index;
use super::{Place, topics};
use crate::kafka::properties::ClientProperties;

/// An object may be used again by a record until its day is over, and that record takes its time to Kafka: an hour, besides
/// what the connector waits for its store.
const LEAST_GRACE: Duration = Duration::from_hours(25);
/// How often long work says how far it is.
const PROGRESS: Duration = Duration::from_secs(10);
/// Requests at a time.
const DELETIONS: usize = 16;

/// What is asked for.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of the command")]
pub struct Errand {
    /// The folders, with the topic of each.
    pub places: Vec<Place>,
    /// Younger objects are left alone.
    pub grace: Duration,
    /// Deletes; else only says what would be.
    pub delete: bool,
    /// Topics that are gone for good, so that nothing refers to their objects.
    pub deleted_topics: Vec<String>,
    /// The topics given are all that refer to a folder that several share.
    pub complete: bool,
    /// Nothing is put into the stores meanwhile.
    pub stopped: bool,
    /// Objects of a store that no record refers to at all may go.
    pub even_all: bool,
}

/// What was found and done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Records read.
    pub records: u64,
    /// Records that refer to objects that are there.
    pub references: u64,
    /// Objects older than the grace.
    pub objects: u64,
    /// Objects younger than that.
    pub young: u64,
    /// What is in the folders and was put there by others.
    pub foreign: u64,
    /// Objects that no record refers to.
    pub orphans: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them were deleted.
    pub deleted: u64,
}

/// Tells people what goes on while it takes its time.
pub struct Voice<'a> {
    tell: &'a mut dyn FnMut(&str),
    last: Instant,
}

impl<'a> Voice<'a> {
    /// `tell` gets lines for people.
    pub fn new(tell: &'a mut dyn FnMut(&str)) -> Self {
        Self { tell, last: Instant::now() }
    }

    pub(super) fn say(&mut self, text: &str) {
        (self.tell)(text);
        self.last = Instant::now();
    }

    pub(super) fn now_and_then(&mut self, text: impl FnOnce() -> String) {
        if self.last.elapsed() >= PROGRESS {
            self.say(&text());
        }
    }
}

/// The places of one store: a record of any topic may refer to an object of any of its folders.
struct Group<'a> {
    store: Arc<Store>,
    number: u32,
    places: Vec<&'a Place>,
}

/// Does it; `show` hears of each orphan. Blocks, for as long as it takes to read the topics.
pub fn run(
    errand: &Errand,
    kafka: &ClientProperties,
    voice: &mut Voice<'_>,
    show: &mut dyn FnMut(&str, &Object) -> Result<()>,
) -> Result<Report> {
    refuse(errand)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| ConnectError::fatal("No runtime can be made").because(error))?;
    let before = oldest(errand.grace)?;
    let groups = groups(&errand.places)?;
    let (mut report, mut index) = (Report::default(), Index::default());
    let mut old = Vec::with_capacity(groups.len());
    for group in &groups {
        let known = report.objects;
        runtime.block_on(list(group, before, &mut index, &mut report, voice))?;
        old.push(report.objects - known);
    }
    index.seal();
    read_topics(errand, kafka, voice, &mut index, &mut report)?;
    for (group, old) in groups.iter().zip(old) {
        let living = group.places.iter().any(|place| !errand.deleted_topics.contains(&place.topic));
        if living && !errand.even_all && !index.is_referred_to(group.number) && old > 0 {
            return Err(ConnectError::config(format!(
                "{} records were read, and none refers to an object that is in {}: is it the right cluster, and are these \
                 all topics? Nothing was deleted. If the objects may go all the same, say so with --even-all",
                report.records,
                group.store.uri()
            )));
        }
    }
    let rule = Rule { before, delete: errand.delete };
    for group in &groups {
        let swept = runtime.block_on(sweep(group, rule, &index, &mut report, voice, show));
        swept.map_err(|error| error.within(format!("{} objects had been deleted before", report.deleted)))?;
    }
    Ok(report)
}

/// What would make a deletion a guess.
fn refuse(errand: &Errand) -> Result<()> {
    for place in &errand.places {
        let least = LEAST_GRACE.saturating_add(place.retry_timeout);
        if errand.grace < least {
            return Err(ConnectError::config(format!(
                "--grace is shorter than {} min: a record that is on its way may refer to an object that is a day old, and \
                 the connector waits for its store for retry.timeout.ms",
                least.as_secs().div_ceil(60)
            )));
        }
        if place.shared && !errand.complete {
            return Err(ConnectError::config(format!(
                "{} may hold objects of several topics (key.prefix does not tell them apart by ${{topic}}): name all of them \
                 with --topic, and add --all-topics-given. Objects of a topic that is left out would be taken away",
                place.uri()
            )));
        }
        if place.naming.is_used_again() && !errand.stopped {
            return Err(ConnectError::config(format!(
                "An object in {} may be used again by a new record at any time (key.template has no ${{date}}): stop the \
                 connectors that write there, and add --stopped",
                place.uri()
            )));
        }
    }
    Ok(())
}

/// Objects last written before that are old enough, in milliseconds since 1970.
fn oldest(grace: Duration) -> Result<i64> {
    let clock = || ConnectError::fatal("The machine's clock is wrong");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| clock())?;
    i64::try_from(now.saturating_sub(grace).as_millis()).map_err(|_| clock())
}

fn groups(places: &[Place]) -> Result<Vec<Group<'_>>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for place in places {
        match groups.iter_mut().find(|group| *group.store.uri() == place.store.uri) {
            Some(group) => group.places.push(place),
            None => groups.push(Group {
                store: Store::open(&place.store)?,
                number: u32::try_from(groups.len()).unwrap_or(u32::MAX),
                places: vec![place],
            }),
        }
    }
    Ok(groups)
}

/// What is there before any record is read.
async fn list(
    group: &Group<'_>,
    before: i64,
    index: &mut Index,
    report: &mut Report,
    voice: &mut Voice<'_>,
) -> Result<()> {
    for folder in group.folders() {
        voice.say(&format!("Listing {}", group.store.uri_of(folder)));
        let mut listing = group.store.list(folder);
        while let Some(page) = listing.next().await? {
            for object in page {
                if !group.may_hold(&object.key) || !index.add(&object.key, group.number) {
                    report.foreign += 1;
                } else if object.modified < before {
                    report.objects += 1;
                } else {
                    report.young += 1;
                }
            }
            voice.now_and_then(|| format!("{} objects listed", report.objects + report.young + report.foreign));
        }
    }
    Ok(())
}

fn read_topics(
    errand: &Errand,
    kafka: &ClientProperties,
    voice: &mut Voice<'_>,
    index: &mut Index,
    report: &mut Report,
) -> Result<()> {
    let mut names: Vec<&str> = errand.places.iter().map(|place| place.topic.as_str()).collect();
    names.retain(|topic| errand.deleted_topics.iter().all(|gone| gone != topic));
    names.sort_unstable();
    names.dedup();
    let headers: Vec<&str> = errand.places.iter().map(|place| place.header.as_str()).collect();
    topics::read(kafka, &names, &errand.deleted_topics, voice, &mut |record| {
        report.records += 1;
        report.references += u64::from(index.read(record, &headers)?);
        Ok(())
    })
}

/// What is done with orphans.
#[derive(Clone, Copy)]
struct Rule {
    /// Only with those last written before, in milliseconds since 1970.
    before: i64,
    delete: bool,
}

/// Takes away what nothing refers to, or only shows it.
async fn sweep(
    group: &Group<'_>,
    rule: Rule,
    index: &Index,
    report: &mut Report,
    voice: &mut Voice<'_>,
    show: &mut dyn FnMut(&str, &Object) -> Result<()>,
) -> Result<()> {
    let mut deleting: JoinSet<Result<()>> = JoinSet::new();
    for folder in group.folders() {
        let mut listing = group.store.list(folder);
        while let Some(page) = listing.next().await? {
            for object in page {
                let orphan = object.modified < rule.before
                    && group.may_hold(&object.key)
                    && index.is_orphan(&object.key, group.number);
                if !orphan {
                    continue;
                }
                show(&group.store.uri_of(&object.key), &object)?;
                report.orphans += 1;
                report.bytes += object.size;
                if rule.delete {
                    if deleting.len() == DELETIONS {
                        one_deleted(&mut deleting, report).await?;
                    }
                    let store = Arc::clone(&group.store);
                    deleting.spawn(async move { store.delete(&object.key).await });
                }
                voice.now_and_then(|| format!("{} orphans, {} deleted", report.orphans, report.deleted));
            }
        }
    }
    while !deleting.is_empty() {
        one_deleted(&mut deleting, report).await?;
    }
    Ok(())
}

async fn one_deleted(deleting: &mut JoinSet<Result<()>>, report: &mut Report) -> Result<()> {
    match deleting.join_next().await {
        None => Ok(()),
        Some(Err(error)) => Err(ConnectError::fatal("A deletion panicked").because(error)),
        Some(Ok(deleted)) => {
            deleted?;
            report.deleted += 1;
            Ok(())
        }
    }
}

impl Group<'_> {
    /// Each once, and none that lies in another.
    fn folders(&self) -> Vec<&str> {
        let all = || self.places.iter().map(|place| place.folder.as_str());
        let inside = |one: &str, other: &str| {
            one != other && (other.is_empty() || one.strip_prefix(other).is_some_and(|rest| rest.starts_with('/')))
        };
        let mut folders: Vec<&str> = all().filter(|one| !all().any(|other| inside(one, other))).collect();
        folders.sort_unstable();
        folders.dedup();
        folders
    }

    fn may_hold(&self, key: &str) -> bool {
        self.places.iter().any(|place| place.may_hold(key))
    }
}
