//! Every call that moves bytes, in both directions, over TCP and over Unix sockets.

use std::io;

use crate::{
    Stage,
    sock::Family,
    talk::{Talk, Ways},
    way::{Rx, Tx},
};

/// Bytes of the bodies. Less than any socket buffer, because both ends are in one thread.
const BODIES: [(usize, usize); 3] = [(0, 1), (128, 700), (3000, 9000)];

/// Each way to send: requests first, then responses, then both; then one exchange without anything special,
/// which shows that the connection is still understood.
pub(crate) fn tx(stage: &mut Stage) -> io::Result<()> {
    for family in [Family::V4, Family::UnixPair] {
        for (name, tx) in
            Tx::ALL.into_iter().filter(|(name, tx)| stage.wants(name) && tx.works_on(family.is_tcp()))
        {
            let mut talk = Talk::new(&stage.truth, &format!("tx-{name}-{}", family.word()), family)?;
            for (request, response) in BODIES {
                talk.exchange(Ways(tx, Rx::Read, Tx::Write, Rx::Read), request, response)?;
                talk.exchange(Ways(Tx::Write, Rx::Read, tx, Rx::Read), request, response)?;
                talk.exchange(Ways(tx, Rx::Read, tx, Rx::Read), request, response)?;
                talk.plain()?;
            }
        }
    }
    Ok(())
}

/// The same of each way to receive.
pub(crate) fn rx(stage: &mut Stage) -> io::Result<()> {
    for family in [Family::V4, Family::UnixPair] {
        for (name, rx) in
            Rx::ALL.into_iter().filter(|(name, rx)| stage.wants(name) && rx.works_on(family.is_tcp()))
        {
            let mut talk = Talk::new(&stage.truth, &format!("rx-{name}-{}", family.word()), family)?;
            for (request, response) in BODIES {
                talk.exchange(Ways(Tx::Write, rx, Tx::Write, Rx::Read), request, response)?;
                talk.exchange(Ways(Tx::Write, Rx::Read, Tx::Write, rx), request, response)?;
                talk.exchange(Ways(Tx::Write, rx, Tx::Write, rx), request, response)?;
                talk.plain()?;
            }
        }
    }
    Ok(())
}

/// Each family of addresses.
pub(crate) fn families(stage: &mut Stage) -> io::Result<()> {
    for family in Family::ALL {
        let mut talk = Talk::new(&stage.truth, &format!("family-{}", family.word()), family)?;
        for (request, response) in BODIES {
            talk.exchange(Ways::PLAIN, request, response)?;
        }
    }
    Ok(())
}
