//! The queue on disk: whatever happens to the process or the files, what was written and not done comes back once.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::export::testing::Folder;

const LIMIT: u64 = 1 << 20;

fn append(spill: &Spill, text: &str) -> Slot {
    spill.append(Encoding::Protobuf, 1, text.as_bytes()).unwrap()
}

fn texts(spill: &Spill, found: &Found) -> Vec<String> {
    let read = |batch: &Recovered| String::from_utf8(spill.read(batch.slot).unwrap().message).unwrap();
    found.batches.iter().map(read).collect()
}

impl Spill {
    /// As after `kill -9`: nothing of the process runs any more.
    pub(in crate::export) fn kill(self) {
        // The lock goes with the descriptors; here they have to be closed without anything else.
        let mut segments = self.lock();
        (segments.all, segments.active) = (BTreeMap::new(), None);
    }
}

fn kill(spill: Spill) {
    spill.kill();
}

#[test]
fn what_is_not_done_comes_back_in_its_order() {
    let folder = Folder::new("spill");
    let (spill, found) = Spill::open(&folder.path("q"), LIMIT).unwrap();
    assert_eq!((found.batches.len(), found.damaged), (0, 0));
    let slots: Vec<_> = (0..10).map(|n| append(&spill, &format!("batch {n}"))).collect();
    for at in [0, 1, 4, 9] {
        spill.done(slots[at], false);
    }
    kill(spill);
    let (spill, found) = Spill::open(&folder.path("q"), LIMIT).unwrap();
    assert_eq!(texts(&spill, &found), ["batch 2", "batch 3", "batch 5", "batch 6", "batch 7", "batch 8"]);
    for batch in &found.batches {
        spill.done(batch.slot, false);
    }
    assert_eq!(spill.bytes(), 0);
    assert_eq!(folder.names(), Vec::<String>::new());
    append(&spill, "new");
    drop(spill);
    let (spill, found) = Spill::open(&folder.path("q"), LIMIT).unwrap();
    assert_eq!(texts(&spill, &found), ["new"]);
}

#[test]
fn what_somebody_removes_is_written_anew() {
    let folder = Folder::new("spill-removed");
    let path = folder.path("q");
    let (spill, _) = Spill::open(&path, LIMIT).unwrap();
    let first = append(&spill, "first");
    append(&spill, "second");
    spill.done(first, false);
    fs::remove_dir_all(&path).unwrap();
    append(&spill, "third");
    assert_eq!(list(&path, false).unwrap().len(), 1);
    fs::remove_file(&list(&path, false).unwrap()[0]).unwrap();
    spill.sync();
    assert_eq!(list(&path, false).unwrap().len(), 1);
    fs::remove_dir_all(&path).unwrap();
    drop(spill);
    let (spill, found) = Spill::open(&path, LIMIT).unwrap();
    assert_eq!(texts(&spill, &found), ["second", "third"]);
    // A file instead of the folder: nothing is said to be written.
    fs::remove_dir_all(&path).unwrap();
    fs::write(&path, "").unwrap();
    assert!(spill.append(Encoding::Protobuf, 1, b"fourth").is_err());
    fs::remove_file(&path).unwrap();
    append(&spill, "fifth");
    spill.sync();
    kill(spill);
    let (spill, found) = Spill::open(&path, LIMIT).unwrap();
    assert_eq!(texts(&spill, &found), ["second", "third", "fifth"]);
}

#[test]
fn two_processes_do_not_send_the_same() {
    let folder = Folder::new("spill-two");
    let (first, _) = Spill::open(&folder.path("q"), LIMIT).unwrap();
    append(&first, "mine");
    let (_second, found) = Spill::open(&folder.path("q"), LIMIT).unwrap();
    assert!(found.batches.is_empty());
    kill(first);
    let (third, found) = Spill::open(&folder.path("q"), LIMIT).unwrap();
    assert_eq!(texts(&third, &found), ["mine"]);
}

#[test]
fn the_limit_holds_and_space_comes_back() {
    let folder = Folder::new("spill-limit");
    let (spill, _) = Spill::open(&folder.path("q"), LIMIT).unwrap();
    let mut slots = Vec::new();
    loop {
        match spill.append(Encoding::Gzip, 7, &[1; 10_000]) {
            Ok(slot) => slots.push(slot),
            Err(Error::Full(limit)) => break assert_eq!(limit, LIMIT),
            Err(error) => panic!("{error}"),
        }
    }
    assert!((95..=104).contains(&slots.len()), "{}", slots.len());
    let on_disk: u64 = folder.names().iter().map(|name| folder.path(name).metadata().unwrap().len()).sum();
    assert_eq!(on_disk, spill.bytes());
    assert!(on_disk <= LIMIT);
    for slot in slots.drain(..30) {
        spill.done(slot, false);
    }
    assert!(spill.append(Encoding::Gzip, 7, &[1; 10_000]).is_ok());
    // Only whole segments come back.
    assert!(spill.bytes() <= LIMIT && folder.names().len() <= 9);
}

#[test]
fn a_torn_end_is_set_aside_after_what_is_whole() {
    let folder = Folder::new("spill-torn");
    let (spill, _) = Spill::open(&folder.path("q"), LIMIT).unwrap();
    append(&spill, "whole");
    append(&spill, "torn in the middle");
    kill(spill);
    let name = folder.names().remove(0);
    let bytes = fs::read(folder.path(&name)).unwrap();
    fs::write(folder.path(&name), &bytes[..bytes.len() - 5]).unwrap();
    let (spill, found) = Spill::open(&folder.path("q"), LIMIT).unwrap();
    assert_eq!((texts(&spill, &found), found.damaged), (vec!["whole".to_owned()], 1));
    spill.done(found.batches[0].slot, false);
    assert_eq!(folder.names(), [format!("{name}.damaged")]);
    drop(spill);
    let (_spill, found) = Spill::open(&folder.path("q"), LIMIT).unwrap();
    assert_eq!((found.batches.len(), found.damaged), (0, 0));
}

#[test]
fn what_changes_on_disk_while_it_waits_is_noticed() {
    let folder = Folder::new("spill-rot");
    let (spill, _) = Spill::open(&folder.path("q"), LIMIT).unwrap();
    let slot = append(&spill, "content");
    let path = folder.path(folder.names().remove(0));
    let mut bytes = fs::read(&path).unwrap();
    // The last byte of the message: one more is for the bit of its span.
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(spill.read(slot).is_err());
    spill.done(slot, true);
    drop(spill);
    assert!(folder.names()[0].ends_with(".damaged"));
}

/// The clock was an hour ahead when the first was written: what is written after it still comes after it.
#[test]
fn a_clock_that_is_set_back_changes_no_order() {
    let folder = Folder::new("spill-clock");
    let (spill, _) = Spill::open(&folder.path("q"), LIMIT).unwrap();
    append(&spill, "first");
    kill(spill);
    let name = folder.names().remove(0);
    let ahead = crate::export::store::segment::now_ms() + 3_600_000;
    let (path, other) = (folder.path(&name), format!("q/{ahead:015}-000007-1.spandrel"));
    fs::rename(path, folder.path(other)).unwrap();
    let (spill, found) = Spill::open(&folder.path("q"), LIMIT).unwrap();
    assert_eq!(texts(&spill, &found), ["first"]);
    append(&spill, "second");
    kill(spill);
    let (spill, found) = Spill::open(&folder.path("q"), LIMIT).unwrap();
    assert_eq!(texts(&spill, &found), ["first", "second"]);
}

#[test]
fn a_folder_that_goes_is_made_again() {
    let folder = Folder::new("spill-gone");
    let (spill, _) = Spill::open(&folder.path("q"), LIMIT).unwrap();
    let slot = append(&spill, "before");
    fs::remove_dir_all(folder.path("q")).unwrap();
    // Its file is still open.
    assert_eq!(spill.read(slot).unwrap().message, b"before");
    spill.done(slot, false);
    let (other, _) = Spill::open(&folder.path("q"), LIMIT).unwrap();
    append(&other, "after");
    assert_eq!(folder.names().len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Batches are written, done and the process killed in any order: what comes back is what is not done.
    #[test]
    fn nothing_is_lost_and_nothing_comes_twice(steps in prop::collection::vec((0..5_u8, any::<prop::sample::Index>()), 1..60)) {
        let folder = Folder::new("spill-any");
        let (mut spill, _) = Spill::open(&folder.path("q"), LIMIT).unwrap();
        let mut waiting: Vec<(String, Slot)> = Vec::new();
        for (number, (step, at)) in steps.into_iter().enumerate() {
            match step {
                // Long enough for several segments.
                0..=2 => {
                    let text = format!("{number:08}{}", "x".repeat(7_000));
                    let slot = append(&spill, &text);
                    waiting.push((text, slot));
                }
                3 if !waiting.is_empty() => {
                    let (_, slot) = waiting.remove(at.index(waiting.len()));
                    spill.done(slot, false);
                }
                4 => {
                    kill(spill);
                    let (opened, found) = Spill::open(&folder.path("q"), LIMIT).unwrap();
                    let texts = texts(&opened, &found);
                    let expected: Vec<_> = waiting.iter().map(|(text, _)| text.clone()).collect();
                    prop_assert_eq!(&texts, &expected);
                    prop_assert_eq!(found.damaged, 0);
                    waiting = expected.into_iter().zip(found.batches.iter().map(|batch| batch.slot)).collect();
                    spill = opened;
                }
                _ => {}
            }
        }
    }
}
