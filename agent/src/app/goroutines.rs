//! Finds out which traced processes are Go programs, beside the capture thread: it takes milliseconds of reading for
//! an executable, in which the ring would fill.

use std::{
    io,
    sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel},
    thread,
};

use crate::{
    discover::go::process::{self, Found, Looker},
    kernel::Kernel,
};

/// Processes that wait to be looked into. A machine that starts more at once is told so.
const WAITING: usize = 4096;

/// What was found out about a process; `None` if it is no Go program.
type Answer = (u32, Option<Found>);

/// The looking thread's other end. It ends when this is dropped.
pub(super) struct Goroutines {
    ask: SyncSender<u32>,
    answers: Receiver<Answer>,
}

impl Goroutines {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<Self> {
        let (ask, asked) = sync_channel(WAITING);
        let (answer, answers) = sync_channel(WAITING);
        thread::Builder::new().name("spandrel-look".to_owned()).spawn(move || look(&asked, &answer))?;
        Ok(Self { ask, answers })
    }

    /// Has a process looked into that is traced from now on, or that executed another program.
    pub(super) fn look(&self, pid: u32) {
        match self.ask.try_send(pid) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                log::warn!(
                    "process {pid} is not looked into, too many start at once: its calls have no parents"
                );
            }
            Err(TrySendError::Disconnected(_)) => log::debug!("process {pid} is not looked into: no thread"),
        }
    }

    /// Tells the kernel side what was found out. Never waits.
    pub(super) fn settle(&self, kernel: &mut Kernel) {
        loop {
            match self.answers.try_recv() {
                Ok((pid, Some(found))) => follow(kernel, pid, &found),
                Ok((pid, None)) => kernel.forget_go(pid),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            }
        }
    }
}

fn look(asked: &Receiver<u32>, answer: &SyncSender<Answer>) {
    let mut looker = Looker::default();
    for pid in asked {
        let found = match looker.look(pid) {
            None => None,
            Some(Ok(found)) => Some(found),
            Some(Err(unknown)) => {
                log::warn!(
                    "process {pid} and others that run its program: outbound requests have no parents, {unknown}"
                );
                None
            }
        };
        if answer.send((pid, found)).is_err() {
            return;
        }
    }
}

fn follow(kernel: &mut Kernel, pid: u32, found: &Found) {
    if let Err(error) = kernel.set_go(pid, &found.program) {
        log::warn!("the goroutines of process {pid} cannot be followed: {error}");
        return;
    }
    if let Some(round_trip) = found.round_trip
        && let Err(error) = kernel.probe_go(pid, &process::path(pid), round_trip, found.serve)
    {
        // One that has ended meanwhile has no executable any more.
        let level = if process::path(pid).exists() { log::Level::Warn } else { log::Level::Debug };
        log::log!(level, "outbound requests of process {pid} have no parents, it cannot be probed: {error}");
        return;
    }
    log::debug!("process {pid}: Go 1.{}, followed by goroutine", found.minor);
}
