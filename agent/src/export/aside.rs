//! Work that waits for disks, on a thread of its own: one that does not answer must not keep the agent from its signals.

use std::{
    io,
    thread::{Builder, JoinHandle},
    time::Duration,
};

use tokio::{runtime::Handle, sync::oneshot, time::timeout};

/// How long such work may take. Disks in a network that are well answer in less.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the last reload still waits for a file: see to the disk it is on")]
    Busy,
    #[error("this took more than {PATIENCE:?}: see to the disk it is on, or the files it names")]
    Late,
    #[error("the system has no thread for it: {0}")]
    Thread(#[from] io::Error),
    #[error("it ended without a result: please report this")]
    Gone,
}

/// Does one thing after the other: what hangs is not begun anew, so that there is one such thread at most.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    last: Option<JoinHandle<()>>,
    /// What the next work waits for before it begins, like a disk that hangs.
    #[cfg(test)]
    pub(crate) hangs: Option<std::sync::mpsc::Receiver<()>>,
}

impl Aside {
    /// What comes of some work. May be broken off at any time: then its result is dropped once it is there. Must be
    /// called inside a tokio runtime, in which the work is, too.
    pub(crate) async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        if self.last.as_ref().is_some_and(|last| !last.is_finished()) {
            return Err(Error::Busy);
        }
        let (answer, answered) = oneshot::channel();
        let runtime = Handle::current();
        #[cfg(test)]
        let hangs = self.hangs.take();
        let thread = Builder::new().name("spandrel-reload".to_owned()).spawn(move || {
            let _inside = runtime.enter();
            #[cfg(test)]
            if let Some(hangs) = hangs {
                hangs.recv().ok();
            }
            // Who waited no longer hears nothing.
            drop(answer.send(work()));
        })?;
        self.last = Some(thread);
        let answer = timeout(PATIENCE, answered).await.map_err(|_late| Error::Late)?;
        // It ends in this moment, and holds up nothing that comes next.
        self.last = None;
        answer.map_err(|_gone| Error::Gone)
    }

    /// Waits until the last work is done.
    #[cfg(test)]
    pub(crate) fn join(&mut self) {
        self.last.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_hangs_is_waited_for_once_and_not_for_ever() {
        let (go, hangs) = mpsc::channel();
        let mut aside = Aside { hangs: Some(hangs), ..Aside::default() };
        let result = Arc::new(());
        let late = {
            let result = Arc::clone(&result);
            aside.run(move || result).await
        };
        assert!(matches!(late, Err(Error::Late)), "{late:?}");
        assert!(matches!(aside.run(|| ()).await, Err(Error::Busy)));
        // It comes at last: nobody wants it any more, and the next one is done.
        go.send(()).unwrap();
        aside.join();
        assert_eq!(Arc::strong_count(&result), 1);
        tokio::time::resume();
        assert_eq!(aside.run(|| 7).await.unwrap(), 7);
        let panics = aside.run(|| std::panic::resume_unwind(Box::new(()))).await;
        assert!(matches!(panics, Err::<(), _>(Error::Gone)));
    }
}
