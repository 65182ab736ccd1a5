//! Which Unix sockets somebody still holds, by the list of their network namespace (`/proc/PID/net/unix`, proc(5)): a
//! socket that no descriptor names any more has no inode there.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{BufRead, BufReader},
    os::unix::fs::MetadataExt as _,
};

use crate::stream::held::Doubt;

/// Sockets of one namespace that are looked at: so many take some 50 ms to read, which is what a busy ring can wait
/// for. Where there are more, nothing can be said.
const SOCKETS: usize = 65_536;

/// Column of the inode number.
const INODE: usize = 6;

/// For each doubt whether the socket is held; without those of which nothing can be said.
pub fn held(doubts: &[Doubt]) -> Vec<(Doubt, bool)> {
    let mut namespaces: HashMap<u32, Vec<Doubt>> = HashMap::new();
    for doubt in doubts {
        namespaces.entry(doubt.netns).or_default().push(*doubt);
    }
    let mut answers = Vec::new();
    for (netns, doubts) in namespaces {
        let Some(list) = list_of(netns, &doubts) else {
            // No process of it is left that was seen to use these sockets, and none had them when it ended.
            answers.extend(doubts.into_iter().map(|doubt| (doubt, false)));
            continue;
        };
        let wanted = doubts.iter().map(|doubt| doubt.inode).collect();
        if let Some(found) = found(BufReader::new(list), &wanted) {
            answers.extend(doubts.into_iter().map(|doubt| (doubt, found.contains(&doubt.inode))));
        }
    }
    answers
}

/// The list of a namespace, by any process that is in it.
fn list_of(netns: u32, doubts: &[Doubt]) -> Option<File> {
    let inside = |process: &str| {
        let known = std::fs::metadata(format!("/proc/{process}/ns/net"));
        netns == 0 || known.is_ok_and(|known| known.ino() == u64::from(netns))
    };
    let own = (netns != 0 && inside("self")).then(|| "self".to_owned());
    let processes = own.into_iter().chain(doubts.iter().map(|doubt| doubt.tgid.to_string()));
    processes
        .filter(|process| inside(process))
        .find_map(|process| File::open(format!("/proc/{process}/net/unix")).ok())
}

/// Those of the wanted inode numbers that are in a list; `None` if it cannot be read to its end.
fn found(mut list: impl BufRead, wanted: &HashSet<u64>) -> Option<HashSet<u64>> {
    let (mut found, mut line) = (HashSet::new(), String::new());
    for _ in 0..SOCKETS {
        line.clear();
        if list.read_line(&mut line).ok()? == 0 {
            return Some(found);
        }
        let inode = line.split_ascii_whitespace().nth(INODE).and_then(|word| word.parse().ok());
        found.extend(inode.filter(|inode| wanted.contains(inode)));
    }
    None
}

#[cfg(test)]
mod tests {
    use std::os::{fd::AsFd as _, unix::net::UnixStream};

    use super::*;

    #[test]
    fn a_list_is_read_by_its_columns() {
        let list = "Num       RefCount Protocol Flags    Type St Inode Path\n\
                    0000000000000000: 00000002 00000000 00010000 0001 01  9001 /run/a b\n\
                    0000000000000000: 00000003 00000000 00000000 0001 03  9002\n\
                    0000000000000000: 00000002 00000000 00000000 0001 03     0\n";
        let wanted = HashSet::from([0, 9001, 9002, 9003]);
        assert_eq!(found(list.as_bytes(), &wanted), Some(HashSet::from([0, 9001, 9002])));
        assert_eq!(found(&b"1 2 3 4 5 6 7\n".repeat(SOCKETS)[..], &wanted), None, "too many");
    }

    #[test]
    fn sockets_of_this_process() {
        let netns = std::fs::metadata("/proc/self/ns/net").unwrap().ino() as u32;
        let tgid = std::process::id();
        let (here, there) = UnixStream::pair().unwrap();
        let inode = rustix::fs::fstat(here.as_fd()).unwrap().st_ino;
        for netns in [netns, 0] {
            let doubt = Doubt { conn: 1, inode, tgid, netns };
            assert_eq!(held(&[doubt]), [(doubt, true)]);
        }
        let doubt = Doubt { conn: 1, inode, tgid, netns };
        // The other end still refers to it.
        drop(here);
        assert_eq!(held(&[doubt]), [(doubt, false)]);
        drop(there);
        assert_eq!(held(&[doubt]), [(doubt, false)]);
    }
}
