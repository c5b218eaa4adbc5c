//! A folder as a store, in what only folders have: links, shares that are not mounted, drafts of several owners.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use pipette_api::folder::Disk;
use pipette_api::{ConnectError, ErrorKind, Folder, Payload, PayloadReader, Result, async_trait};
use pipette_store::{
    Integrity, Limits, Origin, Reference, Store, StoreSettings, StoredPayload, Strategy, UploadOptions, Uploader,
};
use tokio::sync::Semaphore;

use crate::support::{Made, folder, options, read, uri, wait_until};

fn origin() -> Origin<'static> {
    Origin { topic: "images", connector: "lab", partition: "p", offset: "1", ordinal: Some(0), ..Origin::default() }
}

#[tokio::test]
async fn a_link_out_of_the_folder_is_one_bad_record_and_tells_nothing() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    for name in ["store", "elsewhere"] {
        fs::create_dir(at(name)).unwrap();
    }
    fs::write(at("elsewhere/secret"), "0123456789").unwrap();
    symlink(at("elsewhere/secret"), at("store/file")).unwrap();
    symlink(at("elsewhere"), at("store/folder")).unwrap();
    let store = folder(&at("store"));
    for name in ["file", "folder/secret"] {
        let key = at("store").join(name).display().to_string().trim_start_matches('/').to_owned();
        let error = store.head(&key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data, "{name}: {error}");
        let limits = Limits { max_bytes: 1 << 20 };
        let reference = Reference::to(store.uri_of(&key));
        let payload = StoredPayload::new(Arc::clone(&store), key, reference, limits, Integrity::Off).unwrap();
        let error = read(&payload, 0, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data, "{name}: {error}");
    }
}

#[tokio::test]
async fn nothing_is_written_or_deleted_behind_a_link_out_of_the_folder() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    for name in ["store", "elsewhere"] {
        fs::create_dir(at(name)).unwrap();
    }
    fs::write(at("elsewhere/theirs"), "0123456789").unwrap();
    symlink(at("elsewhere"), at("store/images")).unwrap();
    let store = folder(&at("store"));
    let uploader = Uploader::new(Arc::clone(&store), options(Strategy::Uuid), None);
    let key = at("store/images/theirs").display().to_string().trim_start_matches('/').to_owned();
    for error in
        [uploader.upload(&Made::new(1000), &origin()).await.unwrap_err(), store.delete(&key).await.unwrap_err()]
    {
        assert_eq!(error.kind(), ErrorKind::Fatal, "{error}");
        assert!(error.to_string().contains("a link leads out of the store's folder"), "{error}");
    }
    let there = fs::read_dir(at("elsewhere")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(there.collect::<Vec<_>>(), ["theirs"]);
    assert_eq!(fs::read_dir(at("store/.uploads")).unwrap().count(), 0, "no draft is left");
}

fn assert_away(error: &ConnectError) {
    assert_eq!(error.kind(), ErrorKind::Retriable, "{error}");
    assert!(error.to_string().contains("is its share mounted") && error.to_string().contains("/.uploads"), "{error}");
}

#[tokio::test]
async fn a_share_that_is_not_mounted_is_waited_for_and_not_made_anew() {
    let place = tempfile::tempdir().unwrap();
    let (here, away) = (place.path().join("store"), place.path().join("away"));
    let store = folder(&here);
    let uploader = Uploader::new(Arc::clone(&store), options(Strategy::Uuid), None);
    let stored = uploader.upload(&Made::new(1000), &origin()).await.unwrap();
    fs::rename(&here, &away).unwrap();
    let sink = folder(&here);
    // Without its parent, and as the empty mount point of a share.
    for is_mount_point in [false, true] {
        if is_mount_point {
            fs::create_dir(&here).unwrap();
        }
        for error in [
            uploader.upload(&Made::new(1000), &origin()).await.unwrap_err(),
            uploader.recover().await.unwrap_err(),
            store.probe().await.unwrap_err(),
            store.head(&stored.key).await.unwrap_err(),
            sink.head(&stored.key).await.unwrap_err(),
            sink.delete(&stored.key).await.unwrap_err(),
            sink.list(&format!("{}/images", store.uri().key)).next().await.unwrap_err(),
        ] {
            assert_away(&error);
        }
        assert_eq!(fs::read_dir(&here).map_or(0, Iterator::count), 0);
    }
    fs::remove_dir(&here).unwrap();
    fs::rename(&away, &here).unwrap();
    uploader.upload(&Made::new(1000), &origin()).await.unwrap();
    assert!(sink.head(&stored.key).await.unwrap().is_some());
    assert_eq!(sink.head(&format!("{}x", stored.key)).await.unwrap(), None);
}

/// What a worker remembers, in one folder.
struct State(PathBuf);

impl Disk for State {
    fn make(&self, names: &[Arc<str>]) -> Result<PathBuf> {
        let path = names.iter().fold(self.0.clone(), |path, name| path.join(&**name));
        fs::create_dir_all(&path).unwrap();
        Ok(path)
    }
}

#[tokio::test]
async fn a_store_that_was_used_before_a_restart_is_not_made_anew_by_any_task() {
    let place = tempfile::tempdir().unwrap();
    let (here, away) = (place.path().join("share/store"), place.path().join("away"));
    let state = Folder::new(Arc::new(State(place.path().join("state"))));
    // As after a start: nothing is known but what is on disk.
    let start = |connector: &str| {
        let settings = StoreSettings::at(uri(&format!("file://{}", here.display())));
        Store::open(&settings.remembered(&state.within(connector).within("task-0"))).unwrap()
    };
    let uploader = |connector: &str| Uploader::new(start(connector), options(Strategy::Uuid), None);
    let stored = uploader("one").upload(&Made::new(1000), &origin()).await.unwrap();
    fs::rename(&here, &away).unwrap();
    for is_mount_point in [false, true] {
        if is_mount_point {
            fs::create_dir(&here).unwrap();
        }
        for connector in ["one", "another"] {
            assert_away(&start(connector).probe().await.unwrap_err());
            assert_away(&uploader(connector).recover().await.unwrap_err());
            assert_away(&uploader(connector).upload(&Made::new(1000), &origin()).await.unwrap_err());
            assert_away(&start(connector).head(&stored.key).await.unwrap_err());
        }
        assert_eq!(fs::read_dir(&here).map_or(0, Iterator::count), 0);
    }
    fs::remove_dir(&here).unwrap();
    fs::rename(&away, &here).unwrap();
    uploader("another").upload(&Made::new(1000), &origin()).await.unwrap();
    assert!(start("one").head(&stored.key).await.unwrap().is_some());
    // As the error says: it goes on with an empty folder.
    fs::remove_dir_all(&here).unwrap();
    fs::create_dir_all(here.join(".uploads")).unwrap();
    uploader("one").upload(&Made::new(1000), &origin()).await.unwrap();
    assert_eq!(start("one").head(&stored.key).await.unwrap(), None, "missing, and not away");
}

#[tokio::test]
async fn a_folder_that_was_there_at_the_start_is_not_made_anew_although_nothing_was_stored() {
    let place = tempfile::tempdir().unwrap();
    let here = place.path().join("theirs");
    fs::create_dir(&here).unwrap();
    let store = folder(&here);
    fs::remove_dir(&here).unwrap();
    assert_away(&store.probe().await.unwrap_err());
    assert!(!here.exists());
}

#[tokio::test]
async fn a_store_of_an_earlier_version_is_remembered_once_it_is_used_again() {
    let place = tempfile::tempdir().unwrap();
    let here = place.path().join("store");
    folder(&here).probe().await.unwrap();
    let state = Folder::new(Arc::new(State(place.path().join("state"))));
    let start = || {
        let settings = StoreSettings::at(uri(&format!("file://{}", here.display())));
        Store::open(&settings.remembered(&state)).unwrap()
    };
    start().probe().await.unwrap();
    fs::remove_dir_all(&here).unwrap();
    assert_away(&start().probe().await.unwrap_err());
}

/// Nothing of it comes before somebody lets it.
#[derive(Debug, Clone)]
struct Held(Arc<Semaphore>);

#[async_trait]
impl Payload for Held {
    fn len(&self) -> Option<u64> {
        Some(5)
    }

    async fn open(&self, _: u64, _: Option<u64>) -> Result<Box<dyn PayloadReader>> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl PayloadReader for Held {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        self.0.acquire().await.unwrap().forget();
        Ok(None)
    }
}

#[tokio::test]
async fn a_start_takes_away_its_own_drafts_and_not_those_of_a_name_like_its_own() {
    let place = tempfile::tempdir().unwrap();
    let store = folder(place.path());
    let of = |owner: &str| {
        let own = UploadOptions::new(options(Strategy::Uuid).naming, owner);
        Uploader::new(Arc::clone(&store), own, None)
    };
    let held = Held(Arc::new(Semaphore::new(0)));
    let running = {
        let (uploader, held) = (of("x.y-0"), held.clone());
        tokio::spawn(async move { uploader.upload(&held, &origin()).await })
    };
    let drafts = || fs::read_dir(place.path().join(".uploads")).map_or(0, Iterator::count);
    wait_until("the draft", || drafts() == 1).await;
    let long = "ä".repeat(200);
    for other in ["x_y-0", "x y-0", "x%2Ey-0", "x/y-0", "y-0", "", &long] {
        assert_eq!(of(other).recover().await.unwrap(), 0, "{other}");
    }
    assert_eq!(drafts(), 1);
    assert_eq!(of("x.y-0").recover().await.unwrap(), 1, "what a crash left of the same owner goes");
    running.abort();
    // A name beyond what file systems take, and no two of them alike.
    of(&long).upload(&Made::new(10), &origin()).await.unwrap();
    let [one, two] = [1, 2].map(|end| UploadOptions::new(options(Strategy::Uuid).naming, format!("{long}{end}")).owner);
    assert_ne!(one, two);
}
