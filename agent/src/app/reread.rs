//! The configuration read anew for a reload, on a thread of its own: a disk that does not answer must not keep the
//! agent from its signals.

use std::{
    sync::Arc,
    thread::{Builder, JoinHandle},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use crate::config::{Config, mistake::Mistakes};

/// Reads the configuration again, as the agent was started.
pub type Reread = Arc<dyn Fn() -> Result<Config, Mistakes> + Send + Sync>;

/// How long that may take. Disks in a network that are well answer in less.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads it one time after the other: what hangs is not begun anew, so that there is one such thread at most.
pub(super) struct Rereader {
    reread: Reread,
    last: Option<JoinHandle<()>>,
}

impl Rereader {
    pub(super) fn new(reread: &Reread) -> Self {
        Self { reread: Arc::clone(reread), last: None }
    }

    /// The configuration as it is now. `Err` has what stands against it, for people.
    pub(super) async fn read(&mut self) -> Result<Config, Vec<String>> {
        if self.last.as_ref().is_some_and(|last| !last.is_finished()) {
            return Err(vec!["the last reload still waits for a file: see to the disk it is on".to_owned()]);
        }
        let reread = Arc::clone(&self.reread);
        let (answer, answered) = oneshot::channel();
        // Who waited no longer hears nothing.
        let read = move || drop(answer.send(reread()));
        match Builder::new().name("spandrel-reload".to_owned()).spawn(read) {
            Ok(thread) => self.last = Some(thread),
            Err(error) => {
                return Err(vec![format!("cannot start a thread to read the configuration: {error}")]);
            }
        }
        match timeout(PATIENCE, answered).await {
            Ok(Ok(Ok(config))) => Ok(config),
            Ok(Ok(Err(mistakes))) => Err(mistakes.0.iter().map(ToString::to_string).collect()),
            Ok(Err(_)) => Err(vec!["the configuration could not be read: please report this".to_owned()]),
            Err(_) => Err(vec![format!(
                "the configuration could not be read within {PATIENCE:?}: see to the disk it is on, or the files it names"
            )]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashMap,
        sync::{Mutex, mpsc},
    };

    use super::*;
    use crate::config::{self, args::Run};

    #[tokio::test(start_paused = true)]
    async fn what_hangs_is_waited_for_once_and_not_for_ever() {
        let (go, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let reread: Reread = Arc::new(move || {
            gate.lock().unwrap().recv().ok();
            config::load(Run::default(), &HashMap::<String, String>::new())
        });
        let mut rereader = Rereader::new(&reread);
        let late = rereader.read().await.unwrap_err();
        assert!(late[0].contains("10s"), "{late:?}");
        let again = rereader.read().await.unwrap_err();
        assert!(again[0].contains("still waits"), "{again:?}");
        // It answers at last: what it says is old, and the next one is read.
        go.send(()).unwrap();
        rereader.last.take().unwrap().join().unwrap();
        drop(go);
        tokio::time::resume();
        assert!(rereader.read().await.is_ok());
    }

    #[tokio::test]
    async fn mistakes_are_told_one_by_one() {
        let reread: Reread = Arc::new(|| {
            let run = Run { config: Some("/nowhere/at/all.yaml".into()), ..Run::default() };
            config::load(run, &HashMap::<String, String>::new())
        });
        let mistakes = Rereader::new(&reread).read().await.unwrap_err();
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(mistakes[0].contains("/nowhere/at/all.yaml"), "{mistakes:?}");
    }
}
