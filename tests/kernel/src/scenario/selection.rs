//! Processes that are selected or not. Each step is one exchange, made when the test says so.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    process::Command,
};

use crate::{
    Stage,
    sock::{Family, Pair},
    sys,
    talk::Talk,
};

/// A conversation named by the first argument, and a cue before each of so many exchanges as the second says.
pub(crate) fn steps(stage: &mut Stage) -> io::Result<()> {
    let (name, rounds): (String, u32) = (stage.arg(0)?, stage.arg(1)?);
    let mut talk = Talk::new(&stage.truth, &name, Family::V4)?;
    for _ in 0..rounds {
        Stage::cue("ready")?;
        talk.plain()?;
    }
    Stage::cue("done")
}

/// Says its port, listens when told, and talks to itself there.
pub(crate) fn listens(stage: &mut Stage) -> io::Result<()> {
    let name: String = stage.arg(0)?;
    let listener = sys::socket(libc::AF_INET, 0)?;
    sys::bind(listener.as_fd(), &sys::Name::of(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))?;
    let listener = TcpListener::from(listener);
    let address = listener.local_addr()?;
    Stage::cue(&format!("PORT {}", address.port()))?;
    sys::listen(listener.as_fd())?;
    let client = TcpStream::connect(address)?;
    let mut talk = Talk::over(&stage.truth, &name, Pair::of(client, listener.accept()?.0)?);
    talk.plain()?;
    Stage::cue("listening")?;
    talk.plain()?;
    Stage::cue("done")
}

/// When told, forks: parent and child talk. The first argument names them.
pub(crate) fn forks(stage: &mut Stage) -> io::Result<()> {
    let name: String = stage.arg(0)?;
    Stage::cue("ready")?;
    sys::in_child(|| Talk::new(&stage.truth, &format!("{name}-child"), Family::V4)?.plain())?;
    Talk::new(&stage.truth, &format!("{name}-parent"), Family::V4)?.plain()?;
    Stage::cue("done")
}

/// When told, becomes `ktest steps` with the name of the second argument, after an exchange by the first.
pub(crate) fn becomes(stage: &mut Stage) -> io::Result<()> {
    let (name, next): (String, String) = (stage.arg(0)?, stage.arg(1)?);
    Stage::cue("ready")?;
    Talk::new(&stage.truth, &name, Family::V4)?.plain()?;
    let path = stage.truth.path();
    Err(Command::new(std::env::current_exe()?).args(["steps", path, &next, "2"]).exec())
}
